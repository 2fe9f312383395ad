"""kill -9 of drivers, Ray's daemons and workers at random moments: nothing lost, nothing twice, nothing torn.

The long form is `make faults`.
"""

from __future__ import annotations

import subprocess

import pytest
from campaign import Campaign
from conftest import ECHAT, calls
from killing import kill_all, start, wait_for

from pipeline.status import status

pytestmark = pytest.mark.slow


@pytest.fixture
def campaign(chaos, tmp_path, monkeypatch) -> Campaign:
    return Campaign(chaos, 20, {"emotion": 7, "neutral": 3}, pause_s=1.0)


def test_kills_under_ray_cost_only_what_was_in_flight(campaign):
    campaign.attack("ray", ["driver", "worker", "raylet"])
    assert campaign.harm.none, campaign.harm
    assert sum(campaign.killed.values()) >= 2, campaign.codes


def test_kills_of_a_single_process_cost_only_what_was_in_flight(campaign):
    campaign.attack("inline", ["inline"] * 2)
    assert campaign.harm.none, campaign.harm
    assert campaign.killed["inline"], campaign.codes


def test_of_two_builds_at_once_one_is_refused_and_the_other_is_not_disturbed(campaign, chaos, tmp_path):
    campaign.kind, out, already = "inline", tmp_path / "out", len(calls(chaos))
    first = start(campaign.file, out, tmp_path / "log")
    assert wait_for(lambda: len(calls(chaos)) > already, 120), (tmp_path / "log").read_text()
    assert status(out).state == "running"
    command = [ECHAT, "build", campaign.file, "--out", out]
    second = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert second.returncode == 2
    assert f"is being built by process {first.pid}" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    try:
        assert first.wait(timeout=200) == 0, (tmp_path / "log").read_text()
    finally:
        if first.poll() is None:
            kill_all(first)
    campaign.harm.shards(out, chaos / "calm")
    assert campaign.harm.none, campaign.harm
