"""kill -9 of drivers, Ray's daemons and workers at random moments: nothing lost, nothing twice, nothing torn.

The long form is `make faults`.
"""

from __future__ import annotations

import pytest
from campaign import Campaign

pytestmark = pytest.mark.slow


@pytest.fixture
def campaign(chaos, tmp_path, monkeypatch) -> Campaign:
    return Campaign(chaos, 20, {"emotion": 7, "neutral": 3}, pause_s=1.0)


def test_kills_under_ray_cost_only_what_was_in_flight(campaign):
    campaign.attack("ray", ["driver", "worker", "raylet"])
    assert campaign.harm.none, campaign.harm
    assert sum(campaign.killed.values()) >= 2, campaign.codes


def test_kills_of_a_single_process_cost_only_what_was_in_flight(campaign):
    campaign.pause_s = 0.5  # one process speaks half as fast as two workers
    campaign.attack("inline", ["inline"] * 2)
    assert campaign.harm.none, campaign.harm
    assert campaign.killed["inline"], campaign.codes
