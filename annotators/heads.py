"""Heads: small linear models from a clip's measurements to a label, stored as JSON and applied with numpy.

A head standardises its cues, adds the speaker embedding if it uses one, and turns linear scores into probabilities by a
softmax whose temperature was calibrated on speakers that it had not seen. A head normalised by `reference` hears cues
against the voice's own mean and deviation over all emotions, and the embedding as its distance from the voice's own.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from annotators.base import Label
from annotators.clip import Reference
from annotators.encoder import SIZE
from manifests.engine import Problem
from manifests.errors import UserError
from manifests.labels import NONE

FOLDER = Path(__file__).parent / "data" / "heads"
VERSION = 1  # of the code below: raise it when the same measurements may get another label
LIMIT = 4.0  # standardised inputs are held within, so that no odd cue decides alone


@dataclass(frozen=True)
class Inputs:
    """What a head turns measurements into its inputs with.

    Attributes:
        features: Names of the values that it reads.
        normalisation: `none`, or `reference` for values against those of the voice.
        floor: (num_features,) least deviation of a voice, so that few takes cannot inflate a cue; all 0 without a
            reference.
        mean: (num_features,) mean of the normalised values, which stands for those that could not be measured.
        scale: (num_features,) their standard deviation.
        embedding_weight: Weight of the standardised embedding, 0 where it is not used.
        embedding_mean: (256,), empty where it is not used.
        embedding_scale: One number for all elements.
    """

    features: tuple[str, ...]
    normalisation: Literal["none", "reference"]
    floor: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    embedding_weight: float = 0.0
    embedding_mean: np.ndarray = field(default_factory=lambda: np.zeros(0))
    embedding_scale: float = 1.0

    def of(
        self, values: Mapping[str, float], embedding: np.ndarray | None = None, reference: Reference | None = None
    ) -> np.ndarray:
        """The inputs of one clip.

        Args:
            values: By name; those that are absent or NaN count as the mean.
            embedding: (256,) of the clip; absent or zeros count as the mean.
            reference: Of the clip's voice; must be there where the normalisation is `reference`.

        Returns:
            float64 (num_inputs,): the features, then the embedding where it is used.

        Raises:
            ValueError: There is no reference and the head needs one.
        """
        raw = normalised(self.features, values, self.floor, reference if self._against_voice else None)
        if self._against_voice and reference is None:
            raise ValueError("this head needs the reference of the clip's voice")
        inputs = np.clip(np.nan_to_num((raw - self.mean) / self.scale), -LIMIT, LIMIT)
        if not self.embedding_weight:
            return inputs
        vector = relative(embedding, reference if self._against_voice else None)
        if vector is None:
            return np.concatenate([inputs, np.zeros(SIZE)])
        return np.concatenate([
            inputs,
            self.embedding_weight * (vector - self.embedding_mean) / self.embedding_scale,
        ])  # fmt: skip

    @property
    def _against_voice(self) -> bool:
        return self.normalisation == "reference"


def normalised(
    features: tuple[str, ...], values: Mapping[str, float], floor: np.ndarray, reference: Reference | None
) -> np.ndarray:
    """Values (num_features,) as they are, or in deviations from the voice's mean; NaN where unknown."""
    raw = np.array([values.get(name, math.nan) for name in features], float)
    if reference is None:
        return raw
    mean = np.array([reference.mean.get(name, math.nan) for name in features], float)
    deviation = np.array([reference.deviation.get(name, 0.0) for name in features], float)
    return (raw - mean) / np.maximum(deviation, floor)


def relative(embedding: np.ndarray | None, reference: Reference | None) -> np.ndarray | None:
    """The embedding less that of the voice, where there is one; None where there is nothing to compare."""
    if embedding is None or not np.any(embedding):
        return None
    if reference is None:
        return np.asarray(embedding, float)
    return np.asarray(embedding, float) - reference.embedding if len(reference.embedding) else None


@dataclass(frozen=True)
class Head:
    """A calibrated linear classifier.

    Attributes:
        classes: In the order of the rows of `weights`.
        inputs: How measurements become inputs.
        weights: float64 (num_classes, num_inputs).
        intercept: float64 (num_classes,).
        temperature: That scores are divided by before the softmax.
        thresholds: Least probability per label that held the target precision on speakers held out.
        card: What it was trained on and how well it did on speakers held out; `corpora` names the corpora.
    """

    classes: tuple[str, ...]
    inputs: Inputs
    weights: np.ndarray
    intercept: np.ndarray
    temperature: float = 1.0
    thresholds: Mapping[str, float] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        """Linear scores (..., num_classes) of inputs (..., num_inputs), before the temperature."""
        return inputs @ self.weights.T + self.intercept

    def probabilities(
        self, values: Mapping[str, float], embedding: np.ndarray | None = None, reference: Reference | None = None
    ) -> dict[str, float]:
        """Probability of each class, summing to 1; arguments as for `Inputs.of`."""
        scores = self.scores(self.inputs.of(values, embedding, reference)) / self.temperature
        odds = np.exp(scores - scores.max())
        return dict(zip(self.classes, (odds / odds.sum()).tolist(), strict=True))

    def to_json(self) -> str:
        """As text, numbers to six digits; the same head always gives the same text."""
        document = {**asdict(self), "classes": list(self.classes)}
        return json.dumps(_plain(document), sort_keys=True, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Head:
        """The head that `to_json` wrote."""
        document = json.loads(text)
        inputs = document.pop("inputs")
        for name in ("floor", "mean", "scale", "embedding_mean"):
            inputs[name] = np.array(inputs[name], float)
        inputs["features"] = tuple(inputs["features"])
        for name in ("weights", "intercept"):
            document[name] = np.array(document[name], float)
        return cls(**{**document, "classes": tuple(document["classes"]), "inputs": Inputs(**inputs)})


def _plain(value: Any) -> Any:
    """Arrays as lists, numbers to six significant digits, mappings as dicts."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float | np.floating) else value


def path(name: str) -> Path:
    """Where the shipped head of a name lies."""
    return FOLDER / f"{name}.json"


def load(name: str) -> Head:
    """Read a shipped head.

    Raises:
        UserError: Its file is missing or unreadable.
    """
    file = path(name)
    for problem in problems(name):
        raise UserError(f"{problem.what}; {problem.fix}")
    try:
        return Head.from_json(file.read_text(encoding="utf-8"))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{file} is no head ({error}): reinstall the package or run annotators.train_heads") from None


def digest(*names: str) -> str:
    """Hash over shipped heads, `missing` if one is not there."""
    files = [path(name) for name in names]
    if not all(file.is_file() for file in files):
        return "missing"
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def problems(*names: str) -> list[Problem]:
    """The files of shipped heads that are missing."""
    return [
        Problem(f"{path(name)} is missing", "pip install --force-reinstall echat-pipeline")
        for name in names
        if not path(name).is_file()
    ]


def label(probabilities: Mapping[str, float], evidence: Mapping[str, float]) -> Label:
    """The likeliest class as a label; evidence that is NaN is left out, as JSON knows none."""
    value = max(probabilities, key=lambda name: probabilities[name])
    return Label(value, dict(probabilities), {name: float(v) for name, v in evidence.items() if math.isfinite(v)})


def unsure(classes: tuple[str, ...], evidence: Mapping[str, float] | None = None) -> Label:
    """No label, every class alike: there is nothing to hear."""
    return Label(NONE, dict.fromkeys(classes, 1 / len(classes)), dict(evidence or {}))
