"""kill -9 of drivers, Ray's daemons and workers at random moments: nothing lost, nothing twice, nothing torn.

The long form is `make faults`.
"""

from __future__ import annotations

import random
import subprocess
import sys

import psutil
import pytest
from campaign import Campaign, strike


@pytest.fixture
def campaign(chaos, tmp_path, monkeypatch) -> Campaign:
    return Campaign(chaos, 20, {"emotion": 7, "neutral": 3}, pause_s=1.0)


@pytest.mark.parametrize("victim", ["everything", "driver", "inline", "worker", "raylet"])
def test_only_a_living_process_counts_as_killed(victim, monkeypatch):
    """One that ended before the signal was not killed: the kernel takes the signal all the same until it is reaped."""
    command = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    for ended in (False, True):
        process = subprocess.Popen([*command[:2], "pass"] if ended else command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.read(1)
        if ended:
            while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
                pass
        monkeypatch.setattr("campaign.below", lambda *_, process=process: [psutil.Process(process.pid)])
        assert strike(process, victim, random.Random(1)) is not ended
        assert (process.wait() == -9) is not ended
    monkeypatch.setattr("campaign.below", lambda *_: [])
    if victim in ("worker", "raylet"):
        assert not strike(process, victim, random.Random(1)), "there is none"


@pytest.mark.slow
def test_kills_under_ray_cost_only_what_was_in_flight(campaign):
    campaign.attack("ray", ["driver", "worker", "raylet"])
    assert campaign.harm.none, campaign.harm
    assert sum(campaign.killed.values()) >= 2, campaign.codes


@pytest.mark.slow
def test_kills_of_a_single_process_cost_only_what_was_in_flight(campaign):
    campaign.pause_s = 0.5  # one process speaks half as fast as two workers
    campaign.attack("inline", ["inline"] * 2)
    assert campaign.harm.none, campaign.harm
    assert campaign.killed["inline"], campaign.codes
