"""How long the cells of a run take: learnt from the records of a run that was built, or from what engines state."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from manifests.errors import UserError
from manifests.ledger import CellRecord, Ledger
from manifests.run import load_run
from pipeline.dag import Dag, build_dag
from pipeline.estimate import Estimate
from pipeline.profile import FILE, GRID
from pipeline.simulate import Cost
from pipeline.topup import with_topup

STEPS = ("plan", "voices", "select", "shard", "verify")
START_S = {"plan": 4.0, "select": 17.0, "verify": 3.5}
START_ALONE_S = {"plan": 3.0, "select": 5.0, "verify": 0.5}
"""Seconds that these steps take however few dialogues there are (Beam and its processes, models of languages).

With Beam options in the manifest, from 2,000 to 100,000 dialogues in `benchmarks/results/scale.json`; without, of 300.
"""
_UNTIMED = 0.002  # seconds a row of stages of which nothing is stated: text, no sound


def learnt(dag: Dag, run: Path) -> dict[str, Cost]:
    """The cost of each stage, from the records of a built run.

    Raises:
        UserError: The run lacks cells of a stage that were made, not copied.
    """
    ledger, costs = Ledger(run), {}
    for stage in dag.stages:
        made = [item for item in ledger.all_records(stage.name) if item.rows and item.metrics.get("made") == item.rows]
        if not made:
            raise UserError(f"{run}: has no cell of {stage.name} that was made in full; name a run folder with one")
        costs[stage.name] = fit(made)
    return costs


def seconds(record: CellRecord) -> float:
    """What a worker spent on a cell."""
    return record.metrics.get("wall_s", 0.0) + record.metrics.get("commit_s", 0.0)


def fit(records: Iterable[CellRecord]) -> Cost:
    """A line through the seconds of a stage's cells by their rows; the first cell of each worker has loaded a model."""
    first, later = _firsts(records)
    known = later or first
    rows, took = np.array([item.rows for item in known]), np.array([seconds(item) for item in known])
    row_s, cell_s = float(took.sum() / rows.sum()), 0.0
    if len(set(rows.tolist())) >= 3:
        slope, offset = np.polyfit(rows, took, 1)
        # With cells of nearly one size the line is a guess: it must at least be one that time could follow.
        if slope > 0 and offset > 0:
            row_s, cell_s = float(slope), float(offset)
    expected = cell_s + row_s * rows
    spread = took / expected
    load = [max(0.0, seconds(item) - cell_s - row_s * item.rows) for item in first] if later else [0.0]
    return Cost(row_s, cell_s, median(load), tuple((spread / spread.mean()).round(4).tolist()))


def _firsts(records: Iterable[CellRecord]) -> tuple[list[CellRecord], list[CellRecord]]:
    """The first cell of each worker, and the others."""
    seen: set[str] = set()
    first, later = [], []
    for record in sorted(records, key=lambda item: item.metrics["finished"]):
        (later if record.metrics["worker"] in seen else first).append(record)
        seen.add(record.metrics["worker"])
    return first, later


def dispatch_s(run: Path, dag: Dag) -> float:
    """Seconds between a worker's cells, the median: Ray, and the loop that hands them out."""
    ends: dict[str, list[tuple[float, float]]] = {}
    ledger = Ledger(run)
    for stage in dag.stages:
        for item in ledger.all_records(stage.name):
            end = item.metrics["finished"] + item.metrics.get("commit_s", 0.0)
            begin = item.metrics["finished"] - item.metrics["wall_s"]
            ends.setdefault(item.metrics["worker"], []).append((begin, end))
    gaps = []
    for spans in ends.values():
        spans.sort()
        gaps += [max(0.0, after[0] - before[1]) for before, after in pairwise(spans)]
    return median(gaps) if gaps else 0.0


@dataclass(frozen=True)
class Step:
    """A step of a build beside the grid: seconds of start, and seconds a dialogue."""

    start_s: float
    dialogue_s: float = 0.0
    told: bool = True
    """Whether the run that it was learnt from was long enough to tell more than the start."""

    def seconds(self, dialogues: float) -> float:
        """Of a run of so many dialogues."""
        return self.start_s + self.dialogue_s * dialogues


def barriers(run: Path, dialogues: int, beam: bool) -> tuple[dict[str, Step], float]:
    """The steps beside the grid, which wait for each other, and seconds until workers begin; nothing without a profile.

    Args:
        dialogues: Of the run.
        beam: Whether its manifest gives options to Beam.
    """
    try:
        profile: dict[str, Any] = json.loads((run / FILE).read_bytes())
        took = {name: float(profile["steps"][name]) for name in STEPS if name in profile["steps"]}
        start = float(profile["first_cell_s"]) if profile["steps"].get(GRID) else 0.0
    except (OSError, ValueError, KeyError, TypeError):
        return {}, 0.0
    known = START_S if beam else START_ALONE_S
    steps = {}
    for name, seconds in took.items():
        # A reference is made for each voice, of which a larger run has no more.
        start_s = seconds if name == "voices" else min(seconds, known.get(name, 0.0))
        told = name == "voices" or seconds >= 1.5 * start_s
        steps[name] = Step(start_s, (seconds - start_s) / max(dialogues, 1), told)
    return steps, start


def planned(run: Path) -> int:
    """Dialogues of the plan that a run folder has now: not turns, nor plans of other settings that it once had.

    Raises:
        UserError: Its plan is not finished.
    """
    file = run / "run.yaml"
    dag, ledger = with_topup(build_dag(load_run(file), file), run), Ledger(run)
    key, number = dag.plan.cell_key([]), 0
    for part in range(dag.planner.num_parts):
        record = ledger.find("plan", part, key)
        if record is None:
            raise UserError(f"{run}: its plan is not finished; run build again, or name another folder in --like")
        number += ledger.load(record, ["turn"])["turn"].to_pylist().count(0)
    return number


def stated(dag: Dag, figures: Estimate) -> dict[str, Cost]:
    """The cost of each stage from the throughput that its engines state, where no run is at hand."""
    rows = max(figures.turns, 1.0)
    costs = {stage.name: Cost(_UNTIMED) for stage in dag.stages}
    for cost in figures.stages:
        if cost.stage in costs:
            costs[cost.stage] = Cost(3600 * cost.unit_hours / rows)
    return costs


def sizes(dialogues: int, parts: int, seed: int, turns: float = 1.0) -> dict[int, int]:
    """Rows of each part of a plan that is not drawn: ids are hashes, so dialogues fall into parts by chance."""
    drawn: Sequence[int] = np.random.default_rng(seed).multinomial(dialogues, np.full(parts, 1 / parts)).tolist()
    return {part: round(count * turns) for part, count in enumerate(drawn)}
