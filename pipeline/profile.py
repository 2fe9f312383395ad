"""`build --profile`: where the time of a build went, from the records of its cells, and what bounds it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifests.clock import CODEC, ENGINE, KINDS, STORAGE
from manifests.files import write_atomic
from manifests.ids import canonical_json

if TYPE_CHECKING:
    from manifests.ledger import CellRecord

FILE = "profile.json"
GRID = "grid"
PYTHON, OUTSIDE = "python", "outside"
"""Of a worker's time: in a cell but in none of `KINDS`; in no cell (Ray, loading of code, waiting for work)."""
_ALONE = ("plan", "select", "verify")
"""Steps of this process, and of Beam's: no pool of workers takes part."""
_WHY = {
    ENGINE: "the engine of {stage}",
    CODEC: "encoding and decoding of sound, most of it in {stage}",
    STORAGE: "reading, writing and syncing of cells, most of it in {stage}",
    PYTHON: "the Python code around the engines, most of it in {stage}",
    OUTSIDE: "starting of workers, Ray and waiting for work: cells are few or short for so many workers",
}


class Profile:
    """What a build did: its steps, one after the other, and the cells that were made in it."""

    def __init__(self, workers: int) -> None:
        """Args: workers: Of all pools."""
        self.workers = workers
        self.steps: dict[str, float] = {}
        self.stages: dict[str, dict[str, float]] = {}
        self.starts: dict[str, float] = {}
        self._grid = 0.0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count the wall time of a step; a step that comes again is added."""
        started = time.time()
        if name == GRID:
            self._grid = started
        try:
            yield
        finally:
            self.steps[name] = self.steps.get(name, 0.0) + time.time() - started

    def add(self, record: CellRecord) -> None:
        """Count a cell that was made just now."""
        metrics = record.metrics
        whole = metrics.get("wall_s", 0.0) + metrics.get("commit_s", 0.0)
        spent = dict(metrics.get("spent_s", {}))
        spent[STORAGE] = spent.get(STORAGE, 0.0) + metrics.get("commit_s", 0.0)
        stage = self.stages.setdefault(
            record.stage, dict.fromkeys(("cells", "rows", "audio_s", "wall_s", "cpu_s", *KINDS, PYTHON), 0.0)
        )
        for name, value in (
            ("cells", 1), ("rows", metrics.get("made", 0)), ("audio_s", metrics.get("audio_s", 0.0)),
            ("wall_s", whole), ("cpu_s", metrics.get("cpu_s", 0.0)), *((kind, spent.get(kind, 0.0)) for kind in KINDS),
            (PYTHON, max(0.0, whole - sum(spent.values()))),
        ):  # fmt: skip
            stage[name] += value
        began = metrics.get("finished", 0.0) - metrics.get("wall_s", 0.0) - self._grid
        worker = metrics.get("worker", "")
        self.starts[worker] = min(began, self.starts.get(worker, began))

    @property
    def kinds(self) -> dict[str, float]:
        """Worker-seconds of the grid by kind."""
        found = {kind: sum(stage[kind] for stage in self.stages.values()) for kind in (*KINDS, PYTHON)}
        there = self.workers * self.steps.get(GRID, 0.0)
        return {**found, OUTSIDE: max(0.0, there - sum(found.values()))}

    def bound(self) -> str:
        """What bounds the run, in one sentence."""
        total = sum(self.steps.values())
        if not self.stages or not total:
            return "Nothing was made: everything was there."
        step = max(self.steps, key=lambda name: self.steps[name])
        share = f"{self.steps[step] / total:.0%} of {_time(total)}"
        if step != GRID:
            alone = "; more workers do not shorten it" if step in _ALONE else ""
            return f"The run is bound by the step {step}: {share}{alone}."
        kinds = self.kinds
        kind = max(kinds, key=lambda name: kinds[name])
        stage = max(self.stages, key=lambda name: self.stages[name].get(kind, 0.0))
        why = _WHY[kind].format(stage=stage)
        part = kinds[kind] / max(sum(kinds.values()), 1e-9)
        return f"The run is bound by {why}: {part:.0%} of the workers' time in the grid, which is {share}."

    def document(self) -> dict[str, Any]:
        """For machines; seconds."""
        starts = sorted(self.starts.values())
        return {
            "format": 1,
            "workers": self.workers,
            "steps": _rounded(self.steps),
            "worker_seconds": _rounded(self.kinds),
            "stages": {name: _rounded(stage) for name, stage in self.stages.items()},
            "first_cell_s": round(starts[len(starts) // 2], 3) if starts else 0.0,
            "bound": self.bound(),
        }

    def write(self, run: Path) -> Path:
        """Write `profile.json` into a run folder."""
        path = run / FILE
        write_atomic(path, canonical_json(self.document()) + b"\n")
        return path


def table(profile: Profile) -> list[tuple[str, ...]]:
    """A row per stage for people: cells, rows, worker-seconds in all and by kind, milliseconds a row."""
    rows = []
    for name, stage in profile.stages.items():
        kinds = [f"{stage[kind]:,.1f}" for kind in (*KINDS, PYTHON)]
        each = f"{1000 * stage['wall_s'] / stage['rows']:,.1f}" if stage["rows"] else "-"
        rows.append((name, f"{stage['cells']:,.0f}", f"{stage['rows']:,.0f}", f"{stage['wall_s']:,.1f}", *kinds, each))
    return rows


def outside(profile: Profile) -> str:
    """What the table leaves out of the workers' time, as a line below it."""
    kinds = profile.kinds
    share = kinds[OUTSIDE] / max(sum(kinds.values()), 1e-9)
    return (
        f"Outside of cells the workers spent {kinds[OUTSIDE]:,.1f} worker-seconds of the grid"
        f" ({share:.0%}): starting, Ray, waiting for work."
    )


HEADERS = ["stage", "cells", "rows made", "worker-seconds", *KINDS, PYTHON, "ms a row"]


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}


def _time(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds < 120 else f"{seconds / 60:,.1f} minutes"
