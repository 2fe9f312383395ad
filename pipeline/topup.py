"""`build --top-up`: quotas are of kept dialogues, so what was not kept is planned again, round by round.

A round is decided by the verdicts alone: for every label that is short, first the rejected rows that may be tried
again with another seed, then additional rows, as many as the label's measured yield asks for. Its counts are state
of the run (`manifests/topup.py`) and part of the plan from then on; earlier rows stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from manifests.labels import CUES
from manifests.ledger import CellRecord, Ledger
from manifests.topup import Cell, Round, TopUp, read_topup
from manifests.withdrawn import is_withdrawn
from pipeline.dag import Dag
from pipeline.join import join_rows
from pipeline.planner import Planner
from pipeline.real import SOURCE
from pipeline.select import verdicts
from pipeline.stages.plan import Plan
from pipeline.summary import label_of
from pipeline.verdict import KEPT, REJECTED

LEAST_YIELD = 0.1
"""A label that keeps fewer than one in ten is planned as if it did: one that keeps none may never keep any."""


@dataclass(frozen=True)
class Shortage:
    """A label of which fewer dialogues were kept than asked for."""

    task: str
    label: str
    quota: int
    kept: int
    planned: int

    @property
    def missing(self) -> int:
        """Dialogues that are still to be kept."""
        return self.quota - self.kept

    @property
    def draws(self) -> int:
        """Dialogues to plan for them: by the yield so far, with one success and one failure added to it (Laplace)."""
        return math.ceil(self.missing / max(LEAST_YIELD, (self.kept + 1) / (self.planned + 2)) - 1e-9)

    def __str__(self) -> str:
        return f"{self.task}{'' if self.task == self.label else f' {self.label}'} {self.kept} of {self.quota}"


def with_topup(dag: Dag, run: Path) -> Dag:
    """The DAG of a run folder, whose plan holds what was added by earlier rounds.

    Raises:
        UserError: The file of the rounds is damaged.
    """
    topup = read_topup(run)
    return dag if topup == dag.planner.topup else replace(dag, plan=Plan(replace(dag.planner, topup=topup)))


def shortages(planner: Planner, statistics: Mapping[str, Any]) -> tuple[Shortage, ...]:
    """The labels that are short, by the counts of a selection."""
    short = []
    for (task, label), quota in planner.quotas.items():
        counts = statistics["task"].get(task, {}).get(label, {})
        kept = counts.get(KEPT, 0)
        if kept < quota:
            short.append(Shortage(task, label, quota, kept, sum(counts.values())))
    return tuple(short)


def next_round(
    dag: Dag, ledger: Ledger, select: Path, records: Mapping[int, Mapping[str, CellRecord]], short: tuple[Shortage, ...]
) -> Round:
    """What to add for the labels that are short; nothing when nothing more is to be had."""
    planner = dag.planner
    again, lost = _rejected(dag, ledger, select, records, {(item.task, item.label) for item in short})
    extra: dict[Cell, int] = {}
    retries: dict[Cell, tuple[tuple[int, int], ...]] = {}
    for item in short:
        cell = (item.task, item.label)
        retries[cell] = tuple(sorted(sorted(again.get(cell, ()), key=lambda row: row[::-1])[: item.draws]))
        room = planner.room(*cell) - planner.counts[cell]
        extra[cell] = max(0, min(item.draws - len(retries[cell]), room))
    anew = {cell: tuple(row for row in rows if row in lost.get(cell, ())) for cell, rows in retries.items()}
    return Round(extra, retries, anew)


def _rejected(
    dag: Dag, ledger: Ledger, select: Path, records: Mapping[int, Mapping[str, CellRecord]], cells: set[Cell]
) -> tuple[dict[Cell, list[tuple[int, int]]], dict[Cell, set[tuple[int, int]]]]:
    """(number, attempt) of the next attempt at each rejected row of some labels that may have one and has none yet.

    Then those of them that were in a contrastive pair of which no row was kept: nothing holds them to its words.
    """
    most, topup = dag.manifest.plan.retries, dag.planner.topup
    tried = {cell: {row for item in topup.rounds for row in item.retries.get(cell, ())} for cell in cells}
    columns = [
        "plan.source",
        "plan.task",
        "plan.cues",
        "plan.number",
        "plan.attempt",
        "plan.pair",
        *(f"plan.{family}" for family in CUES),
    ]
    found: dict[Cell, list[tuple[int, int]]] = {}
    paired: dict[tuple[Cell, tuple[int, int]], str] = {}
    kept: set[str] = set()
    for part in records if most else ():
        table = verdicts(select, part, ["id", "verdict", "reasons"]).to_pylist()
        # A withdrawn dialogue would be withdrawn again: another seed is no other speaker.
        verdict_of = {row["id"]: "" if is_withdrawn(row["reasons"]) else row["verdict"] for row in table}
        for row in join_rows(ledger, [records[part]["plan"]], columns)[0]:
            cell, attempt = (row["plan.task"], label_of(row)), (row["plan.number"], row["plan.attempt"] + 1)
            if verdict_of[row["id"]] == KEPT:
                kept.add(row["plan.pair"])
            rejected = row["turn"] == 0 and verdict_of[row["id"]] == REJECTED
            # A recording would be rejected again: there is nothing in it to draw anew.
            rejected = rejected and row["plan.source"] != SOURCE
            if rejected and cell in cells and attempt[1] <= most and attempt not in tried[cell]:
                found.setdefault(cell, []).append(attempt)
                if row["plan.pair"]:
                    paired[cell, attempt] = row["plan.pair"]
    lost: dict[Cell, set[tuple[int, int]]] = {}
    for (cell, attempt), pair in paired.items():
        if pair not in kept:
            lost.setdefault(cell, set()).add(attempt)
    return found, lost


def added(topup: TopUp, item: Round) -> TopUp:
    """The rounds with one more."""
    return TopUp((*topup.rounds, item))
