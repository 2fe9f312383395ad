"""Training memory: a thousand steps of a nano model, with checkpoints, hold their memory and their disk.

Claims: the greatest resident memory of the last half of the run is at most 1.05 times that of the second quarter, and
the checkpoints are at most `keep` and one for the end of the stage.

    python benchmarks/training_memory.py SHARDS [--steps 1000]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from model.recipe import TrainManifest
from model.trainer import train_here

RESULTS = Path(__file__).parent / "results" / "training_memory.json"
KEEP, CLAIM = 2, 1.05


def resident_mb() -> float:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Train, sample the memory, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()
    recipe = TrainManifest.model_validate({
        "name": "memory", "data": {"shards": str(options.shards)}, "batch": {"tokens": 700},
        "stages": [{"name": "all", "steps": options.steps, "tasks": {"understand": 1, "think_tag": 1, "s2s": 1}}],
        "checkpoint": {"every": 50, "keep": KEEP}, "threads": 1,
    })  # fmt: skip
    samples: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        train_here(
            recipe, Path(folder), torch.device("cpu"), lambda m: samples.append((m["step"], round(resident_mb(), 1)))
        )
        kept = sorted(path.name for path in Path(folder).glob("step-*"))
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 1e6

    def greatest(low: float, high: float) -> float:
        return max(mb for step, mb in samples if low * options.steps < step <= high * options.steps)

    ratio = greatest(0.5, 1.0) / greatest(0.25, 0.5)
    met = ratio <= CLAIM and len(kept) <= KEEP + 1
    print(f"{greatest(0.25, 0.5):.0f} MB, later {greatest(0.5, 1.0):.0f} MB: ratio {ratio:.3f} (claim {CLAIM})")
    print(f"{len(kept)} checkpoints, {size:.0f} MB; claims {'met' if met else 'NOT MET'}")
    document: dict[str, Any] = {
        "steps": options.steps, "ratio": round(ratio, 4), "claim": CLAIM, "met": met, "checkpoints": kept,
        "disk_mb": round(size, 1), "resident_mb": samples[::10],
    }  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
