"""Understanding: does a nano model, trained from nothing on real speech, hear gender and emotion in new speakers?

    python benchmarks/understanding.py --emodb PATH [--folds 5] [--steps 3000] [--seed 1] [--threads 1] [--jobs 2]

PATH holds EMO-DB (Burkhardt et al. 2005) with `labels.csv`; boredom, which is none of our labels, is left out. Of five
folds each holds out two speakers, a woman and a man; the model never hears them. It is asked in text and answers in
text; its answer is the likeliest label. Claims: gender at least 0.87, emotion UAR at least 0.65 over six classes, means
over the folds, each trained within 10 minutes on two cores: 1,200 CPU seconds at most, as others may load the machine.
Writes `benchmarks/results/understanding.json` with curves.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "understanding.json"
FOLDS = (("03", "08"), ("10", "09"), ("11", "13"), ("12", "14"), ("15", "16"))
"""A man and a woman each."""
CLAIMS = {"gender": 0.87, "emotion": 0.65}
CPU_SECONDS = 1200
"""Of a fold at most: 10 minutes on two cores."""
FAMILIES = tuple(CLAIMS)


def manifest(emodb: Path, held_out: Sequence[str], steps: int, seed: int, threads: int) -> dict[str, Any]:
    """The training of one fold."""
    return {
        "name": "understanding", "seed": seed, "threads": threads, "validate_every": 300,
        "data": {"corpus": str(emodb), "hold_out": list(held_out), "require": ["emotion", "gender"], "texts": False,
                 "balance": "emotion"},
        "model": {"preset": "nano"}, "optimizer": {"clip": 1.0, "weight_decay": 0.1},
        "stages": [{"name": "understanding", "steps": steps, "tasks": {"understand": 1},
                    "wanted": ["emotion", "gender"], "lr": 5e-4, "warmup": 150, "augment": "light"}],
        "batch": {"tokens": 1500, "window": 128}, "checkpoint": {"every": 100_000},
    }  # fmt: skip


def train_fold(emodb: Path, held_out: Sequence[str], steps: int, seed: int, threads: int) -> dict[str, Any]:
    """Train, then ask about every clip of the held-out speakers."""
    import numpy as np
    import torch

    from model.evaluate.items import evaluate_items
    from model.metrics import METRICS
    from model.recipe import TrainManifest
    from model.trainer import train_here

    started, busy = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        recipe = TrainManifest.model_validate(manifest(emodb, held_out, steps, seed, threads))
        trainer = train_here(recipe, Path(folder), torch.device("cpu"))
        lines = [json.loads(line) for line in (Path(folder) / METRICS).read_text().splitlines()]
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    assert trainer.validation_data is not None, "a fold holds speakers out"
    result: dict[str, Any] = {
        "held_out": list(held_out), "seconds": round(seconds), "cpu_seconds": round(busy),
        "clips": len(trainer.validation_data), "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "curve": [[line["step"], round(line["loss"], 3), round(line["validation_loss"], 3)]
                  for line in lines if "validation_loss" in line],
    }  # fmt: skip
    records = list(evaluate_items(trainer.model, trainer.assembler.text, trainer.validation_data, FAMILIES))
    for family in FAMILIES:
        said, truth = (np.array([record[key][family] for record in records]) for key in ("said", "labels"))
        recall = {name: round(float(np.mean(said[truth == name] == name)), 3) for name in sorted(set(truth))}
        result[family] = {
            "accuracy": round(float(np.mean(said == truth)), 4),
            "uar": round(float(np.mean(list(recall.values()))), 4),
            "recall": recall,
        }
    return result


def main() -> int:
    """Train all folds, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emodb", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=len(FOLDS))
    parser.add_argument("--fold", type=int, help="train this one alone and print its result")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="folds at once")
    options = parser.parse_args()
    if not (options.emodb / "labels.csv").is_file():
        print(f"{options.emodb} holds no labels.csv: EMO-DB is not here, nothing is measured", file=sys.stderr)
        return 2
    if options.fold is not None:
        print(json.dumps(train_fold(options.emodb, FOLDS[options.fold], options.steps, options.seed, options.threads)))
        return 0
    load = os.getloadavg()[0]
    waiting, running, results = list(range(options.folds)), {}, {}
    while waiting or running:
        while waiting and len(running) < options.jobs:
            fold = waiting.pop(0)
            command = [sys.executable, __file__, "--emodb", options.emodb, "--fold", fold, "--steps", options.steps,
                       "--seed", options.seed, "--threads", options.threads]  # fmt: skip
            running[fold] = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
        fold = next(iter(running))
        output, _ = running.pop(fold).communicate()
        results[fold] = json.loads(output.strip().splitlines()[-1])
        shown = ", ".join(f"{family} UAR {results[fold][family]['uar']:.3f}" for family in FAMILIES)
        print(
            f"held out {' and '.join(results[fold]['held_out'])}: {shown}, {results[fold]['seconds']} s,"
            f" {results[fold]['cpu_seconds']} CPU s",
            flush=True,
        )
    folds = [results[fold] for fold in sorted(results)]
    mean = {
        "gender": sum(fold["gender"]["accuracy"] for fold in folds) / len(folds),
        "emotion": sum(fold["emotion"]["uar"] for fold in folds) / len(folds),
    }
    met = {family: mean[family] >= least for family, least in CLAIMS.items()}
    met["time"] = max(fold["cpu_seconds"] for fold in folds) <= CPU_SECONDS
    print(f"mean: gender accuracy {mean['gender']:.3f} (claim {CLAIMS['gender']}), emotion UAR {mean['emotion']:.3f}"
          f" (claim {CLAIMS['emotion']})")  # fmt: skip
    document = {"claims": CLAIMS, "met": met, "mean": {name: round(value, 4) for name, value in mean.items()},
                "steps": options.steps, "seed": options.seed, "threads": options.threads, "jobs": options.jobs,
                "load_before": load, "folds": folds}  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
