"""Protocols of the engines that listen: recognizers, annotators, raters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from pydantic import Field

from manifests.engine import EngineConfig


@dataclass(frozen=True)
class Transcript:
    """What a recognizer heard, scored against the text that was to be spoken.

    Attributes:
        text: The hypothesis, normalised as the reference is.
        reference: The reference after the same normalisation.
        wer: Word error rate against the reference, at least 0; 1.0 when nothing was heard.
        cer: Character error rate against the reference.
    """

    text: str
    reference: str
    wer: float
    cer: float


class Recognizer(Protocol):
    """A loaded recognizer. `samples` float32 (num_samples,) in [-1, 1], mono."""

    def transcribe(self, samples: np.ndarray, sample_rate: int, reference: str, language: str) -> Transcript:
        """Recognise one utterance; the result depends on these arguments only."""
        ...


@dataclass(frozen=True)
class Label:
    """A recognised label with the probability of every class (they sum to 1) and the evidence as numbers."""

    value: str
    probabilities: dict[str, float]
    evidence: dict[str, float]


class Annotator(Protocol):
    """A loaded annotator of one cue family. Never raises for odd audio: it answers with low confidence."""

    def annotate(self, samples: np.ndarray, sample_rate: int) -> Label: ...


@dataclass(frozen=True)
class Quality:
    """Signal quality of one utterance.

    Attributes:
        speech_ratio: Share of the time that a voice activity detector calls speech, 0 to 1.
        speech_seconds: Its total, in seconds.
        lead_seconds: Silence before the first speech, in seconds.
        clipped_ratio: Share of samples at full scale (|x| >= 0.999).
        snr_db: Level of speech over level of non-speech, in dB, clamped to [-20, 100].
        rms_dbfs: Level of the whole utterance, in dB relative to full scale; -120 for silence.
    """

    speech_ratio: float
    speech_seconds: float
    lead_seconds: float
    clipped_ratio: float
    snr_db: float
    rms_dbfs: float


class Rater(Protocol):
    """A loaded rater of signal quality."""

    def rate(self, samples: np.ndarray, sample_rate: int) -> Quality: ...


class RecognizerConfig(EngineConfig):
    """Config of a recognizer."""

    role = "recognizer"

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that it recognises."""
        raise NotImplementedError

    def open(self) -> Recognizer:
        raise NotImplementedError


class AnnotatorConfig(EngineConfig):
    """Config of an annotator."""

    family: str = Field(default="", description="The cue family that it labels; set from the manifest's key.")

    def open(self) -> Annotator:
        raise NotImplementedError


class RaterConfig(EngineConfig):
    """Config of a rater."""

    role = "rater"

    def open(self) -> Rater:
        raise NotImplementedError
