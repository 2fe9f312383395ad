"""Grid efficiency: what the grid of `echat build` costs beside bare processes and Ray Data doing the same engine calls.

Claims: on cells of 10 s and more the grid takes at most 1.10 x the time of bare processes, and less than Ray Data's.

All sides make the same cells (a stage of speech of a part; biggest first) with the same number of workers, each one
process: the same calls of engines that sleep, the same FLAC, a Parquet file a cell. Bare processes take cells from one
queue. Ray Data reads the cells' rows, maps them by a pool of actors and writes; it is measured as its documentation
has it and with one cell at a time for an actor, and the better counts. Ours runs cells by the executor of a build, with
all that a build does for a cell: it is synced, hashed, checked and committed. Each side is a process of its own.

The work is timed from the first engine call, before which all workers wait for each other, to the last file; the start
(of processes, Ray and engines) is told apart.

    python benchmarks/grid_efficiency.py [--rounds 3] [--dialogues 192] [--workers 4]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from peers import (
    SPEAK,
    Speaking,
    make,
    prepare,
    ray_data,
    sounds_of_files,
    sounds_of_run,
    start_ray,
    use_plugins,
    write_cells,
)
from simulate import manifest, pools
from sleeping import calls

from manifests.ids import content_hash
from manifests.run import load_run
from pipeline.dag import build_dag
from pipeline.executor import RayExecutor
from pipeline.grid import Grid

RESULTS = Path(__file__).parent / "results" / "grid_efficiency.json"
OURS, BARE, RAY_DATA, RAY_DATA_ONE = "our grid", "bare processes", "Ray Data", "Ray Data, one cell at a time"
SIDES = (BARE, OURS, RAY_DATA, RAY_DATA_ONE)
LEAST_CELL_S, MOST = 10.0, 1.10
PART_ROWS = 16


def _bare(file: str, todo: Any, out: str) -> None:
    speaking = Speaking(file)
    while (path := todo.get()) is not None:
        pq.write_table(speaking(pq.read_table(path, partitioning=None)), Path(out) / path.name)


def bare(file: Path, cells: Path, out: Path, workers: int) -> None:
    """Processes that take cells from one queue."""
    context = multiprocessing.get_context("spawn")
    todo = context.Queue()
    for item in [*sorted(cells.iterdir()), *[None] * workers]:
        todo.put(item)
    running = [context.Process(target=_bare, args=(str(file), todo, str(out))) for _ in range(workers)]
    for process in running:
        process.start()
    for process in running:
        process.join()
        assert process.exitcode == 0


def side(name: str, folder: Path, out: Path, workers: int) -> dict[str, Any]:
    """Run one side in this process, which then ends."""
    run, cells = folder / "run", folder / "cells"
    log = Path(os.environ["SLEEPING_CALLS"])
    began = time.time()
    if name == OURS:
        shutil.copytree(run, out)
        dag = build_dag(load_run(out / "run.yaml"), out / "run.yaml")
        grid = Grid.open(dag, out)
        began = time.time()
        executor = RayExecutor(out, dag.manifest.executor, dag.manifest.workers, lambda *args, **kwargs: None)
        make(grid, executor, SPEAK)
        executor.close()
        files = [path for stage in SPEAK for path in (out / "stages" / stage).iterdir()]
        sounds = sounds_of_run(grid.ledger, [have[stage] for have in grid.records.values() for stage in SPEAK])
    else:
        out.mkdir()
        if name == BARE:
            bare(run / "run.yaml", cells, out, workers)
        else:
            import ray.data  # noqa: F401  (its import is no part of the start: ours and bare have theirs behind them)

            began = time.time()
            ray_data(start_ray(), run / "run.yaml", cells, out, workers, 1 if name == RAY_DATA_ONE else None)
        files = sorted(out.rglob("*.parquet"))
        sounds = sounds_of_files(files)
    whole = time.time() - began
    spoken = calls(log)
    first, last = min(call[1] for call in spoken), max(path.stat().st_mtime for path in files)
    return {
        "start_s": round(first - began, 2), "work_s": round(last - first, 2), "whole_s": round(whole, 2),
        "calls": len(spoken), "workers": len({call[3] for call in spoken}),
        "engine_s": round(sum(call[2] - call[1] for call in spoken), 2),
        "files": sum(path.suffix == ".parquet" for path in files),
        "mb": round(sum(path.stat().st_size for path in files) / 1e6, 2), "sounds": content_hash([sounds]),
    }  # fmt: skip


def measure(name: str, folder: Path, workers: int, log: Path) -> dict[str, Any]:
    """One side in a process of its own."""
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as spare:
        command = [sys.executable, __file__, "--side", name, str(folder), str(Path(spare) / "out"), str(workers)]
        environment = {**os.environ, "SLEEPING_CALLS": str(log), "SLEEPING_TOGETHER": str(workers)}
        load = os.getloadavg()[0]
        said = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert said.returncode == 0, said.stderr[-3000:]
    return {**json.loads(said.stdout.splitlines()[-1]), "load_before": round(load, 1)}


def summary(rounds: list[dict[str, dict[str, Any]]], cells: list[int], workers: int, sleep: float) -> dict[str, Any]:
    """Medians over the rounds, and what was claimed of them."""
    names = list(rounds[0])
    table = {}
    for name in names:
        lines = [one[name] for one in rounds]
        work = statistics.median(line["work_s"] for line in lines)
        beyond = workers * work - sum(cells) * sleep  # worker-seconds that were no sleep: the rest of a call, too
        table[name] = {
            "start_s": statistics.median(line["start_s"] for line in lines),
            "work_s": work,
            "over_bare": round(statistics.median(one[name]["work_s"] / one[BARE]["work_s"] for one in rounds), 3),
            "ms_a_cell_over_sleep": round(1000 * beyond / len(cells), 1),
            "ms_a_row_over_sleep": round(1000 * beyond / sum(cells), 1),
        }
    same = len({line["sounds"] for one in rounds for line in one.values()}) == 1
    same &= {line["calls"] for one in rounds for line in one.values()} == {sum(cells)}
    same &= {line["workers"] for one in rounds for line in one.values()} == {workers}
    theirs = min(table[name]["over_bare"] for name in names if name.startswith(RAY_DATA))
    claims = {
        f"the grid takes at most {MOST} x bare processes": table[OURS]["over_bare"] <= MOST,
        "the grid takes less than Ray Data": table[OURS]["over_bare"] < theirs,
        "all made the same sound by as many calls and workers": same,
    }
    return {"sides": table, "claims": claims}


def main() -> int:
    """Run the rounds, write results, exit with 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dialogues", type=int, default=192)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--side", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    use_plugins()
    if args.side:
        name, folder, out, workers = args.side
        print(json.dumps(side(name, Path(folder), Path(out), int(workers))))
        return 0
    rounds: list[dict[str, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as spare:
        folder = Path(spare)
        grid = prepare(
            manifest(folder / "made", args.dialogues, PART_ROWS, pools(main=args.workers), 0.0), folder / "run"
        )
        cells = [len(seeds) for seeds in write_cells(grid, folder / "cells").values()]
        # How long an engine sleeps is in no key: it is set so that the smallest cell takes as long as is claimed.
        sleep = round(LEAST_CELL_S / min(cells), 3)
        document = yaml.safe_load((folder / "run" / "run.yaml").read_text())
        for stage in SPEAK:
            document[stage]["sleep"] = sleep
        (folder / "run" / "run.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
        print(f"{len(cells)} cells of {min(cells)} to {max(cells)} rows, {sleep} s a row, {args.workers} workers")
        for number in range(args.rounds):
            # Another side begins each round, so that a machine that slows down favours none.
            order = [*SIDES[number % len(SIDES) :], *SIDES[: number % len(SIDES)]]
            rounds.append({})
            for name in order:
                rounds[-1][name] = measure(name, folder, args.workers, folder / "calls")
                print(f"{name:28s} {json.dumps(rounds[-1][name])}", flush=True)
    result = summary(rounds, cells, args.workers, sleep)
    for name, line in result["sides"].items():
        print(f"{name:28s} {json.dumps(line)}")
    for claim, met in result["claims"].items():
        print(f"{'met' if met else 'NOT met'}: {claim}")
    result |= {
        "cells": len(cells), "rows": sum(cells), "sleep_s": sleep, "workers": args.workers, "rounds": rounds,
        "cores": os.cpu_count(), "python": platform.python_version(), "load_after": round(os.getloadavg()[0], 1),
        "versions": {name: version(name) for name in ("ray", "pyarrow")},
    }  # fmt: skip
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"-> {args.out}")
    return 0 if all(result["claims"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
