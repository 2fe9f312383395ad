"""Soak: builds with random faults, one after the other in one process, and whether memory and open files stay flat.

Claim: after the first rounds, this process grows by at most 5 % in memory, and by no open file. Each round builds a run
of the tone engines (in this process, where a leak would stay) with rows that fail, replays these, damages a
committed file, lets the build mend it as the message says, and compares the shards with those of the first round.

    PYTHONPATH=tests/support:tests:. python benchmarks/soak.py [--minutes 30] [--seed 1] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from campaign import manifest
from conftest import ROOT, tree

from manifests.errors import UserError
from manifests.run import load_run
from pipeline.build import build
from pipeline.replay import replay

WARM_ROUNDS, LEAST_ROUNDS = 3, 9
HARMED = ("stages/speak_query/*.parquet", "stages/*/*.json", "select/current/*", "shards/current/*")


def main() -> int:
    """Go on until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="Write the results there, as JSON.")
    args = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    draw, samples, faults = random.Random(args.seed), [], 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="echat-soak-") as place:
        os.environ["ECHAT_CHAOS"] = place
        file, good = manifest(Path(place), "run.yaml", quotas={"emotion": 4, "neutral": 2}, kind="inline"), {}
        while time.monotonic() - began < 60 * args.minutes:
            faults += one_round(file, Path(place), draw)
            found = tree(Path(place) / "out" / "shards" / "current")
            good = good or found
            assert found == good, "the shards of a round differ from those of the first"
            shutil.rmtree(Path(place) / "out")
            samples.append(sample(began))
            print("{minute:6.1f} min: {rss_mb:7.1f} MB, {files} files, {threads} threads".format(**samples[-1]))
            sys.stdout.flush()
    return finish(samples, faults, args)


def one_round(file: Path, place: Path, draw: random.Random) -> int:
    """A build with rows that fail, a replay without, and a damaged file that is mended; how many faults that were."""
    out, fault = place / "out", place / "fault"
    kind = draw.choice(["raise", "nan", "rate", "empty", "loud"])
    fault.write_text(json.dumps({"kind": kind, "one_in": draw.choice([2, 3, 5])}))
    build(load_run(file), file, out, quiet=True)
    fault.unlink()
    replay(out, quiet=True)
    path = draw.choice(sorted(path for path in out.glob(draw.choice(HARMED)) if path.is_file()))
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)
    for _ in range(3):
        try:
            if not build(load_run(file), file, out, quiet=True).findings:
                return 2
        except UserError as error:
            if str(path) not in str(error):
                raise
        path.unlink(missing_ok=True)  # as the message says
    raise AssertionError(f"{path} was not mended")


def sample(began: float) -> dict[str, Any]:
    """What this process holds now."""
    process = psutil.Process()
    return {
        "minute": round((time.monotonic() - began) / 60, 2),
        "rss_mb": round(process.memory_info().rss / 1e6, 1),
        "files": process.num_fds(),
        "threads": process.num_threads(),
    }


def finish(samples: list[dict[str, Any]], faults: int, args: argparse.Namespace) -> int:
    """Say whether it stayed flat."""
    warm = samples[min(WARM_ROUNDS, len(samples) - 1) :]
    third = max(1, len(warm) // 3)
    first, last = (
        {key: sum(item[key] for item in part) / len(part) for key in ("rss_mb", "files")}
        for part in (warm[:third], warm[-third:])
    )
    growth = last["rss_mb"] / first["rss_mb"] - 1
    if len(samples) < LEAST_ROUNDS:
        print(f"{len(samples)} rounds are too few to say; give more --minutes, for at least {LEAST_ROUNDS}")
        return 1
    flat = growth <= 0.05 and last["files"] <= first["files"] + 1
    document = {
        "seed": args.seed, "minutes": samples[-1]["minute"], "rounds": len(samples), "faults": faults,
        "rss_mb_first_third": round(first["rss_mb"], 1), "rss_mb_last_third": round(last["rss_mb"], 1),
        "growth": round(growth, 4), "open_files": [round(first["files"], 1), round(last["files"], 1)], "flat": flat,
        "load_1_5_15": [round(load, 2) for load in os.getloadavg()], "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("ray", "apache-beam", "pyarrow", "webdataset")},
        "samples": samples,
    }  # fmt: skip
    print(json.dumps({key: value for key, value in document.items() if key != "samples"}, indent=1))
    if args.out:
        args.out.write_text(json.dumps(document, indent=1) + "\n")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
