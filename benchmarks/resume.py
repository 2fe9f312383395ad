"""Resume: what SIGKILL of a whole run at 25, 50 and 75 % of the work costs, for `echat build` and for Ray Data.

Claims: the same command again makes nothing anew but the cells that were in flight, at most one a worker; the first new
row is there within 15 s of it.

Both speak the same utterances in the same cells with the same number of workers and sleeping engines
(benchmarks/peers.py). Ours is the command `echat build`, with every stage; Ray Data reads, maps by a pool of actors and
writes with its own CheckpointConfig (rows of written files are checkpointed, and filtered out of the next run). The
driver and every process below it are killed at once, as soon as the engines have ended so many calls; then the same
command runs to its end. A row is new when its engine's call ends and no committed cell held it before; `first_file_s`
is when the first new file is committed, which a cell's own time delays.

    PYTHONPATH=tests/support:tests:. python benchmarks/resume.py [--dialogues 128] [--sleep 0.5] [--shares 25 50 75]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from killing import kill_all, spoken, start, wait_for
from peers import prepare, ray_data, sounds_of_files, start_ray, use_plugins, write_cells
from simulate import manifest, pools
from sleeping import calls

RESULTS = Path(__file__).parent / "results" / "resume.json"
OURS, RAY_DATA = "echat build", "Ray Data with CheckpointConfig"
FIRST_ROW_S = 15.0
PART_ROWS = 4
_START_S, _END_S = 600.0, 1800.0


@dataclass
class Bench:
    """The work, the same for every run.

    Attributes:
        file: The manifest.
        run: Planned and scripted; nothing is spoken in it.
        cells: What Ray Data reads; `seeds` are the utterances of each.
    """

    folder: Path
    file: Path
    run: Path
    cells: Path
    seeds: dict[str, list[str]]
    workers: int

    @property
    def total(self) -> int:
        return sum(map(len, self.seeds.values()))

    def cells_of(self, seeds: set[str]) -> int:
        """In how many cells some utterances lie."""
        return sum(not seeds.isdisjoint(own) for own in self.seeds.values())

    def start(self, name: str, out: Path) -> subprocess.Popen:
        """The command of a side, whether it is the first or the second time."""
        out.mkdir(parents=True, exist_ok=True)
        if name == OURS:
            return start(self.file, out / "run")
        command = [sys.executable, __file__, "--ray-data", str(self.run), str(self.cells), str(out), str(self.workers)]
        with (out / "log").open("a") as stream:
            return subprocess.Popen(command, stdout=stream, stderr=stream, env=dict(os.environ))

    def held(self, name: str, out: Path) -> set[str]:
        """Utterances that are committed."""
        if name == OURS:
            return spoken(self.file, out / "run")
        files = [path for path in (out / "checkpoints").glob("*.parquet") if not path.name.endswith(".pending.parquet")]
        return {seed for path in files for seed in pq.read_table(path, partitioning=None)["seed"].to_pylist()}


def committed_after(name: str, out: Path, moment: float) -> float:
    """When the first file of speech was committed after a moment."""
    folders = (
        (out / "run" / "stages").glob("speak_*/*.json") if name == OURS else (out / "checkpoints").glob("*.parquet")
    )
    times = [path.stat().st_mtime for path in folders if not path.name.endswith(".pending.parquet")]
    return min((when for when in times if when > moment), default=float("nan"))


def killed(bench: Bench, name: str, share: int) -> dict[str, Any]:
    """Kill one side at a share of the work, run it again, and say what that has cost."""
    out, log = bench.folder / f"{name.split()[0]}-{share}", bench.folder / f"calls-{name.split()[0]}-{share}"
    os.environ["SLEEPING_CALLS"] = str(log)
    load = os.getloadavg()[0]
    driver = bench.start(name, out)
    wait_for(lambda: len(calls(log)) >= bench.total * share / 100 or driver.poll() is not None, _START_S)
    assert driver.poll() is None, f"{name}: ended before it was killed: {(out / 'log').read_text()[-2000:]}"
    kill_all(driver)
    assert len(calls(log)) >= bench.total * share / 100, f"{name}: too few calls in {_START_S:.0f} s"
    time.sleep(1)  # what was killed is gone from the table of processes, too
    before, held = {call[0] for call in calls(log)}, bench.held(name, out)
    again = time.time()
    driver = bench.start(name, out)
    try:
        code = driver.wait(timeout=_END_S)
    finally:
        if driver.poll() is None:
            kill_all(driver)
    assert code == 0, (out / "log").read_text()[-2000:]
    after = [call for call in calls(log) if call[1] > again]
    return {
        **account(bench, before, held, after, again),
        **left(bench, name, out),
        "first_file_s": round(committed_after(name, out, again) - again, 2),
        "load_before": round(load, 1),
    }


def account(bench: Bench, before: set[str], held: set[str], after: list[Any], again: float) -> dict[str, Any]:
    """What was done again, and when the first new row was there.

    Args:
        before: Utterances spoken before the kill, of which those `held` were committed.
        after: Calls after the command was given again, at the time `again`.
    """
    seeds = {call[0] for call in after}
    new = [call[2] for call in after if call[0] not in held]
    return {
        "killed_at": round(len(before) / bench.total, 3),
        "in_flight_cells": bench.cells_of(before - held),
        "redone_rows": len(before & seeds), "redone_cells": bench.cells_of(before & seeds),
        "redone_share": round(len(before & seeds) / bench.total, 4), "redone_though_committed": len(held & seeds),
        "first_row_s": round(min(new, default=float("nan")) - again, 2),
        "rest_s": round(max((call[2] for call in after), default=float("nan")) - again, 2),
    }  # fmt: skip


def left(bench: Bench, name: str, out: Path) -> dict[str, int]:
    """Utterances that the finished output lacks, or has twice."""
    if name == OURS:  # a cell cannot hold a row twice, and `echat build` has verified the set
        found = sorted(bench.held(name, out))
    else:
        found = [seed for seed, _ in sounds_of_files((out / "made").rglob("*.parquet"))]
    wanted = {seed for own in bench.seeds.values() for seed in own}
    return {"missing": len(wanted - set(found)), "twice": len(found) - len(set(found))}


def claims(lines: dict[str, dict[str, dict[str, Any]]], workers: int) -> dict[str, bool]:
    """What was claimed of ours, and whether it held at every kill."""
    ours = list(lines[OURS].values())
    return {
        "redone work is at most the cells in flight, one a worker": all(
            line["redone_cells"] <= line["in_flight_cells"] <= workers and not line["redone_though_committed"]
            for line in ours
        ),
        f"the first new row is there within {FIRST_ROW_S:.0f} s": all(
            line["first_row_s"] <= FIRST_ROW_S for line in ours
        ),
        "nothing is missing": not any(line["missing"] for line in ours),
    }


def run_ray_data(run: str, cells: str, out: str, workers: str) -> None:
    """The command of Ray Data."""
    place = Path(out)
    ray_data(
        start_ray(),
        Path(run) / "run.yaml",
        Path(cells),
        place / "made",
        int(workers),
        checkpoint=str(place / "checkpoints"),
    )


def main() -> int:
    """Kill and resume both sides, write results, exit with 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialogues", type=int, default=128)
    parser.add_argument("--sleep", type=float, default=0.5, help="seconds an utterance")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--shares", type=int, nargs="+", default=[25, 50, 75], help="per cent of the work")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--ray-data", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    use_plugins()
    if args.ray_data:
        run_ray_data(*args.ray_data)
        return 0
    lines: dict[str, dict[str, dict[str, Any]]] = {OURS: {}, RAY_DATA: {}}
    with tempfile.TemporaryDirectory() as spare:
        folder = Path(spare)
        file = manifest(folder / "made", args.dialogues, PART_ROWS, pools(main=args.workers), args.sleep, ears=0.0)
        seeds = write_cells(prepare(file, folder / "plan"), folder / "cells")
        bench = Bench(folder, file, folder / "plan", folder / "cells", seeds, args.workers)
        print(
            f"{bench.total} utterances in {len(seeds)} cells, {args.sleep} s each, {args.workers} workers", flush=True
        )
        for share in args.shares:
            for name, found in lines.items():
                found[f"{share}%"] = killed(bench, name, share)
                print(f"{share}% {name:32s} {json.dumps(found[f'{share}%'])}", flush=True)
    verdicts = claims(lines, args.workers)
    for claim, met in verdicts.items():
        print(f"{'met' if met else 'NOT met'}: {claim}")
    result = {
        "claims": verdicts, "sides": lines, "rows": bench.total, "cells": len(seeds), "sleep_s": args.sleep,
        "workers": args.workers, "cores": os.cpu_count(), "python": platform.python_version(),
        "load_after": round(os.getloadavg()[0], 1), "versions": {name: version(name) for name in ("ray", "pyarrow")},
    }  # fmt: skip
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"-> {args.out}")
    return 0 if all(verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
