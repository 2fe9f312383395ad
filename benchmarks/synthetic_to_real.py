"""Train on synthetic voices, test on people: what does a model hear in real speech that only heard embedded voices?

    python benchmarks/synthetic_to_real.py --emodb PATH [--out runs/heard] [--each 70] [--steps 1500] [--seeds 3]

Builds `--each` dialogues of each of six emotions by Kokoro's wide voices (the replies, which nothing is learned from
here, are tones), trains a nano model from nothing on their queries alone, once for emotion (`augment: transfer`) and
once for gender (`augment: speaker`), and asks it about all of EMO-DB (Burkhardt et al. 2005; German, ten speakers,
recordings of one length), which has no voice, language or microphone in common with them. Voices and augmentation
were chosen on EMO-DB itself (docs/evaluate.md says among how many), so the figures are optimistic. Beside the model
stand the commonest label, shuffled labels, silence and the transcript. Claims: gender right at least 0.85 of the time;
the interval of the emotion's UAR over six classes lies above chance (1/6) and its gain over the transcript above none.
Each stage is kept in OUT and gone on with; writes `benchmarks/results/synthetic_to_real.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
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
AUGMENT = {"emotion": "transfer", "gender": "speaker"}
METRIC = {"emotion": "emotion.uar", "gender": "gender.correct"}
VOICES = Path(__file__).parents[1] / "manifests" / "voices" / "kokoro_wide.csv"


def run_manifest(each: int) -> dict[str, Any]:
    """Queries of six emotions at equal numbers, checked for words; gender is the packs'."""
    return {
        "name": "heard", "seed": 3, "language": "en",
        "plan": {"quotas": {"emotion": dict.fromkeys(EMOTIONS, each), "neutral": each}, "contrastive": 0.0,
                 "splits": {"train": 0.9, "validation": 0.1, "test": 0.0}, "part_rows": 8, "voices": str(VOICES)},
        "speak_query": {"engine": "kokoro"}, "speak_reply": {"engine": "tone"},
        "transcribe": {"engine": "pocketsphinx"}, "annotate": {"gender": {"engine": "voice"}},
        "rate": {"engine": "silero"}, "tokenize": {"engine": "kmeans"},
        # Tones are no speech, and have no signal beside noise.
        "select": {"agree": [], "speech_ratio_min": 0, "snr_db_min": float("-inf"),
                   "reply_wer_max": float("inf"), "reply_mismatch_max": 1},
        "executor": {"kind": "ray", "deadline_s": 1800}, "workers": [{"name": "main", "count": 2, "cpus": 1}],
    }  # fmt: skip


def training(shards: Path, steps: int, seed: int, threads: int, family: str) -> dict[str, Any]:
    """Understanding of one family of labels alone."""
    return {
        "name": "synthetic_to_real", "seed": seed, "threads": threads, "validate_every": 250,
        "data": {"shards": str(shards), "balance": "emotion"},
        "model": {"preset": "nano"}, "optimizer": {"clip": 1.0, "weight_decay": 0.1},
        "stages": [{"name": "understanding", "steps": steps, "tasks": {"understand": 1}, "wanted": [family],
                    "lr": 5e-4, "warmup": 150, "augment": AUGMENT[family]}],
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


def one(options: argparse.Namespace, seed: int, family: str) -> dict[str, Any]:
    """Train and evaluate; the numbers of all items of EMO-DB."""
    out = options.out / f"{family}-{options.steps}-{seed}"
    out.mkdir(parents=True, exist_ok=True)
    shards = (options.out / "run" / "shards" / "current").resolve()
    recipe = written(out / "train.yaml", training(shards, options.steps, seed, options.threads, family))
    echat("train", recipe, "--out", out / "training", "--quiet")
    echat("evaluate", out / "training" / "current", "--corpus", options.emodb, "--families", family,
          "--out", out / "evaluation", "--quiet")  # fmt: skip
    summary = json.loads((out / "evaluation" / "summary.json").read_text(encoding="utf-8"))
    everything = summary["groups"][0]
    measured = everything["metrics"][METRIC[family]]
    return {"seed": seed, "family": family, "measured": measured, "confusion": everything["confusion"]}


def over_seeds(values: list[float]) -> list[float]:
    """Student's 95 % interval of the mean: what other seeds would change; other speakers are not in it."""
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return [round(sum(values) / len(values) + side * half, 4) for side in (-1, 1)]


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
    options = parser.parse_args()
    if not (options.emodb / "labels.csv").is_file():
        print(f"{options.emodb} holds no labels.csv: EMO-DB is not here, nothing is measured", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    started, load = time.time(), os.getloadavg()[0]
    echat("build", written(options.out / "heard.yaml", run_manifest(options.each)), "--out", options.out / "run")
    todo = [(seed, family) for seed in range(1, options.seeds + 1) for family in AUGMENT]
    with ThreadPoolExecutor(options.jobs) as pool:
        done = list(pool.map(lambda job: one(options, *job), todo))
    of = {family: [line["measured"] for line in done if line["family"] == family] for family in AUGMENT}
    for line in done:
        print(f"seed {line['seed']}: {shown(METRIC[line['family']], line['measured'])}")
    mean = {family: sum(value["value"] for value in values) / len(values) for family, values in of.items()}
    met = {
        "gender": mean["gender"] >= GENDER,
        "emotion above chance": min(value["low"] for value in of["emotion"]) > CHANCE,
        "emotion above the transcript": min(value["gain"]["transcript"][1] for value in of["emotion"]) > 0,
    }
    between = {family: over_seeds([value["value"] for value in values]) for family, values in of.items()}
    print(f"mean: gender {mean['gender']:.3f} {between['gender']} (claim {GENDER}), emotion UAR {mean['emotion']:.3f}"
          f" {between['emotion']}")  # fmt: skip
    for claim, held in met.items():
        print(f"{'met' if held else 'NOT met'}: {claim}")
    selected = json.loads((options.out / "run" / "select" / "current" / "statistics.json").read_text("utf-8"))
    document = {
        "claims": {"gender": GENDER, "emotion": "each seed's interval above 1/6 and above the transcript's"},
        "met": met, "mean": {name: round(value, 4) for name, value in mean.items()}, "mean_interval": between,
        "steps": options.steps, "augment": AUGMENT, "dialogues": selected["task"],
        "minutes": round((time.time() - started) / 60, 1), "load_before": load, "cpus": os.cpu_count(),
        "trainings": done,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
