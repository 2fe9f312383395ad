"""Scale by simulation: thousands of short dialogues of tones through every stage, and a million rows through two.

Claims: the cost of a dialogue is flat (100,000 against 2,000: at most 1.15), the driver stays under 1 GB, 100,000
dialogues take less than 45 minutes on two cores; plan and select alone take a million rows in less than 15 minutes and
10 GB.

    python benchmarks/scale.py build 2000 20000          each count is a run of its own, in a new folder
    python benchmarks/scale.py build 100000              about 40 minutes of a quiet machine
    python benchmarks/scale.py rows 100000 1000000       plan and select alone; the cells between are written by rule

Each count adds its line to results/scale.json, beside the load of the machine: a ratio is only as good as the quiet.
The engines are `tone`: they spell every text in tones and read it back, so that nothing but the pipeline costs. Texts
are short, from a bank that is made here: 20 characters instead of the shipped 90, because the cost of tones is their
length and no real engine's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import psutil
import yaml

from manifests.labels import CUES, REPLY_EMOTIONS, SPLITS

RESULTS = Path(__file__).parent / "results" / "scale.json"
TASKS = {"emotion": 0.25, "age": 0.15, "gender": 0.15, "event": 0.15, "multi": 0.2, "neutral": 0.1}
RATIO, DRIVER_MB, MINUTES = 1.15, 1000, 45
ROW_MINUTES, ROW_GB = 15, 10
PARALLEL = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
"""Beam's own way to use two cores in one machine."""
_NAMES = [
    "Ann",
    "Ben",
    "Cleo",
    "Dan",
    "Eve",
    "Finn",
    "Gwen",
    "Hugo",
    "Iris",
    "Jack",
    "Kate",
    "Leo",
    "Mia",
    "Ned",
    "Olga",
    "Paul",
    "Rosa",
    "Sam",
    "Tess",
    "Uma",
]
_THINGS = [
    "tea",
    "bread",
    "fish",
    "rain",
    "snow",
    "books",
    "maps",
    "shoes",
    "keys",
    "coins",
    "stamps",
    "roses",
    "bells",
    "boats",
    "trains",
    "cards",
]
_DEEDS = [
    "sells",
    "keeps",
    "lost",
    "found",
    "wants",
    "hates",
    "likes",
    "paints",
    "counts",
    "brings",
    "hides",
    "cleans",
    "moved",
    "sent",
    "hid",
    "broke",
]
_PLACES = ["home", "work", "school", "town", "church", "camp", "court", "sea"]


def bank(folder: Path) -> tuple[Path, Path]:
    """A bank of short texts: 48 scenarios of 5,120 queries each, and an opener of one word for every cue."""
    scenarios = [
        {
            "id": f"scale-{number}",
            "topic": "scale",
            "split": split,
            "query": f"{{who}} {{deed}} {{what}} at {place}.",
            "slots": {"who": _NAMES, "deed": _DEEDS, "what": _THINGS},
            "replies": {"neutral": f"Ask {{who}} at {place} {kind}."},
        }
        for number, (split, place, kind) in enumerate(
            (split, place, kind) for split in SPLITS for kind, place in product(("now", "soon"), _PLACES)
        )
    ]
    openers = {
        family: {
            value: {"reply_emotion": REPLY_EMOTIONS[0], "keywords": [value], "openers": [f"{value.capitalize()}."]}
            for value in values
        }
        for family, values in CUES.items()
    }
    paths = folder / "scenarios.yaml", folder / "openers.yaml"
    for path, content in zip(paths, (scenarios, openers), strict=True):
        path.write_text(yaml.safe_dump(content, sort_keys=False))
    return paths


def manifest(folder: Path, number: int, beam: list[str]) -> Path:
    """A run of about so many dialogues of one turn on two workers."""
    scenarios, openers = bank(folder)
    tone = {"engine": "tone"}
    document = {
        "name": "scale",
        "seed": 1,
        "plan": {
            "quotas": {task: round(number * share) for task, share in TASKS.items()},
            "multi": ["gender", "emotion"],
            "part_rows": 128,
            "scenarios": str(scenarios),
            "openers": str(openers),
        },
        "speak_query": tone,
        "speak_reply": tone,
        "transcribe": tone,
        "annotate": dict.fromkeys(CUES, tone),
        "rate": {"engine": "level"},
        "tokenize": tone,
        # A tone is a letter long and a think text a hundred letters, which no reply of 20 can outlast.
        "select": {"agree": list(CUES), "text": {"speech_per_label_min": None}},
        "executor": {"kind": "ray", "beam": beam},
        "workers": [{"name": "main", "count": 2, "cpus": 1}],
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


class Peaks:
    """The most memory that this process and its children held, in MB, seen ten times a second."""

    def __init__(self) -> None:
        self.driver = self.worker = self.all = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.2):
            workers = []
            for child in me.children(recursive=True):
                try:
                    name = " ".join(child.cmdline()[:3])
                    if "ray::" in name or "sdk_worker" in name:
                        workers.append(child.memory_info().rss / 2**20)
                except psutil.Error:
                    continue
            own = me.memory_info().rss / 2**20
            self.driver = max(self.driver, own)
            self.worker = max(self.worker, *workers, 0.0)
            self.all = max(self.all, own + sum(workers))


class Stages:
    """Wall and CPU seconds of the driver by step."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.wall[name] = self.wall.get(name, 0.0) + time.perf_counter() - started
        print(f"  {name:12s} {self.wall[name]:9.1f} s", flush=True)


def sizes(run: Path) -> dict[str, Any]:
    """Megabytes of the plan, of the records of all cells, of their data and of the shards; and how many cells."""

    def total(paths: Iterator[Path]) -> float:
        return round(sum(path.stat().st_size for path in paths if path.is_file()) / 1e6, 1)

    return {
        "plan_mb": total((run / "stages" / "plan").glob("*.parquet")),
        "ledger_mb": total((run / "stages").glob("*/*.json")),
        "cells_mb": total((run / "stages").glob("*/*.parquet")),
        "shards_mb": total((run / "shards" / "current").glob("*.tar")),
        "cells": sum(1 for _ in (run / "stages").glob("*/*.json")),
    }


def build(folder: Path, number: int, beam: list[str]) -> dict[str, Any]:
    """A whole run as `echat build` makes and verifies it, and what it took."""
    from manifests.run import load_run
    from pipeline.build import build as build_run
    from pipeline.profile import Profile

    file = manifest(folder, number, beam)
    run, profile = folder / "run", Profile(2)
    started = time.perf_counter()
    with Peaks() as peaks:
        result = build_run(load_run(file), file, run, quiet=True, profile=profile)
    wall = time.perf_counter() - started
    assert not result.findings, result.findings[:3]
    return {
        "dialogues": result.planned,
        "kept": result.statistics["verdict"].get("kept", 0),
        "wall_s": round(wall, 1),
        "ms_per_dialogue": round(1000 * wall / result.planned, 2),
        "wall_s_by_step": {name: round(seconds, 1) for name, seconds in profile.steps.items()},
        "worker_s_by_stage": {name: round(stage["wall_s"], 1) for name, stage in profile.stages.items()},
        "worker_s_by_kind": {name: round(seconds, 1) for name, seconds in profile.kinds.items()},
        "bound": profile.bound(),
        "driver_mb": round(peaks.driver),
        "worker_mb": round(peaks.worker),
        **sizes(run),
    }


def rows(folder: Path, number: int, beam: list[str]) -> dict[str, Any]:
    """Plan and select of so many rows; what lies between is written as the engines of tones would."""
    from fake_cells import fill

    from manifests.run import load_run
    from pipeline.dag import build_dag
    from pipeline.grid import Grid
    from pipeline.select import load_statistics, run_select
    from pipeline.stages.plan import run_plan
    from pipeline.thresholds import thresholds_of

    file = manifest(folder, number, beam)
    loaded, run, stages = load_run(file), folder / "run", Stages()
    dag = build_dag(loaded, file)
    with Peaks() as peaks:
        from manifests.ledger import Ledger

        ledger = Ledger(run)
        with stages("plan"):
            plan = run_plan(dag.plan, ledger, loaded.executor.beam)
        planned = peaks.all
    with stages("(fill)"):
        grid = Grid(dag, ledger, plan)
        fill(grid, file)
    with Peaks() as peaks, stages("select"):
        records = grid.all_cells
        select = run_select(ledger, loaded, thresholds_of(dag, ledger, records.values()), records)
    counts = load_statistics(select)["verdict"]
    timed = {name: round(stages.wall[name], 1) for name in ("plan", "select")}
    return {
        "dialogues": sum(counts.values()),
        "kept": counts.get("kept", 0),
        "wall_s": round(sum(timed.values()), 1),
        "ms_per_dialogue": round(1000 * sum(timed.values()) / sum(counts.values()), 3),
        "wall_s_by_step": timed,
        "plan_gb": round(planned / 1024, 2),
        "select_gb": round(peaks.all / 1024, 2),
        "plan_mb": sizes(run)["plan_mb"],
    }


def judge(document: dict[str, Any]) -> list[str]:
    """Claims that the results do not meet; a claim about a count that was not run is not judged."""
    found = []
    runs = {line["dialogues"]: line for line in document.get("build", [])}
    small = next((line for count, line in runs.items() if 1900 < count < 2100), None)
    large = next((line for count, line in runs.items() if count > 99_000), None)
    if small and large and (ratio := large["ms_per_dialogue"] / small["ms_per_dialogue"]) > RATIO:
        found.append(f"a dialogue costs {ratio:.2f} times as much at {large['dialogues']:,} as at 2,000")
    if large and large["wall_s"] > 60 * MINUTES:
        found.append(f"{large['dialogues']:,} dialogues took {large['wall_s'] / 60:.0f} minutes")
    found += [f"the driver held {line['driver_mb']} MB" for line in runs.values() if line["driver_mb"] > DRIVER_MB]
    for line in document.get("rows", []):
        if line["dialogues"] > 990_000 and line["wall_s"] > 60 * ROW_MINUTES:
            found.append(f"plan and select of a million rows took {line['wall_s'] / 60:.0f} minutes")
        if max(line["plan_gb"], line["select_gb"]) > ROW_GB:
            found.append(f"plan or select of {line['dialogues']:,} rows held over {ROW_GB} GB")
    return found


def main() -> int:
    """Run, add to the results, exit with 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("build", "rows"))
    parser.add_argument("counts", nargs="+", type=int)
    parser.add_argument("--folder", type=Path, help="where runs are made; a temporary folder otherwise")
    parser.add_argument("--keep", action="store_true", help="keep the runs")
    parser.add_argument("--one-process", action="store_true", help="Beam in this process, on one core")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON to add to")
    args = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    beam = [] if args.one_process else PARALLEL
    document = json.loads(args.out.read_text()) if args.out.exists() else {}
    for number in args.counts:
        folder = Path(tempfile.mkdtemp(prefix=f"scale-{number}-", dir=args.folder))
        load = os.getloadavg()
        print(f"{args.what} {number:,}, load {load[0]:.1f}, beam {' '.join(beam) or 'in one process'}", flush=True)
        line = (build if args.what == "build" else rows)(folder, number, beam)
        line |= {
            "load_before": round(load[0], 1), "load_after": round(os.getloadavg()[0], 1), "cores": os.cpu_count(),
            "beam": beam, "python": platform.python_version(),
            "versions": {name: version(name) for name in ("ray", "apache-beam", "pyarrow")},
        }  # fmt: skip
        print(json.dumps(line, indent=2))
        others = [old for old in document.get(args.what, []) if round(old["dialogues"], -3) != round(number, -3)]
        document[args.what] = sorted([*others, line], key=lambda item: item["dialogues"])
        args.out.write_text(json.dumps(document, indent=2) + "\n")
        if not args.keep:
            shutil.rmtree(folder)
    missed = judge(document)
    for claim in missed:
        print(f"NOT MET: {claim}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
