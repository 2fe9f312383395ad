"""Is `echat plan --simulate` right? Real Ray runs on this machine against the replay, calibrated on one other run.

Claim: the time of the grid is predicted within 15 %. One run of two workers in one pool gives the times; predicted are
runs of other sizes, pools and parts. Engines sleep (benchmarks/sleeping.py), so that two cores hold many workers.

    python benchmarks/simulate.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from manifests.run import load_run
from pipeline.build import build
from pipeline.cluster import load_cluster, predict
from pipeline.dag import build_dag
from pipeline.estimate import estimate
from pipeline.profile import GRID, Profile

RESULTS = Path(__file__).parent / "results" / "simulate.json"
WITHIN = 0.15
VOICE, EARS = ["speak_query", "speak_reply"], ["transcribe", "annotate", "rate", "tokenize"]


def pools(main: int = 0, voice: int = 0, ears: int = 0) -> list[dict[str, Any]]:
    """Pools that fit two cores however many workers they have."""
    if main:
        return [{"name": "main", "count": main, "cpus": 0.1}]
    return [
        {"name": "voice", "stages": VOICE, "count": voice, "cpus": 0.1},
        {"name": "ears", "stages": EARS, "count": ears, "cpus": 0.1},
        {"name": "light", "count": 1, "cpus": 0.1},
    ]


CASES = {
    "calibration: 2 workers, parts of 8": (96, 8, pools(main=2)),
    "2 voices, 1 pair of ears, parts of 8": (96, 8, pools(voice=2, ears=1)),
    "3 workers, parts of 16, twice as many": (192, 16, pools(main=3)),
    "1 voice, 2 pairs of ears, parts of 4": (64, 4, pools(voice=1, ears=2)),
}


def manifest(
    folder: Path, dialogues: int, part_rows: int, workers: list[dict[str, Any]], sleep: float, ears: float = 0.75
) -> Path:
    """A run of sleeping engines; the recognizer sleeps `ears` times as long as a speaker."""
    tone = {"engine": "tone"}
    document = {
        "name": "simulate", "plugins": ["sleeping"],
        "plan": {"quotas": {"gender": dialogues}, "part_rows": part_rows},
        "speak_query": {"engine": "sleeping", "sleep": sleep}, "speak_reply": {"engine": "sleeping", "sleep": sleep},
        "transcribe": {"engine": "sleeping", "sleep": ears * sleep}, "annotate": {"gender": tone},
        "rate": {"engine": "level"}, "tokenize": tone, "workers": workers,
    }  # fmt: skip
    folder.mkdir(parents=True)
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return file


def run(file: Path) -> tuple[Path, Profile]:
    """Build for real, and where the time went."""
    out, loaded = file.parent / "run", load_run(file)
    profile = Profile(sum(pool.count for pool in loaded.workers))
    build(loaded, file, out, quiet=True, profile=profile)
    profile.write(out)
    return out, profile


def main() -> int:
    """Run all cases, exit with 1 if one was predicted worse than claimed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sleep", type=float, default=0.4, help="seconds an utterance")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    here = str(Path(__file__).parent)
    sys.path.insert(0, here)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        like: Path | None = None
        for number, (name, (dialogues, rows, workers)) in enumerate(CASES.items()):
            load = os.getloadavg()[0]
            file = manifest(Path(folder) / str(number), dialogues, rows, workers, args.sleep)
            dag = build_dag(load_run(file), file)
            guess = None
            if like is not None:
                guess = predict(dag, estimate(dag), load_cluster(None, dag.manifest), like)[1]
            out, profile = run(file)
            like = like or out
            # Of the calibrating run itself: the replay of what was just seen.
            guess = guess or predict(dag, estimate(dag), load_cluster(None, dag.manifest), like)[1]
            real = profile.steps[GRID]
            idle = profile.kinds["outside"] / sum(profile.kinds.values())
            lines.append({
                "case": name, "real_s": round(real, 1), "predicted_s": guess["grid_s"],
                "ratio": round(guess["grid_s"] / real, 3), "real_idle": round(idle, 3),
                "predicted_idle": guess["idle_share"], "load_before": round(load, 1),
            })  # fmt: skip
            print(json.dumps(lines[-1]), flush=True)
    missed = [line["case"] for line in lines[1:] if abs(line["ratio"] - 1) > WITHIN]
    document = {"claim": f"grid time within {WITHIN:.0%}", "met": not missed, "cases": lines, "sleep_s": args.sleep}
    document |= {"cores": os.cpu_count(), "python": platform.python_version()}
    document["versions"] = {name: version(name) for name in ("ray", "pyarrow")}
    args.out.write_text(json.dumps(document, indent=2) + "\n")
    print(f"{'NOT MET: ' + ', '.join(missed) if missed else 'met'} -> {args.out}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
