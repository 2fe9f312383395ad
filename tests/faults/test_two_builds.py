"""Two builds on one run folder: one is refused, the other does not notice."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
from campaign import Campaign
from conftest import ECHAT, calls
from killing import kill_all, start, wait_for
from tone_runs import build_tones

from manifests.errors import UserError
from pipeline.progress import Progress
from pipeline.status import status

pytestmark = pytest.mark.slow


def test_of_two_builds_at_once_one_is_refused_and_the_other_is_not_disturbed(chaos, tmp_path):
    campaign = Campaign(chaos, 20, {"emotion": 7, "neutral": 3}, pause_s=0.5)
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


def test_a_build_whose_folder_another_machine_took_stops_and_leaves_its_name(tmp_path, monkeypatch):
    """Where flock does not reach: the other machine could not hear this one, and began."""
    other = json.dumps({"host": "elsewhere", "pid": 4711, "heartbeat": time.time() - 3600})
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "add", lambda *_: (tmp_path / "out" / "run.lock").write_text(other))
        with pytest.raises(UserError, match="was taken over by process 4711 on elsewhere"):
            build_tones(tmp_path, executor={"kind": "inline"})
    assert (tmp_path / "out" / "run.lock").read_text() == other
    assert not list((tmp_path / "out").glob("shards/*"))
    monkeypatch.setattr("pipeline.lock.WATCH_S", 0.2)
    assert build_tones(tmp_path, executor={"kind": "inline"}).findings == []
