"""Annotators that mishear on purpose, for tests: the `tone` annotators, wrong in a share of the clips.

Which clips and how sure they are follows from the samples alone, so that a row's label never depends on another row.
A right label has a probability between `low` and 1, a wrong one between `low` and `high`.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import Field

from annotators.base import Annotator, Label
from annotators.clip import Clip
from annotators.tone import ToneAnnotator, ToneLabelConfig
from manifests.labels import CUES
from pipeline.registry import register

for _family in CUES:
    register(f"annotator.{_family}", "deaf", "deaf:DeafConfig")


class DeafConfig(ToneLabelConfig):
    engine: Literal["deaf"] = "deaf"
    wrong: float = 0.3
    low: float = 0.5
    high: float = 0.8
    known: dict[str, float] = Field(default_factory=dict)
    salt: str = ""

    def thresholds(self) -> dict[str, float]:
        return self.known

    def open(self) -> Annotator:
        return DeafAnnotator(self)


class DeafAnnotator(ToneAnnotator):
    def __init__(self, config: DeafConfig) -> None:
        super().__init__(config.family)
        self.config = config

    def annotate(self, clip: Clip) -> Label:
        label = super().annotate(clip)
        classes = list(label.probabilities)
        digest = hashlib.blake2b(clip.audio.tobytes() + self.config.salt.encode()).digest()
        miss = int.from_bytes(digest[:4], "big") / 2**32 < self.config.wrong
        value = classes[(classes.index(label.value) + 1) % len(classes)] if miss else label.value
        top = self.config.high if miss else 1.0
        sure = self.config.low + (top - self.config.low) * int.from_bytes(digest[4:8], "big") / 2**32
        rest = (1 - sure) / (len(classes) - 1)
        return Label(value, {name: sure if name == value else rest for name in classes}, {})
