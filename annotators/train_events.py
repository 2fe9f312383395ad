"""Train the event detector: `python -m annotators.train_events CLIPS`.

CLIPS is a folder of our own renderings (`python -m synthesis.event_clips CLIPS`) with `labels.csv`; more folders may
follow, of clips without events too. The network learns on the voices of the split `train`; those of `validation` give
the calibration of the clip's probability and the thresholds; those of `test` are only measured. Recordings of people
take no part, but for those that are named with `--speech`: speech without events, under a licence that allows it.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from annotators import event_features
from annotators.audio import prepare
from annotators.event_augment import augment, odd_sounds, unfinished
from annotators.event_features import SAMPLE_RATE, STEP_SECONDS
from annotators.events import CLASSES, MODEL, NUM_SCORES, EventDetector, Found, find
from manifests.errors import UserError
from manifests.files import write_atomic
from manifests.ids import seed_of
from manifests.labels import EVENTS, NONE, canonical

_LOG = logging.getLogger(__name__)
_HIDDEN = 40
_VERSIONS = {"train": 2, "validation": 1, "test": 0}  # augmented versions of each clip, beside the clip itself
_PLAIN_VERSIONS = {"train": 5, "validation": 3, "test": 0}  # of those without an event, which are few
_EDGE = 0.06  # seconds at both ends of an event that are not learnt from
_PRECISION = 0.95  # that a threshold is to give
_ODD_SOUNDS = 120  # clips without a voice
_ABOUT = "Detector of vocal sound events; written by annotators.train_events."


@dataclass(frozen=True)
class Example:
    """One clip or one version of it: features and what is in it."""

    features: event_features.Features
    event: str
    span: tuple[float, float] | None
    split: str
    augmented: bool


def read_clips(folders: list[Path]) -> list[dict[str, str]]:
    """Rows of the labels of some folders, with `path` added.

    Raises:
        UserError: A table or a column is missing.
    """
    rows = []
    for folder in folders:
        table = folder / "labels.csv"
        if not table.is_file():
            raise UserError(f"{table} is missing: make it with `python -m synthesis.event_clips {folder}`")
        with table.open(encoding="utf-8", newline="") as lines:
            for number, row in enumerate(csv.DictReader(lines), start=2):
                missing = {"file", "voice", "split", "event", "event_start", "event_end"} - row.keys()
                if missing:
                    raise UserError(f"{table}:{number}: no column {', '.join(sorted(missing))}")
                rows.append({**row, "path": str(folder / row["file"]), "event": canonical("event", row["event"])})
    return rows


def examples(rows: list[dict[str, str]], speech: list[np.ndarray], seed: int) -> list[Example]:
    """Features of all clips and of versions of them.

    Args:
        rows: As of `read_clips`.
        speech: Recordings without events, float32 at 16 kHz; they join the split `train`.
        seed: Of all versions.
    """
    found: list[Example] = []
    for row in rows:
        samples, rate = soundfile.read(row["path"], dtype="float32")
        span = (float(row["event_start"]), float(row["event_end"])) if row["event"] != NONE else None
        rng = np.random.default_rng(seed_of(seed, row["file"]))
        versions = (_PLAIN_VERSIONS if row["event"] == NONE else _VERSIONS)[row["split"]]
        found += _versions(prepare(samples, rate), row["event"], span, row["split"], versions, rng)
    rng = np.random.default_rng(seed)
    for _ in range(_ODD_SOUNDS):
        split = "train" if rng.uniform() < 0.8 else "validation"
        found += _versions(odd_sounds(rng), NONE, None, split, 0, rng)
    for audio in speech:
        found += _versions(audio, NONE, None, "train", 12, rng)
    return found


def _versions(
    audio: np.ndarray,
    event: str,
    span: tuple[float, float] | None,
    split: str,
    versions: int,
    rng: np.random.Generator,
) -> list[Example]:
    made = [(audio, span)]
    for _ in range(versions):
        made.append(augment(audio if span else unfinished(audio, rng), span, rng))
    out = []
    for number, (version, where) in enumerate(made):
        features = event_features.measure(version)
        if features is not None:
            out.append(Example(features, event, where, split, number > 0))
    return out


def targets(example: Example) -> np.ndarray:
    """Class of every step, an index into `CLASSES`; -1 where a step is at the edge of the event."""
    times = np.arange(len(example.features.rows)) * STEP_SECONDS
    out = np.full(len(times), len(EVENTS))
    if example.span is not None:
        start, end = example.span
        out[(times >= start) & (times <= end)] = EVENTS.index(example.event)
        out[(np.abs(times - start) < _EDGE) | (np.abs(times - end) < _EDGE)] = -1
    return out


def fit_network(clips: list[Example], seed: int) -> dict[str, Any]:
    """The network on the steps of some clips: `mean`, `scale` and `layers` of a model."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    rows = np.concatenate([clip.features.rows for clip in clips])
    labels = np.concatenate([targets(clip) for clip in clips])
    rng = np.random.default_rng(seed)
    chosen = []
    count = np.bincount(labels[labels >= 0], minlength=len(CLASSES))
    # Rare events as often as common ones, and words as often as all events together.
    most = int(np.median(count[:-1]))
    for index in range(len(CLASSES)):
        members = np.flatnonzero(labels == index)
        wanted = most if index < len(EVENTS) else most * len(EVENTS)
        chosen.append(rng.choice(members, wanted, replace=wanted > len(members)) if len(members) else members)
    pick = rng.permutation(np.concatenate(chosen))
    mean, scale = rows[pick].mean(axis=0), rows[pick].std(axis=0) + 1e-3
    network: Any = MLPClassifier((_HIDDEN,), alpha=3e-3, max_iter=14, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of passes is fixed: the last ones overfit
        network.fit(np.clip((rows[pick] - mean) / scale, -6, 6), labels[pick])
    layers = [
        {"weights": weights.round(5).tolist(), "bias": bias.round(5).tolist()}
        for weights, bias in zip(network.coefs_, network.intercepts_, strict=True)
    ]
    return {"mean": mean.round(5).tolist(), "scale": scale.round(5).tolist(), "layers": layers}


def fit_clip(detector: EventDetector, clips: list[Example]) -> dict[str, Any]:
    """How the interval of a clip makes its probabilities: logistic regression, and a sharpness with offsets."""
    from scipy.optimize import minimize
    from sklearn.linear_model import LogisticRegression

    found = [locate(detector, clip) for clip in clips]
    some = np.array([clip.event != NONE for clip in clips])
    weight = np.where(some, 0.5 / some.mean(), 0.5 / (1 - some.mean()))
    model: Any = LogisticRegression(C=1.0, max_iter=1000)
    model.fit(np.array([item.scores for item in found]), some, sample_weight=weight)
    shares = np.array([item.shares for item, yes in zip(found, some, strict=True) if yes])
    kinds = np.array([EVENTS.index(clip.event) for clip in clips if clip.event != NONE])

    def loss(values: np.ndarray) -> float:
        logits = np.exp(values[0]) * (shares + np.append(values[1:], 0.0))
        top = logits.max(axis=1)
        total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
        return float((total - logits[np.arange(len(kinds)), kinds]).mean() + 0.01 * (values[1:] ** 2).sum())

    best = minimize(loss, np.zeros(len(EVENTS)), method="BFGS").x
    return {
        "weights": model.coef_[0].round(4).tolist(),
        "bias": round(float(model.intercept_[0]), 4),
        "sharpness": round(float(np.exp(best[0])), 4),
        "offsets": [*best[1:].round(4).tolist(), 0.0],
    }


def locate(detector: EventDetector, clip: Example) -> Found:
    """The likeliest event of an example."""
    return find(detector.posterior(clip.features.rows), clip.features.levels, clip.features.seconds)


def fit_thresholds(detector: EventDetector, clips: list[Example]) -> dict[str, float]:
    """Least probability per label above which clips are right with the wanted precision."""
    answers = [detector.probabilities(locate(detector, clip)) for clip in clips]
    out = {}
    for label in CLASSES:
        scores = np.array([answer[label] for answer in answers])
        right = np.array([clip.event == label for clip in clips])
        called = np.array([max(answer, key=lambda name: answer[name]) == label for answer in answers])
        order = np.argsort(-scores[called], kind="stable")
        precision = np.cumsum(right[called][order]) / np.arange(1, len(order) + 1)
        good = np.flatnonzero(precision >= _PRECISION)
        out[label] = round(float(scores[called][order][good[-1]]), 3) if len(good) else 1.0
    return out


def overlap(found: tuple[float, float], true: tuple[float, float]) -> float:
    """Intersection over union of two intervals."""
    both = min(found[1], true[1]) - max(found[0], true[0])
    return max(both, 0.0) / (max(found[1], true[1]) - min(found[0], true[0]))


def report(detector: EventDetector, clips: list[Example]) -> dict[str, Any]:
    """Counts of true by recognised label, macro F1 over the events, false alarms and overlap of the intervals."""
    confusion: dict[str, dict[str, int]] = {label: dict.fromkeys(map(str, CLASSES), 0) for label in CLASSES}
    overlaps = []
    for clip in clips:
        found = locate(detector, clip)
        answer = detector.probabilities(found)
        value = max(answer, key=lambda name: answer[name])
        confusion[clip.event][value] += 1
        if clip.span is not None and value == clip.event:
            overlaps.append(overlap((found.start, found.end), clip.span))
    scores = {label: f1(confusion, label) for label in EVENTS}
    plain = confusion[NONE]
    return {
        "clips": len(clips),
        "macro_f1": round(float(np.mean(list(scores.values()))), 4),
        "f1": {label: round(value, 4) for label, value in scores.items()},
        "false_alarms": round(1 - plain[NONE] / max(sum(plain.values()), 1), 4),
        "overlap_median": round(float(np.median(overlaps)), 4) if overlaps else 0.0,
        "confusion": confusion,
    }


def f1(confusion: Mapping[str, Mapping[str, int]], label: str) -> float:
    """Harmonic mean of precision and recall of a label; 0 when it is never right."""
    right = confusion[label][label]
    called = sum(row[label] for row in confusion.values())
    return 2 * right / (called + sum(confusion[label].values())) if right else 0.0


def train(clips: list[Example], voices: int, corpora: list[str], seed: int) -> dict[str, Any]:
    """A whole model: network, calibration, thresholds and the card of what it was trained on."""
    by_split = {split: [clip for clip in clips if clip.split == split] for split in ("train", "validation", "test")}
    for split in ("train", "validation"):
        kinds = {clip.event for clip in by_split[split]}
        if kinds != set(CLASSES):
            raise UserError(f"the clips of the split {split} have no {', '.join(sorted(set(CLASSES) - kinds))}")
    model: dict[str, Any] = {"about": _ABOUT, "classes": list(CLASSES), **fit_network(by_split["train"], seed)}
    neutral = {"weights": [0] * NUM_SCORES, "bias": 0, "sharpness": 1, "offsets": [0] * len(EVENTS)}
    model["clip"] = fit_clip(EventDetector({**model, "clip": neutral}), by_split["validation"])
    detector = EventDetector(model)
    model["thresholds"] = fit_thresholds(detector, by_split["validation"])
    model["card"] = {
        "script": "annotators.train_events",
        "corpora": corpora,
        "voices": voices,
        "clips": {split: sum(not clip.augmented for clip in group) for split, group in by_split.items()},
        "seed": seed,
    }
    for split in ("validation", "test"):
        if by_split[split]:
            model["card"][split] = report(detector, [clip for clip in by_split[split] if not clip.augmented])
    return model


def main() -> None:
    """Train and write the model."""
    parser = argparse.ArgumentParser(description="Train the event detector on renderings of this package.")
    parser.add_argument("clips", type=Path, nargs="+", help="folders with labels.csv and the clips that it names")
    parser.add_argument("--out", type=Path, default=MODEL, help="file to write (the shipped model)")
    parser.add_argument("--speech", type=Path, nargs="*", default=[], help="folders of speech without events, FLAC")
    parser.add_argument("--corpus", action="append", default=[], help="name for the card, once a folder")
    parser.add_argument("--seed", type=int, default=1, help="of versions, choice of steps and network")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows = read_clips(args.clips)
    speech = [prepare(*soundfile.read(path, dtype="float32"), SAMPLE_RATE) for folder in args.speech
              for path in sorted(folder.glob("*.flac"))]  # fmt: skip
    made = examples(rows, speech, args.seed)
    names = args.corpus or [folder.name for folder in (*args.clips, *args.speech)]
    model = train(made, len({row["voice"] for row in rows}), names, args.seed)
    write_atomic(args.out, (json.dumps(model, separators=(",", ":")) + "\n").encode())
    _LOG.info("wrote %s: %s", args.out, json.dumps(model["card"], indent=1))


if __name__ == "__main__":
    main()
