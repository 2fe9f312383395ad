"""Tiny annotators of emotion that hear real sound: by its pitch, against the speaker's own, by chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from annotators.base import Annotator, AnnotatorConfig, Example, Label
from annotators.clip import SAMPLE_RATE, Clip
from manifests.engine import Throughput
from manifests.labels import EMOTIONS

PITCHES = dict(zip(EMOTIONS, (150.0, 200.0, 260.0, 330.0, 420.0, 530.0, 660.0), strict=True))  # Hz


def sure(value: str, classes: Sequence[str], confidence: float = 1.0) -> Label:
    """A label with what is left of the probability spread over the others."""
    rest = (1 - confidence) / (len(classes) - 1)
    return Label(value, {name: confidence if name == value else rest for name in classes}, {})


class Perfect:
    """Reads the emotion off the strongest frequency."""

    def annotate(self, clip: Clip) -> Label:
        spectrum = np.abs(np.fft.rfft(clip.audio, 1 << 15))
        hertz = float(spectrum.argmax()) * SAMPLE_RATE / (1 << 15)
        return sure(min(PITCHES, key=lambda name: abs(PITCHES[name] - hertz)), EMOTIONS)


class Chance:
    """Draws the emotion, and how sure it is, from the sound."""

    def annotate(self, clip: Clip) -> Label:
        rng = np.random.default_rng(int(np.abs(clip.audio).sum() * 1e6))
        return sure(str(rng.choice(EMOTIONS)), EMOTIONS, float(rng.uniform(0.3, 1)))


class Relative:
    """Happy above a pitch in semitones over 100 Hz, sad below it."""

    def __init__(self, middle: float) -> None:
        self.middle = middle

    def annotate(self, clip: Clip) -> Label:
        own = clip.reference.mean["f0_median"] if clip.reference else self.middle
        return sure("happy" if clip.cues["f0_median"] > own else "sad", EMOTIONS, 0.9)


class _Config(AnnotatorConfig):
    role = "annotator.emotion"
    licence = "Apache-2.0"
    throughput = Throughput(1000.0, "core", "a guess")
    trained_on: ClassVar[dict[str, Any]] = {}

    def revision(self) -> str:
        return f"{self.engine}/1"

    def card(self) -> Mapping[str, Any]:
        return self.trained_on


class PerfectConfig(_Config):
    engine: Literal["perfect"] = "perfect"

    def open(self) -> Annotator:
        return Perfect()


class ChanceConfig(_Config):
    engine: Literal["chance"] = "chance"
    consistency_only: ClassVar[bool] = True

    def open(self) -> Annotator:
        return Chance()


class RelativeConfig(_Config):
    engine: Literal["relative"] = "relative"
    needs_reference: ClassVar[bool] = True
    fitted_on: ClassVar[list[tuple[frozenset[str], int]]] = []

    def open(self) -> Annotator:
        return Relative(8.0)

    def fit(self, examples: Sequence[Example]) -> Annotator:
        if len({example.label for example in examples}) < 2:
            raise ValueError("the clips hold one label only")
        self.fitted_on.append((frozenset(example.speaker for example in examples), len(examples)))
        return Relative(float(np.mean([example.clip.cues["f0_median"] for example in examples])))
