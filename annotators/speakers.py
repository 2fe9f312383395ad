"""Annotator of the number of speakers: does a clip hold one voice, or a splice of several?

At points 0.4 s apart the embeddings of the 1.6 s before and after are compared; a change of speaker shows as a point
where they are unlike, often with a jump in pitch and formants. With the reference of the voice, the least
likeness of any part to that voice counts too. Speakers who talk at once are not heard apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from annotators import encoder, heads
from annotators.base import Annotator, AnnotatorConfig, Label
from annotators.clip import Clip
from annotators.pitch import HOP, SAMPLE_RATE, pitch_track
from manifests.engine import Problem, Throughput

VERSION = 1  # of the code below: raise it when the same clip may get another label
CLASSES = ("one", "several")
WITHOUT, WITH = "speakers", "speakers_reference"  # heads
FEATURES = ("least_alike", "mean_alike", "drop", "pitch_jump", "shorter_side")
FEATURES_WITH = (*FEATURES, "least_like_voice", "most_like_voice", "like_voice")
_STEP, _SIDE, _SHORTEST = 0.4, 1.6, 0.6  # seconds: between points, of a side at most and at least
_MOST_POINTS = 40  # of long clips, where they lie farther apart
_ACTIVE_DB = 40.0  # sound this far below the loudest is taken for silence at the ends
_FEWEST_VOICED = 5  # frames of a side


def measure(clip: Clip) -> dict[str, float]:
    """How alike the parts of a clip are.

    Args:
        clip: With the reference of its voice, or without.

    Returns:
        `least_alike` and `mean_alike`, cosines of the sides over all points; `drop`, how far the least falls below the
        median; `pitch_jump` in semitones and `shorter_side` in seconds, both there; and against the reference
        `least_like_voice`, `most_like_voice` (cosines of sides) and `like_voice` (of the clip). Empty when the
        clip has too little sound to compare (under 1.2 s).
    """
    start, end = _sounding(clip.audio)
    step = max(_STEP, (end - start) / _MOST_POINTS)
    points = np.arange(start + _SHORTEST, end - _SHORTEST + 1e-6, step)
    if not len(points):
        return {}
    spans = [(max(start, point - _SIDE), point) for point in points]
    spans += [(point, min(end, point + _SIDE)) for point in points]
    sides = encoder.embed_spans(clip.audio, spans)
    if not len(sides):
        return {}
    before, after = sides[: len(points)], sides[len(points) :]
    alike = (before * after).sum(axis=1)
    at = int(alike.argmin())
    found = {
        "least_alike": float(alike[at]),
        "mean_alike": float(alike.mean()),
        "drop": float(np.median(alike) - alike[at]),
        "pitch_jump": _pitch_jump(clip.audio, float(points[at])),
        "shorter_side": float(min(points[at] - start, end - points[at])),
    }
    if clip.reference is not None and len(clip.reference.embedding):
        likeness = sides @ clip.reference.embedding
        found["least_like_voice"], found["most_like_voice"] = float(likeness.min()), float(likeness.max())
        found["like_voice"] = float(clip.embedding @ clip.reference.embedding)
    return found


def _sounding(audio: np.ndarray) -> tuple[float, float]:
    """Start and end in seconds of what is not silence; (0, 0) for silence."""
    count = len(audio) // HOP
    power = (audio[: count * HOP].reshape(count, HOP).astype(np.float64) ** 2).mean(axis=1)
    if not count or power.max() <= 1e-9:
        return 0.0, 0.0
    loud = np.flatnonzero(power > power.max() * 10 ** (-_ACTIVE_DB / 10))
    return float(loud[0] * HOP / SAMPLE_RATE), float((loud[-1] + 1) * HOP / SAMPLE_RATE)


def _pitch_jump(audio: np.ndarray, point: float) -> float:
    """Difference in semitones between the median pitch of 1.6 s on either side; NaN when one has no voice."""
    middle, side = round(point * SAMPLE_RATE), round(_SIDE * SAMPLE_RATE)
    tones = []
    for part in (audio[max(0, middle - side) : middle], audio[middle : middle + side]):
        pitch = pitch_track(part)
        if (pitch > 0).sum() < _FEWEST_VOICED:
            return math.nan
        tones.append(12 * math.log2(float(np.median(pitch[pitch > 0]))))
    return abs(tones[0] - tones[1])


class EncoderSpeakers:
    """A head on how alike the parts of a clip are, another one where the voice is known."""

    def __init__(self) -> None:
        """Read the heads.

        Raises:
            UserError: One is missing.
        """
        self._heads = {False: heads.load(WITHOUT), True: heads.load(WITH)}

    def annotate(self, clip: Clip) -> Label:
        """Label one clip; `none` at even odds with less than 1.2 s of sound."""
        found = measure(clip)
        if not found:
            return heads.unsure(CLASSES)
        return heads.label(self._heads["like_voice" in found].probabilities(found), found)


class EncoderSpeakersConfig(AnnotatorConfig):
    """One voice or several, by a speaker encoder on parts of the clip (heads: `annotators.train_heads`)."""

    role = "annotator.speakers"
    licence = "Apache-2.0 (encoder's weights: Resemblyzer; heads: this package)"
    throughput = Throughput(17.0, "core", "CPU time, clips of 2 to 3 s, one thread, its measurements included")
    needs_reference: ClassVar[bool] = True

    engine: Literal["encoder"] = "encoder"

    def revision(self) -> str:
        """Versions of the code, the encoder and the heads."""
        return f"speakers-{VERSION}+heads-{heads.VERSION}-{heads.digest(WITHOUT, WITH)}+{encoder.revision()}"

    def problems(self) -> list[Problem]:
        """A head or the encoder's weights are missing."""
        return [*heads.problems(WITHOUT, WITH), *encoder.problems()]

    def thresholds(self) -> dict[str, float]:
        """Of the head with the reference."""
        return dict(heads.load(WITH).thresholds)

    def card(self) -> Mapping[str, Any]:
        """What the head with the reference was trained on; the other one was trained on the same clips."""
        return heads.load(WITH).card

    def open(self) -> Annotator:
        """Read the heads.

        Raises:
            UserError: One is missing.
        """
        return EncoderSpeakers()
