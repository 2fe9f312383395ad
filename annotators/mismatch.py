"""One score of whether a clip says its text: from the evidence on every word to a number from 0 to 1.

The acoustic model learned from adults, so children's and emotional voices fit it badly. A clip is therefore heard
through one of a few shipped linear transforms of its features, whichever makes it fit best; the choice looks
at the clip only, never at its text. Transforms and rule are written by `annotators.train_mismatch`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from annotators.mismatch_acoustics import AcousticModel, Transform, features
from annotators.mismatch_align import Evidence, Pronunciations, weigh

SHIPPED_RULE = Path(__file__).parent / "data" / "mismatch_rule.json"
MEASURES = ("absent", "second_absent", "replaced", "inserted", "inserted_inside")
_EVERY = 4  # frames; the choice of a transform needs no more of them
RANGE = (0.0, 4.0)  # of a standardised measure: one bad clip among the good ones must not bend the rule


@dataclass(frozen=True)
class Rule:
    """Log odds of a mismatch = intercept + sum of weight * clip((measure - middle) / scale, RANGE).

    Attributes:
        intercept: In log odds.
        middle, scale, weight: By measure.
    """

    intercept: float
    middle: Mapping[str, float]
    scale: Mapping[str, float]
    weight: Mapping[str, float]

    def probability(self, measures: Mapping[str, float]) -> float:
        """Of a mismatch, for measures as from `summarise`."""
        odds = self.intercept
        for name, weight in self.weight.items():
            odds += weight * float(np.clip((measures[name] - self.middle[name]) / self.scale[name], *RANGE))
        return float(1 / (1 + np.exp(-odds)))


def read_rule(path: Path = SHIPPED_RULE) -> tuple[Rule, list[Transform]]:
    """The rule of a file, and its transforms of the features."""
    document = json.loads(path.read_text(encoding="utf-8"))
    rule = Rule(document["intercept"], *(document[name] for name in ("middle", "scale", "weight")))
    return rule, [Transform(np.array(t["matrix"]), np.array(t["offset"])) for t in document["transforms"].values()]


def summarise(evidence: Evidence) -> dict[str, float]:
    """The measures of a clip, by name; each is a gain of its worst word or boundary.

    `absent`, `replaced`, `inserted`: the largest gain, for the pace of the clip. `second_absent`: the second largest,
    as damage to more than a word has two. `inserted_inside`: the largest between words, over that of the
    middle boundary; breath and the like stand before and after the words.
    """
    pace = max(evidence.pace, 1.0)
    inside = evidence.inserted[1:-1] if len(evidence.inserted) > 2 else evidence.inserted
    return {
        "absent": float(evidence.absent.max() / pace),
        "second_absent": float(np.sort(evidence.absent)[-2:].min()),
        "replaced": float(evidence.replaced.max() / pace),
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
    """The acoustic model and the rule in memory; no state from one clip to the next."""

    def __init__(self, acoustic_model: Path, rule: Path = SHIPPED_RULE) -> None:
        """Read both.

        Args:
            acoustic_model: Folder of a `ptm` model of pocketsphinx.
            rule: JSON as `annotators.train_mismatch` writes it.
        """
        self.model = AcousticModel(acoustic_model)
        self._rule, self._transforms = read_rule(rule)

    def probability(self, cepstra: np.ndarray, words: Pronunciations) -> float:
        """Probability that a clip does not say just these words, where every second clip does not.

        Args:
            cepstra: float32 (num_frames, 13), 100 frames a second, of pocketsphinx.
            words: Pronunciations of each word, phones of CMUdict without stress.

        Returns:
            0 to 1; 1 when there are no words, one cannot be pronounced, or the clip is too short for them.
        """
        if not words or not all(words):
            return 1.0
        evidence = weigh(self.model, best_features(self.model, cepstra, self._transforms), words)
        return 1.0 if evidence is None else self._rule.probability(summarise(evidence))
