"""Detector of vocal sound events: which of the seven a clip holds, if any, and from when to when.

A small network (one hidden layer, numpy alone) gives every 50 ms the odds of each event against words and silence;
the stretch where the odds for an event add up highest is the event, and how high they add up is the confidence.
It is trained on events that this package renders (`annotators.train_events`). How well it hears laughter, coughs and
sighs of real people has not been measured: on recordings it is a check of consistency.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from annotators import event_features
from annotators.base import Annotator, AnnotatorConfig, Label
from annotators.clip import Clip
from annotators.event_features import STEP_SECONDS
from manifests.engine import Problem, Throughput
from manifests.errors import UserError
from manifests.labels import EVENTS, NONE

VERSION = 1  # of this file and `annotators.event_features`: raise it when the same clip may get another label
MODEL = Path(__file__).parent / "data" / "events" / "detector.json"
CLASSES = (*EVENTS, NONE)
NUM_SCORES = 5

_ODDS_LIMIT = 5.0  # one moment cannot outvote all others
_SMOOTHING = 3  # steps
_SILENT_DB, _SILENT_ODDS = -33.0, -0.5
_LONGEST = 60.0  # seconds heard; the rest of a longer clip is not


@dataclass(frozen=True)
class Found:
    """The likeliest event of a clip.

    Attributes:
        start: In seconds.
        end: In seconds.
        scores: What the confidence is made of, (NUM_SCORES,): total, mean and highest log odds, log
            duration, highest level.
        shares: (len(EVENTS),), mean log posterior of each event over the interval.
    """

    start: float
    end: float
    scores: np.ndarray
    shares: np.ndarray


def find(posterior: np.ndarray, levels: np.ndarray, seconds: float) -> Found:
    """The stretch with the highest sum of log odds for an event of any kind.

    Args:
        posterior: (num_steps, len(CLASSES)), rows sum to 1, `none` last.
        levels: (num_steps,), dB over the clip's active level.
        seconds: Duration of the clip.
    """
    none = np.clip(posterior[:, -1], 1e-6, 1 - 1e-6)
    odds = np.clip(np.log((1 - none) / none), -_ODDS_LIMIT, _ODDS_LIMIT)
    kernel = np.ones(_SMOOTHING) / _SMOOTHING
    odds = np.convolve(np.pad(odds, _SMOOTHING // 2, mode="edge"), kernel, mode="valid")
    # Silence is no sound, whatever the network makes of the noise in it.
    odds = np.where(levels < _SILENT_DB, np.minimum(odds, _SILENT_ODDS), odds)
    first, last = _highest_sum(odds)
    inside = slice(first, last + 1)
    length = (last - first + 1) * STEP_SECONDS
    logs = np.log(np.maximum(posterior[inside, :-1], 1e-6)).mean(axis=0)
    total = float(odds[inside].sum()) * STEP_SECONDS
    scores = np.array([
        math.copysign(math.log1p(abs(total)), total), odds[inside].mean(), odds[inside].max(), math.log(length),
        float(levels[inside].max()) / 10,
    ])  # fmt: skip
    start = max(first * STEP_SECONDS - STEP_SECONDS / 2, 0.0)
    return Found(start, min(start + length, seconds), scores, logs)


def _highest_sum(values: np.ndarray) -> tuple[int, int]:
    """First and last index of the run with the highest sum (Bentley 1984)."""
    best, best_run, total, first = -math.inf, (0, 0), 0.0, 0
    for index, value in enumerate(values.tolist()):
        if total <= 0:
            total, first = 0.0, index
        total += value
        if total > best:
            best, best_run = total, (first, index)
    return best_run


class EventDetector:
    """The network and the calibration of a model file."""

    def __init__(self, model: dict[str, Any]) -> None:
        """Keep a model.

        Args:
            model: `mean` and `scale` of the features, `layers` of `weights` and `bias`, and `clip`: how the scores
                of an interval make a probability (`annotators.train_events` writes all of it).
        """
        self._mean, self._scale = np.array(model["mean"]), np.array(model["scale"])
        self._layers = [(np.array(layer["weights"]), np.array(layer["bias"])) for layer in model["layers"]]
        clip = model["clip"]
        self._weights, self._bias = np.array(clip["weights"]), float(clip["bias"])
        self._sharpness, self._offsets = float(clip["sharpness"]), np.array(clip["offsets"])

    def posterior(self, rows: np.ndarray) -> np.ndarray:
        """Probability of each of `CLASSES` at every step: (num_steps, 8) of features (num_steps, NUM)."""
        out = np.clip((rows - self._mean) / self._scale, -6, 6)
        for index, (weights, bias) in enumerate(self._layers):
            out = out @ weights + bias
            if index < len(self._layers) - 1:
                out = np.maximum(out, 0)
        out = np.exp(out - out.max(axis=1, keepdims=True))
        return out / out.sum(axis=1, keepdims=True)

    def probabilities(self, found: Found) -> dict[str, float]:
        """Probability of each class for a clip, from its likeliest event."""
        some = 1 / (1 + math.exp(-float(np.clip(self._weights @ found.scores + self._bias, -30, 30))))
        logits = self._sharpness * (found.shares + self._offsets)
        kinds = np.exp(logits - logits.max())
        kinds = some * kinds / kinds.sum()
        return {**dict(zip(EVENTS, kinds.tolist(), strict=True)), NONE: 1 - some}

    def annotate(self, clip: Clip) -> Label:
        """Label one clip; `none` at even odds for one without sound.

        Evidence: `start_s` and `end_s` of the likeliest event, whatever its probability, and `score`, the mean log odds
        within.
        """
        features = event_features.measure(clip.audio[: int(_LONGEST * event_features.SAMPLE_RATE)])
        if features is None:
            return Label(NONE, dict.fromkeys(CLASSES, 1 / len(CLASSES)), {"start_s": 0.0, "end_s": 0.0, "score": 0.0})
        found = find(self.posterior(features.rows), features.levels, features.seconds)
        probabilities = self.probabilities(found)
        evidence = {"start_s": round(found.start, 3), "end_s": round(found.end, 3), "score": float(found.scores[1])}
        return Label(max(probabilities, key=lambda value: probabilities[value]), probabilities, evidence)


@lru_cache(maxsize=4)
def read_model(path: Path = MODEL) -> dict[str, Any]:
    """A model file.

    Raises:
        UserError: It is missing or is no model.
    """
    try:
        model = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: the event model cannot be read ({error}); install the package again") from error
    sizes = (len(model.get("mean", ())), len(model.get("clip", {}).get("weights", ())))
    if model.get("classes") != list(CLASSES) or sizes != (event_features.NUM, NUM_SCORES):
        raise UserError(f"{path}: is the model of another version; run `python -m annotators.train_events` again")
    return model


class EventDetectorConfig(AnnotatorConfig):
    """Sound events by the shipped detector, trained on this package's own renderings."""

    role = "annotator.event"
    licence: ClassVar[str] = "as this package (code and coefficients)"
    throughput: ClassVar[Throughput] = Throughput(120.0, "core", "CPU time, sentences of 2 to 5 s, one thread")
    consistency_only: ClassVar[bool] = True

    engine: Literal["events"] = "events"

    def revision(self) -> str:
        """Version of this code and the hash of its model."""
        return f"events-v{VERSION}+model-{hashlib.sha256(MODEL.read_bytes()).hexdigest()[:12]}"

    def problems(self) -> list[Problem]:
        """The model's file is missing."""
        if MODEL.is_file():
            return []
        return [Problem(f"{MODEL} is missing", "pip install --force-reinstall echat-pipeline")]

    def thresholds(self) -> dict[str, float]:
        """Least probability per event at which the renderings of voices held out from training were right often."""
        return {str(label): float(value) for label, value in read_model()["thresholds"].items()}

    def open(self) -> Annotator:
        """Read the model.

        Raises:
            UserError: Its file is missing.
        """
        for problem in self.problems():
            raise UserError(f"the engine events cannot run: {problem.what}; {problem.fix}")
        return EventDetector(read_model())
