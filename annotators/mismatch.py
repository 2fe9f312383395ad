"""One score of whether a clip says its text: from the evidence on every word to a number from 0 to 1.

The acoustic model learned from adults, so children's and emotional voices fit it badly. A clip is therefore heard
through one of a few shipped linear transforms of its features, whichever makes it fit best; the choice looks
at the clip only, never at its text. Transforms and rules are written by `annotators.train_mismatch`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from annotators.mismatch_acoustics import AcousticModel, Transform, features
from annotators.mismatch_align import Evidence, Pronunciations, weigh

SHIPPED_RULES = Path(__file__).parent / "data" / "mismatch_rules.json"
MEASURES = {
    "clip": ("second_absent", "quarter_absent", "replaced", "typical_rate"),
    "word": ("absent", "replaced", "inserted", "inserted_inside"),
}
"""Of damage to much of a clip and of damage to a word: each kind has a rule of its own."""
RANGE = (0.0, 4.0)  # of a standardised measure: one bad clip among the good ones must not bend the rule
_EVERY = 4  # frames; the choice of a transform needs no more of them


@dataclass(frozen=True)
class Rule:
    """Log odds of one kind of damage = intercept + sum of weight * clip((measure - middle) / scale, RANGE).

    Attributes:
        intercept: In log odds.
        middle, scale, weight: By measure.
    """

    intercept: float
    middle: Mapping[str, float]
    scale: Mapping[str, float]
    weight: Mapping[str, float]

    def log_odds(self, measures: Mapping[str, Any]) -> np.ndarray:
        """Of damage, for arrays or numbers of measures, named as `summarise` names them; of their shape."""
        odds = np.asarray(self.intercept)
        for name, weight in self.weight.items():
            odds = odds + weight * np.clip((measures[name] - self.middle[name]) / self.scale[name], *RANGE)
        return odds


def mismatch_log_odds(rules: Mapping[str, Rule], measures: Mapping[str, Any]) -> np.ndarray:
    """Log odds of a mismatch of any kind: the odds of the kinds add up."""
    return np.logaddexp.reduce([rule.log_odds(measures) for rule in rules.values()])


def read_rules(path: Path = SHIPPED_RULES) -> tuple[dict[str, Rule], list[Transform]]:
    """The rules of a file, by kind of damage, and its transforms of the features."""
    document = json.loads(path.read_text(encoding="utf-8"))
    rules = {kind: Rule(**rule) for kind, rule in document["rules"].items()}
    return rules, [Transform(np.array(t["matrix"]), np.array(t["offset"])) for t in document["transforms"].values()]


def summarise(evidence: Evidence) -> dict[str, float]:
    """The measures of a clip, by name. Gains are divided by the clip's pace, as they grow with it.

    `absent`, `replaced`, `inserted`: the largest gain. `second_absent`: the second largest. `quarter_absent`: what a
    quarter of the words exceed. `typical_rate`: the median gain of `replaced`, per frame of the word.
    `inserted_inside`: the largest between words over that of the middle boundary, in all; breath and the like stand
    before and after the words.
    """
    pace = max(evidence.pace, 1.0)
    inside = evidence.inserted[1:-1] if len(evidence.inserted) > 2 else evidence.inserted
    return {
        "absent": float(evidence.absent.max() / pace),
        "second_absent": float(np.sort(evidence.absent)[-2:].min() / pace),
        "quarter_absent": float(np.quantile(evidence.absent, 0.75) / pace),
        "replaced": float(evidence.replaced.max() / pace),
        "typical_rate": float(np.median(evidence.replaced / np.maximum(evidence.num_frames, 1))),
        "inserted": float(evidence.inserted.max() / pace),
        "inserted_inside": float(inside.max() - np.median(evidence.inserted)),
    }


def best_features(model: AcousticModel, cepstra: np.ndarray, transforms: Sequence[Transform]) -> np.ndarray:
    """Features of a clip through the transform, or none, under which its sounds fit the phones best.

    Args:
        model: The acoustic model.
        cepstra: float32 (num_frames, 13).
        transforms: To choose from.

    Returns:
        float32 (3, num_frames, 13).
    """
    senones = np.concatenate([model.loop_states.ravel(), model.silence_states])

    def fit(candidate: np.ndarray, transform: Transform | None) -> float:
        likelihoods = model.log_likelihoods(candidate[:, ::_EVERY], senones)
        volume = transform.log_volume if transform else 0.0  # a density shrinks as its space is stretched
        return float(likelihoods.max(axis=1).mean()) + volume

    choices: list[Transform | None] = [None, *transforms]
    candidates = [features(cepstra, transform) for transform in choices]
    fits = [fit(*pair) for pair in zip(candidates, choices, strict=True)]
    return candidates[int(np.argmax(fits))]


class MismatchDetector:
    """The acoustic model and the rules in memory; no state from one clip to the next."""

    def __init__(self, acoustic_model: Path, rules: Path = SHIPPED_RULES) -> None:
        """Read both.

        Args:
            acoustic_model: Folder of a `ptm` model of pocketsphinx.
            rules: JSON as `annotators.train_mismatch` writes it.
        """
        self.model = AcousticModel(acoustic_model)
        self._rules, self._transforms = read_rules(rules)

    def features(self, cepstra: np.ndarray) -> np.ndarray:
        """Features (3, num_frames, 13) of cepstra (num_frames, 13), through the transform that fits the voice."""
        return best_features(self.model, cepstra, self._transforms)

    def probability(self, features: np.ndarray, words: Pronunciations) -> float:
        """Probability that a clip does not say just these words, where about every second clip does not.

        Args:
            features: As `features` returns them.
            words: Pronunciations of each word, phones of CMUdict without stress.

        Returns:
            0 to 1; 1 when there are no words, one cannot be pronounced, or the clip is too short for them.
        """
        evidence = weigh(self.model, features, words) if words and all(words) else None
        if evidence is None:
            return 1.0
        return float(1 / (1 + np.exp(-mismatch_log_odds(self._rules, summarise(evidence)))))
