"""Train on synthetic voices, test on people: what does a model hear in real speech that only heard embedded voices?

    python benchmarks/synthetic_to_real.py --emodb PATH [--out runs/heard] [--each 70] [--steps 1500] [--seeds 3]

Builds `--each` dialogues of each of six emotions (Kokoro's voices; the replies, which nothing is learned from here, are
tones), trains a nano model from nothing on their queries alone, and asks it about all of EMO-DB (Burkhardt et al. 2005;
German, ten speakers, recordings of one length), which has no voice, language or microphone in common with them. The
augmentation was chosen among three on EMO-DB itself, so it is somewhat optimistic. Beside the model
stand the commonest label, shuffled labels, silence and the transcript. Claims: gender right at least 0.85 of the time;
the interval of the emotion's UAR over six classes lies above chance (1/6) and its gain over the transcript above none.
Each stage is kept in OUT and gone on with; writes `benchmarks/results/synthetic_to_real.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

RESULTS = Path(__file__).parent / "results" / "synthetic_to_real.json"
EMOTIONS = ("angry", "disgust", "fear", "happy", "sad")
GENDER, CHANCE = 0.85, 1 / 6
FAMILIES = ("emotion", "gender")


def run_manifest(each: int) -> dict[str, Any]:
    """Queries of six emotions at equal numbers, checked for words and gender."""
    return {
        "name": "heard", "seed": 3, "language": "en",
        "plan": {"quotas": {"emotion": dict.fromkeys(EMOTIONS, each), "neutral": each}, "contrastive": 0.0,
                 "splits": {"train": 0.9, "validation": 0.1, "test": 0.0}, "part_rows": 8},
        "speak_query": {"engine": "kokoro"}, "speak_reply": {"engine": "tone"},
        "transcribe": {"engine": "pocketsphinx"}, "annotate": {"gender": {"engine": "voice"}},
        "rate": {"engine": "silero"}, "tokenize": {"engine": "kmeans"},
        # Tones are no speech, and have no signal beside noise.
        "select": {"agree": ["gender"], "speech_ratio_min": 0, "snr_db_min": float("-inf"),
                   "reply_wer_max": float("inf"), "reply_mismatch_max": 1},
        "executor": {"kind": "ray", "deadline_s": 1800}, "workers": [{"name": "main", "count": 2, "cpus": 1}],
    }  # fmt: skip


def training(shards: Path, steps: int, seed: int, threads: int, augment: str) -> dict[str, Any]:
    """Understanding alone, of the labels that are asked for."""
    return {
        "name": "synthetic_to_real", "seed": seed, "threads": threads, "validate_every": 250,
        "data": {"shards": str(shards), "balance": "emotion"},
        "model": {"preset": "nano"}, "optimizer": {"clip": 1.0, "weight_decay": 0.1},
        "stages": [{"name": "understanding", "steps": steps, "tasks": {"understand": 1}, "wanted": list(FAMILIES),
                    "lr": 5e-4, "warmup": 150, "augment": augment}],
        "batch": {"tokens": 1500, "window": 128}, "checkpoint": {"every": 500},
    }  # fmt: skip


def echat(*arguments: Any) -> None:
    """Run one command of this package; its own sentence says what is wrong."""
    done = subprocess.run([sys.executable, "-m", "pipeline.cli", *map(str, arguments)], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def written(file: Path, document: dict[str, Any]) -> Path:
    """A manifest as a file."""
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return file


def one_seed(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train and evaluate; the numbers of all items of EMO-DB."""
    out = options.out / f"{options.augment}-{options.steps}-{seed}"
    out.mkdir(parents=True, exist_ok=True)
    shards = (options.out / "run" / "shards" / "current").resolve()
    recipe = written(out / "train.yaml", training(shards, options.steps, seed, options.threads, options.augment))
    echat("train", recipe, "--out", out / "training", "--quiet")
    echat("evaluate", out / "training" / "current", "--corpus", options.emodb, "--families", ",".join(FAMILIES),
          "--out", out / "evaluation", "--quiet")  # fmt: skip
    summary = json.loads((out / "evaluation" / "summary.json").read_text(encoding="utf-8"))
    everything = summary["groups"][0]
    kept = {name: everything["metrics"][name] for name in ("gender.correct", "emotion.uar")}
    return {"seed": seed, "metrics": kept, "confusion": everything["confusion"]}


def shown(name: str, measured: dict[str, Any]) -> str:
    """A metric beside its baselines."""
    beside = ", ".join(f"{baseline} {value:.3f}" for baseline, value in measured["baselines"].items())
    gain, low, high = measured["gain"]["transcript"]
    return (f"{name} {measured['value']:.3f} [{measured['low']:.3f}, {measured['high']:.3f}] ({beside}; gain over the"
            f" transcript {gain:+.3f} [{low:+.3f}, {high:+.3f}])")  # fmt: skip


def main() -> int:
    """Build, train, evaluate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emodb", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/heard"))
    parser.add_argument("--each", type=int, default=70)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="trainings at once")
    parser.add_argument("--augment", default="transfer")
    options = parser.parse_args()
    if not (options.emodb / "labels.csv").is_file():
        print(f"{options.emodb} holds no labels.csv: EMO-DB is not here, nothing is measured", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    started, load = time.time(), os.getloadavg()[0]
    echat("build", written(options.out / "heard.yaml", run_manifest(options.each)), "--out", options.out / "run")
    with ThreadPoolExecutor(options.jobs) as pool:
        seeds = list(pool.map(lambda seed: one_seed(options, seed), range(1, options.seeds + 1)))
    genders, emotions = ([one["metrics"][name] for one in seeds] for name in ("gender.correct", "emotion.uar"))
    for one in seeds:
        print(f"seed {one['seed']}: " + "; ".join(shown(name, value) for name, value in one["metrics"].items()))
    mean = {name: sum(value["value"] for value in values) / len(values)
            for name, values in (("gender", genders), ("emotion", emotions))}  # fmt: skip
    met = {
        "gender": mean["gender"] >= GENDER,
        "emotion above chance": min(value["low"] for value in emotions) > CHANCE,
        "emotion above the transcript": min(value["gain"]["transcript"][1] for value in emotions) > 0,
    }
    print(
        f"mean of {len(seeds)} seeds: gender {mean['gender']:.3f} (claim {GENDER}), emotion UAR {mean['emotion']:.3f}"
    )
    for claim, held in met.items():
        print(f"{'met' if held else 'NOT met'}: {claim}")
    statistics = json.loads((options.out / "run" / "select" / "current" / "statistics.json").read_text("utf-8"))
    document = {
        "claims": {"gender": GENDER, "emotion": "each seed's interval above 1/6 and above the transcript's"},
        "met": met, "mean": {name: round(value, 4) for name, value in mean.items()}, "steps": options.steps,
        "augment": options.augment, "dialogues": statistics["task"], "minutes": round((time.time() - started) / 60, 1),
        "load_before": load, "cpus": os.cpu_count(), "seeds": seeds,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
