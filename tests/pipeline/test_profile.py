"""Where time went: kinds that do not overlap, sums that hold, and the sentence that says what bounds a run."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pyarrow as pa

from manifests.clock import CODEC, ENGINE, STORAGE, Clock
from manifests.clock import clock as shared
from manifests.ledger import CellRecord, Ledger
from pipeline.profile import GRID, OUTSIDE, PYTHON, Profile, outside


def test_what_is_inside_another_kind_counts_once() -> None:
    clock = Clock()
    with clock(ENGINE):
        time.sleep(0.02)
        with clock(CODEC):
            time.sleep(0.05)
    spent = clock.take()
    assert 0.045 < spent[CODEC] < 0.5 and 0.015 < spent[ENGINE] < spent[CODEC]
    assert spent[STORAGE] == 0 and clock.take()[CODEC] == 0


def cell(stage: str, wall: float, engine: float, commit: float = 0.0, codec: float = 0.0) -> CellRecord:
    metrics = {
        "made": 10, "audio_s": 5.0, "wall_s": wall, "cpu_s": wall, "commit_s": commit, "worker": "a",
        "finished": time.time(), "spent_s": {ENGINE: engine, CODEC: codec, STORAGE: 0.0},
    }  # fmt: skip
    return CellRecord(stage, 0, "k", "d", "s", 1, 10, [], metrics)


def built(*cells: CellRecord, grid: float, workers: int = 1, **steps: float) -> Profile:
    profile = Profile(workers)
    profile.steps = {GRID: grid, **steps}
    for record in cells:
        profile.add(record)
    return profile


def test_a_workers_time_is_shared_out_whole() -> None:
    profile = built(cell("speak", 8.0, 5.0, 1.0, 0.5), cell("hear", 2.0, 1.0), grid=10, workers=2)
    assert profile.kinds == {ENGINE: 6.0, CODEC: 0.5, STORAGE: 1.0, PYTHON: 3.5, OUTSIDE: 9.0}
    assert profile.stages["speak"]["wall_s"] == 9.0 and profile.stages["speak"]["rows"] == 10


def test_the_sentence_names_what_bounds() -> None:
    engine = built(cell("speak", 8.0, 7.0), cell("hear", 1.0, 0.9), grid=9, select=1)
    assert engine.bound().startswith("The run is bound by the engine of speak: 88% of the workers' time in the grid")
    assert "which is 90% of 10.0 s" in engine.bound()
    assert "reading, writing and syncing of cells, most of it in hear" in built(cell("hear", 1, 0.5, 5), grid=6).bound()
    assert "cells are few or short for so many workers" in built(cell("hear", 1, 1), grid=9, workers=4).bound()
    late = built(cell("hear", 1, 1), grid=1, select=9)
    assert late.bound() == "The run is bound by the step select: 90% of 10.0 s; more workers do not shorten it."
    for step in ("voices", "shard"):  # they are made by the pools of workers
        made = built(cell("hear", 1, 1), grid=1)
        made.steps[step] = 9.0
        assert made.bound() == f"The run is bound by the step {step}: 90% of 10.0 s."
    assert Profile(2).bound() == "Nothing was made: everything was there."


def test_people_are_told_of_the_time_that_is_in_no_cell() -> None:
    profile = built(cell("hear", 4.0, 4.0), grid=10, workers=2)
    assert outside(profile).startswith("Outside of cells the workers spent 16.0 worker-seconds of the grid (80%)")


def test_hashing_of_inputs_is_storage(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    record = ledger.commit("hear", 0, "0" * 16, pa.table({"text": ["a"]}), [], {})
    before = dict(shared.spent)
    ledger.check(record)
    assert shared.spent[STORAGE] > before[STORAGE]


def test_it_is_written_for_machines(tmp_path: Path) -> None:
    profile = built(cell("speak", 8.0, 7.0), grid=9)
    document = json.loads(profile.write(tmp_path).read_bytes())
    assert document["bound"] == profile.bound() and document["worker_seconds"][ENGINE] == 7.0
    assert set(document) == {"format", "workers", "steps", "worker_seconds", "stages", "first_cell_s", "bound"}
