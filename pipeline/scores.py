"""How well an annotator's answers agree with labels that people gave: recall, UAR, confusion, calibration error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from annotators.base import Label
from manifests.labels import NONE, heard_labels

BINS = 15
"""Bins of the reliability diagram, as Guo et al. 2017 ("On calibration of modern neural networks")."""


@dataclass(frozen=True)
class Bin:
    """The answers of one interval of confidence; means are 0 of none."""

    clips: int
    confidence: float
    accuracy: float


@dataclass
class Tally:
    """Answers of one annotator so far.

    Attributes:
        family: Its cue family.
        truths: The label of each clip that has one.
        answers: What was answered there.
        confidences: The probability of that answer.
        restricted: The likeliest of the labels that occur in the corpus.
        unlabelled: Number of answers by label, over the clips that have no label.
    """

    family: str
    labels: tuple[str, ...]
    truths: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    restricted: list[str] = field(default_factory=list)
    speakers: list[str] = field(default_factory=list)
    unlabelled: dict[str, int] = field(default_factory=dict)

    def add(self, truth: str | None, speaker: str, label: Label) -> None:
        """Count one clip; `truth` is None where it is not known."""
        if truth is None:
            self.unlabelled[label.value] = self.unlabelled.get(label.value, 0) + 1
            return
        self.truths.append(truth)
        self.answers.append(label.value)
        self.confidences.append(float(max(label.probabilities.values(), default=0.0)))
        known = [name for name in self.labels if name in label.probabilities]
        unsure = label.value == NONE and NONE not in label.probabilities
        self.restricted.append(NONE if unsure or not known else max(known, key=lambda name: label.probabilities[name]))
        self.speakers.append(speaker)

    def columns(self) -> tuple[str, ...]:
        """Every label of the family, and every other answer that was given."""
        known = heard_labels(self.family)
        return (*known, *sorted(set(self.answers) - set(known)))

    def confusion(self) -> dict[str, dict[str, int]]:
        """Number of clips by true label and answer; rows are the labels that occur."""
        counts = {truth: dict.fromkeys(self.columns(), 0) for truth in self.labels if truth in set(self.truths)}
        for truth, answer in zip(self.truths, self.answers, strict=True):
            counts[truth][answer] += 1
        return counts

    def recall(self, answers: Sequence[str] | None = None) -> dict[str, float]:
        """Share of the clips of each label that is answered rightly."""
        given = self.answers if answers is None else answers
        return {label: _share(self.truths, given, label) for label in self.labels if label in set(self.truths)}

    def bins(self) -> list[Bin]:
        """Confidence against accuracy in `BINS` intervals of equal width."""
        confidence = np.array(self.confidences)
        right = np.array([truth == answer for truth, answer in zip(self.truths, self.answers, strict=True)])
        place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
        found = []
        for number in range(BINS):
            inside = place == number
            some = inside.any()
            means = (float(confidence[inside].mean()), float(right[inside].mean())) if some else (0.0, 0.0)
            found.append(Bin(int(inside.sum()), *means))
        return found

    def ece(self) -> float:
        """Expected calibration error: the mean distance of confidence from accuracy, over bins."""
        total = len(self.truths)
        return sum(one.clips * abs(one.confidence - one.accuracy) for one in self.bins()) / total

    def document(self) -> dict[str, Any]:
        """The scores as JSON; `uar_shared` and `recall_shared` choose among the labels of the corpus (null of one)."""
        out: dict[str, Any] = {"clips": len(self.truths)}
        if self.truths:
            recall, shared = self.recall(), self.recall(self.restricted)
            right = [truth == answer for truth, answer in zip(self.truths, self.answers, strict=True)]
            out |= {
                "accuracy": _round(np.mean(right)),
                "uar": _round(np.mean(list(recall.values()))),
                "uar_shared": _round(np.mean(list(shared.values()))) if len(shared) > 1 else None,
                "chance": _round(1 / len(recall)),
                "ece": _round(self.ece()),
                "recall": {label: _round(value) for label, value in recall.items()},
                "recall_shared": {label: _round(value) for label, value in shared.items()},
                "confusion": self.confusion(),
                "reliability": [
                    {"clips": one.clips, "confidence": _round(one.confidence), "accuracy": _round(one.accuracy)}
                    for one in self.bins()
                ],
                "by_speaker": {
                    name: _round(np.mean([hit for hit, who in zip(right, self.speakers, strict=True) if who == name]))
                    for name in sorted(set(self.speakers))
                },
            }
        if self.unlabelled:
            out["unlabelled"] = {
                "clips": sum(self.unlabelled.values()),
                "answers": dict(sorted(self.unlabelled.items())),
            }
        return out


def _share(truths: Sequence[str], answers: Sequence[str], label: str) -> float:
    mine = [answer for truth, answer in zip(truths, answers, strict=True) if truth == label]
    return sum(answer == label for answer in mine) / len(mine)


def _round(value: Any) -> float:
    return round(float(value), 4)
