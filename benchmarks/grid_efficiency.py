"""Grid efficiency: rows a second of `executor: ray` against bare processes calling the same engine.

Claim: at least 0.85 of bare. Both sides speak the queries and replies of the demo's 48 dialogues, in the same run
on the same machine. Bare is two processes that take utterances from one queue and keep nothing; the grid starts
Ray, dispatches cells, encodes FLAC, writes, syncs and commits. Times include every start-up.

    python benchmarks/grid_efficiency.py [--repeats 1] [--run demo]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import ray

from manifests.ledger import Ledger
from manifests.run import load_run
from pipeline.dag import Dag, build_dag
from pipeline.executor import InlineExecutor, RayExecutor
from pipeline.grid import Grid
from pipeline.join import join_rows
from pipeline.runner import Runner
from pipeline.schedule import Node, Schedule, big_first
from pipeline.stages.plan import run_plan

SPEAK = ("speak_query", "speak_reply")
RESULTS = Path(__file__).parent / "results" / "grid_efficiency.json"


def prepare(run: Path, manifest_file: Path) -> tuple[Dag, Grid]:
    """Plan and script the run, which is not measured."""
    manifest = load_run(manifest_file)
    dag, ledger = build_dag(manifest, manifest_file), Ledger(run)
    from manifests.run import dump_run

    run.mkdir(parents=True)
    (run / "run.yaml").write_text(dump_run(manifest))
    grid = Grid(dag, ledger, run_plan(dag.plan, ledger))
    make(grid, InlineExecutor(Runner(run, manifest), manifest.workers), ("script",))
    return dag, grid


def make(grid: Grid, executor: Any, stages: tuple[str, ...]) -> None:
    """Make the cells of some stages."""
    nodes = [Node(name, grid.dag.by_name[name].upstream, grid.dag.manifest.workers[0].name) for name in stages]
    parts = big_first({record.part: record.rows for record in grid.plan})
    known = {name: set(parts) for name in stages}

    def done(cell: tuple[str, int], record: Any) -> None:
        grid.records[cell[1]][cell[0]] = record

    executor.run(Schedule(nodes, parts, set()), lambda cell: grid.job(cell, known), done)


def utterances(dag: Dag, grid: Grid) -> list[Any]:
    """Every utterance of the run, longest first, as the grid begins with its biggest parts."""
    found = []
    for name in SPEAK:
        stage: Any = dag.by_name[name]
        for cells in grid.records.values():
            rows, _ = join_rows(grid.ledger, [cells["plan"], cells["script"]], stage.reads)
            found += [(name, stage.utterance(row)) for row in rows]
    return sorted(found, key=lambda item: -len(item[1].text))


def _bare(dag_file: str, todo: Any) -> None:
    dag = build_dag(load_run(Path(dag_file)), dag_file)
    speakers: dict[str, Any] = {}
    while (item := todo.get()) is not None:
        name, utterance = item
        if name not in speakers:
            speakers[name] = dag.by_name[name].engine.open()  # type: ignore[attr-defined]
        speakers[name].speak(utterance)


def bare(run: Path, work: list[Any], processes: int) -> float:
    """Seconds of bare processes."""
    context = multiprocessing.get_context("spawn")
    started = time.perf_counter()
    todo = context.Queue()
    for item in [*work, *[None] * processes]:
        todo.put(item)
    running = [context.Process(target=_bare, args=(str(run / "run.yaml"), todo)) for _ in range(processes)]
    for process in running:
        process.start()
    for process in running:
        process.join()
        assert process.exitcode == 0
    return time.perf_counter() - started


def on_ray(grid: Grid, run: Path) -> tuple[float, float]:
    """Seconds of the grid on Ray: in all, and without starting and stopping Ray."""
    manifest = grid.dag.manifest
    started = time.perf_counter()
    executor = RayExecutor(run, manifest.executor, manifest.workers, lambda *args, **kwargs: None)
    ready = time.perf_counter()
    make(grid, executor, SPEAK)
    made = time.perf_counter()
    executor.close()
    return time.perf_counter() - started, made - ready


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default="demo")
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    rows = []
    for repeat in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            dag, grid = prepare(run, Path(options.run))
            work = utterances(dag, grid)
            count = sum(pool.count for pool in dag.manifest.workers)
            load = os.getloadavg()[0]
            # Alternate the order, so that a machine that warms up or slows down favours neither.
            sides = [lambda: bare(run, work, count), lambda: on_ray(grid, run)]  # noqa: B023
            first, second = (sides[0](), sides[1]()) if repeat % 2 == 0 else (sides[1](), sides[0]())
            (bare_s, ray_s) = (first, second) if repeat % 2 == 0 else (second, first)
            rows.append({"bare_s": bare_s, "ray_s": ray_s[0], "ray_work_s": ray_s[1], "load_before": load})
            print(
                f"run {repeat + 1}: {len(work)} utterances; bare {len(work) / bare_s:.3f}/s ({bare_s:.1f} s),"
                f" ray {len(work) / ray_s[0]:.3f}/s ({ray_s[0]:.1f} s, of which work {ray_s[1]:.1f} s),"
                f" ratio {bare_s / ray_s[0]:.3f}, load before {load:.2f}"
            )
    ratio = statistics.median(row["bare_s"] / row["ray_s"] for row in rows)
    result = {
        "claim": "rows/s of executor ray over two bare processes, start-up included, at least 0.85",
        "ratio": round(ratio, 3),
        "runs": [{key: round(value, 2) for key, value in row.items()} for row in rows],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "ray": ray.__version__,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(f"median ratio {ratio:.3f} (claim: at least 0.85) -> {RESULTS}")


if __name__ == "__main__":
    main()
