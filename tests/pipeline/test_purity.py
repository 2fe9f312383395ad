"""Row purity, the contract of every stage: a result depends on its row, never on neighbours or their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from manifests.run import load_run, shipped_runs
from manifests.schema import PLAN
from pipeline.dag import Dag, build_dag
from pipeline.label_cells import Block

TONE = Path(__file__).parents[2] / "manifests" / "runs" / "tone.yaml"


def planned(dag: Dag, number: int) -> list[dict[str, Any]]:
    names = ["id", "turn", *[f"plan.{name}" for name in PLAN.names]]
    tasks = [task for task in ("multi", "emotion", "neutral") if dag.planner.cells[task]]
    rows = [row for task in tasks for row in dag.planner.rows(Block(task, 0, 0, number))]
    return [dict(zip(names, row, strict=True)) for row in rows[:number]]


def check(dag: Dag, rows: list[dict[str, Any]]) -> None:
    for stage in dag.stages:
        together = stage.open().process(rows)
        assert [set(row) for row in together] == [set(stage.writes.names)] * len(rows)
        backwards = stage.open()
        alone = [backwards.process([row])[0] for row in reversed(rows)][::-1]
        assert alone == together, f"{stage.name} depends on neighbours or order"
        for row, made in zip(rows, together, strict=True):
            row.update({f"{stage.name}.{key}": value for key, value in made.items()})


def test_stages_of_the_tone_engines_are_pure():
    dag = build_dag(load_run(TONE), TONE)
    check(dag, planned(dag, 6))


@pytest.mark.slow
def test_stages_of_the_embedded_engines_are_pure():
    file = shipped_runs()["demo"]
    dag = build_dag(load_run(file), file)
    check(dag, planned(dag, 2))
