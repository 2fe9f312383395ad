"""`echat status`: what is done, failing, stalled, and why; read from the ledger, so it disturbs nobody."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.run import load_run
from pipeline.dag import build_dag
from pipeline.events import last_events
from pipeline.grid import Grid
from pipeline.llm.spent import asked_llm
from pipeline.lock import STALE_S, read_lock
from pipeline.select import load_statistics
from pipeline.topup import shortages, with_topup
from pipeline.verify import check_current


@dataclass(frozen=True)
class Status:
    """A run at one moment. `state` is running, finished, stopped or new; `why` says more; `short` are the labels of
    which fewer dialogues were kept than asked for, and `texts` how much the kept texts repeat themselves, once it is
    finished."""

    state: str
    why: str
    stages: tuple[tuple[str, int, int, int], ...]  # name, committed cells, all cells, quarantined rows
    failures: dict[str, int]
    funnel: dict[str, int]
    texts: dict[str, dict[str, float]]
    short: tuple[str, ...]
    shards: str
    events: list[dict[str, Any]]
    asked_llm: dict[str, float]


def status(run: Path) -> Status:
    """Read a run folder.

    Raises:
        UserError: It is no run folder.
    """
    if not (run / "run.yaml").exists():
        raise UserError(f"{run}: is not a run folder (it has no run.yaml); name the folder given to build --out")
    dag = with_topup(build_dag(load_run(run / "run.yaml"), run / "run.yaml"), run)
    grid = Grid.open(dag, run)
    plan, total = grid.plan, dag.planner.num_parts
    spent = asked_llm(cells["script"] for cells in grid.records.values() if "script" in cells)
    stages, failures = [("plan", len(plan), total, 0)], Counter()
    if grid.references is not None:
        takes = list(grid.references.records.values())
        failed = sum(len(record.failures) for record in takes)
        stages.append(("voices", len(takes), len(grid.references.voices), failed))
    for stage in dag.stages:
        records = [cells[stage.name] for cells in grid.records.values() if stage.name in cells]
        for record in records:
            failures.update(f"{item['stage']}: {item['type']}: {item['message']}" for item in record.failures)
        stages.append((stage.name, len(records), total, sum(len(record.failures) for record in records)))
    shards = run / "shards" / "current"
    finished = not check_current(grid, run)
    funnel, texts, short = {}, {}, ()
    if finished:
        statistics = load_statistics(run / "select" / "current")
        funnel, texts = statistics["verdict"], statistics["text"]
        short = tuple(map(str, shortages(dag.planner, statistics)))
    state, why = _state(run, finished)
    worst = dict(failures.most_common(10))
    return Status(state, why, tuple(stages), worst, funnel, texts, short, str(shards), last_events(run), spent)


def _state(run: Path, finished: bool) -> tuple[str, str]:
    holder = read_lock(run)
    alive = False
    if holder is not None:
        silent = max(0.0, time.time() - holder["heartbeat"])  # a clock may go backwards, or another machine's ahead
        here = holder["host"] == socket.gethostname()
        alive = _alive(holder["pid"]) if here else silent < STALE_S
        who = f"process {holder['pid']} on {holder['host']}, heard of {silent:.0f} s ago"
        if alive and silent < STALE_S:
            return "running", who
        if alive:
            return (
                "running",
                f"{who}: it holds the folder but no longer says so; it may be suspended or out of disk",
            )
        if not finished:
            return "stopped", f"{who}, is gone; run the same command (build or replay) to go on"
    return (
        ("finished", "")
        if finished
        else ("stopped", "nobody is building it; run the same command (build or replay) to go on")
    )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
