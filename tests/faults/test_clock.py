"""Clocks that go backwards, or differ between machines."""

from __future__ import annotations

import itertools
import json
import threading
import time

import pytest
from conftest import tree
from tone_runs import build_tones

from manifests.errors import UserError
from pipeline import lock
from pipeline.events import last_events
from pipeline.lock import RunLock
from pipeline.status import status
from pipeline.verify import verify

DAY = 24 * 3600.0


def test_a_clock_that_goes_backwards_changes_nothing(tmp_path, monkeypatch):
    for name in ("calm", "odd"):
        (tmp_path / name).mkdir()
    calm = build_tones(tmp_path / "calm").shards
    began, steps = time.time(), itertools.count()
    # Every look at the clock is an hour before the last one.
    monkeypatch.setattr(time, "time", lambda: began - 3600.0 * next(steps))
    assert build_tones(tmp_path / "odd").findings == []
    assert build_tones(tmp_path / "odd").findings == [], "what is there is taken, though it is of a time to come"
    out = tmp_path / "odd" / "out"
    assert verify(out) == []
    assert status(out).state == "finished"
    assert tree(out / "shards" / "current") == tree(calm)
    assert [event["event"] for event in last_events(out)][-1] == "build_finished"


@pytest.fixture
def held(tmp_path, monkeypatch):
    """A run folder with the lock of another machine, whose clock is off by so much."""
    monkeypatch.setattr(lock, "WATCH_S", 1.0)

    def write(off: float):
        text = json.dumps({"host": "elsewhere", "pid": 4711, "heartbeat": time.time() + off})
        (tmp_path / "run.lock").write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize("off", [DAY, -DAY])
def test_a_holder_whose_clock_is_off_is_seen_to_live(held, off):
    run = held(off)
    beating = threading.Timer(0.4, lambda: held(off))
    beating.start()
    with pytest.raises(UserError, match="process 4711 on elsewhere"), RunLock(run):
        pass
    beating.join()


@pytest.mark.parametrize("off", [DAY, -DAY])
def test_a_dead_holder_whose_clock_was_off_blocks_nobody(held, off):
    with RunLock(held(off)):
        pass
