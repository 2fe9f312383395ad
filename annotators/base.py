"""Protocols of the engines that listen: recognizers, annotators, raters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from pydantic import Field

from annotators.clip import Clip
from manifests.engine import EngineConfig


@dataclass(frozen=True)
class Word:
    """A word with its start and end in seconds and how well it fits there, 0 to 1."""

    word: str
    start: float
    end: float
    score: float


@dataclass(frozen=True)
class Transcript:
    """What a recognizer heard, scored against the text that was to be spoken.

    Attributes:
        text: The hypothesis, normalised as the reference is.
        reference: The reference after the same normalisation.
        wer: Word error rate against the reference, at least 0; 1.0 when nothing was heard.
        cer: Character error rate against the reference.
        oov: Words of the reference that the recognizer's dictionary lacks; None for one without a dictionary.
        mismatch: From 0 (the audio says just this text) to 1 (it does not); NaN where it is not measured.
        words: When each word was said, in order; None where that is not measured or not to be trusted.
    """

    text: str
    reference: str
    wer: float
    cer: float
    mismatch: float = math.nan
    oov: int | None = None
    words: tuple[Word, ...] | None = None


@dataclass(frozen=True)
class Spoken:
    """An utterance to recognise: float32 (num_samples,) in [-1, 1], mono, and the text that it should say."""

    samples: np.ndarray
    sample_rate: int
    reference: str
    language: str


class Recognizer(Protocol):
    """A loaded recognizer. `samples` float32 (num_samples,) in [-1, 1], mono."""

    def transcribe(self, samples: np.ndarray, sample_rate: int, reference: str, language: str) -> Transcript:
        """Recognise one utterance; the result depends on these arguments only."""
        ...


@runtime_checkable
class BatchRecognizer(Protocol):
    """A recognizer that is faster with several utterances at once."""

    def transcribe_batch(self, batch: Sequence[Spoken]) -> list[Transcript | Exception]:
        """Recognise each, in order, as `transcribe` would; or say why one could not be.

        Raises an exception for the whole batch only where that cannot be laid at one utterance (memory, say).
        """
        ...


@dataclass(frozen=True)
class Label:
    """A recognised label with the probability of every class (they sum to 1) and the evidence as numbers.

    Attributes:
        embedding: float32 (size,) of the clip, where the annotator was asked to keep it.
    """

    value: str
    probabilities: dict[str, float]
    evidence: dict[str, float]
    embedding: np.ndarray | None = None


@dataclass(frozen=True)
class Example:
    """A clip that people labelled: what a head is trained on."""

    clip: Clip
    label: str
    speaker: str


class Annotator(Protocol):
    """A loaded annotator of one cue family. Never raises for odd audio: it answers with low confidence."""

    def annotate(self, clip: Clip) -> Label:
        """Label one clip; the result depends on the clip, its voice's reference and shipped files only."""
        ...


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

    @property
    def batch_rows(self) -> int:
        """Rows whose utterances it is given at once; one, unless it is a `BatchRecognizer`."""
        return 1

    def open(self) -> Recognizer:
        raise NotImplementedError


class AnnotatorConfig(EngineConfig):
    """Config of an annotator.

    Attributes:
        needs_reference: Whether it is better with the reference of the clip's voice (`Clip.reference`), which the
            pipeline then makes before anything is annotated.
        consistency_only: It recognises our own synthesis and says nothing reliable about real people.
    """

    needs_reference: ClassVar[bool] = False
    consistency_only: ClassVar[bool] = False

    family: str = Field(default="", description="The cue family that it labels; set from the manifest's key.")

    @property
    def keeps_embedding(self) -> bool:
        """Whether its labels carry an embedding of the clip, which then becomes a column of the table."""
        return False

    def thresholds(self) -> dict[str, float]:
        """Least probability per label that held the target precision where the engine was last calibrated.

        Used where a run has too few rows to calibrate its own; empty for none.
        """
        return {}

    def card(self) -> Mapping[str, Any]:
        """What its model was trained on (`annotators.fingerprint`); empty where it was trained on nothing."""
        return {}

    def fit(self, examples: Sequence[Example]) -> Annotator:
        """A loaded annotator whose head is trained on labelled clips instead, where the engine has one.

        Args:
            examples: Their clips keep measurements (`cues`, `embedding`) and reference; the samples are cut off.

        Raises:
            ValueError: The examples do not suffice.
        """
        raise NotImplementedError

    def open(self) -> Annotator:
        raise NotImplementedError


class RaterConfig(EngineConfig):
    """Config of a rater."""

    role = "rater"

    def open(self) -> Rater:
        raise NotImplementedError
