"""The protocol of a speaker: an utterance and the cues that its voice must carry in, a waveform out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from manifests.engine import Capabilities, EngineConfig
from manifests.labels import NONE


@dataclass(frozen=True)
class Utterance:
    """One utterance to speak.

    Attributes:
        text: Plain text, already checked to be non-empty and in `language`.
        voice: Name of a voice that the engine knows (`manifests/voices/`).
        intensity: How strongly the emotion shows, 0 (not at all) to 1.
        seed: Of every random draw that the engine makes; the same utterance always sounds the same.
        recipe: How the engine makes the voice (`manifests.recipe`); empty to go by the voice's name.
        split: Of the row; an engine that mixes in recordings takes those of this split alone.
    """

    text: str
    voice: str
    seed: int
    language: str = "en"
    age: str = "adult"
    gender: str = NONE
    emotion: str = "neutral"
    event: str = NONE
    intensity: float = 1.0
    split: str = ""
    recipe: str = ""


@dataclass(frozen=True)
class EventSpan:
    """Where a vocal sound event lies in a finished waveform.

    Attributes:
        label: A value of `manifests.labels.EVENTS`.
        start: In seconds.
        end: In seconds; an event takes time of its own, no word overlaps it.
        position: `before`, `within` (at a pause) or `after` the words.
        snr_db: Level of the event over that of the words, both while active.
        source: `voice` (made with the speaker's own voice) or the name of the recording.
    """

    label: str
    start: float
    end: float
    position: str
    snr_db: float
    source: str


@dataclass(frozen=True)
class Speech:
    """A mono waveform: `samples` float32 (num_samples,) in [-1, 1] at `sample_rate` Hz, and its sound event."""

    samples: np.ndarray
    sample_rate: int
    event: EventSpan | None = None


class Speaker(Protocol):
    """A loaded engine. Deterministic: equal utterances give equal samples, whatever was spoken before.

    All speech has the rate that the config declares, or that of an attribute `sample_rate`, in Hz, for an engine whose
    rate follows from its weights; a row at another rate is quarantined.
    """

    def speak(self, utterance: Utterance) -> Speech:
        """Speak one utterance.

        Raises:
            ValueError: This utterance cannot be spoken (the row is quarantined with the message).
        """
        ...


@runtime_checkable
class BatchSpeaker(Protocol):
    """A speaker that gains from speaking several utterances at once."""

    def speak_all(self, utterances: Sequence[Utterance]) -> list[Speech | Exception]:
        """Speak `batch_rows` utterances at most; in order, each as `speak` would, or why it cannot be spoken."""
        ...


class SpeakerConfig(EngineConfig):
    """Config of a speaker; adds what it can render.

    Attributes:
        seconds_per_char: Mean duration of speech per character of text, for `echat plan`.
        sample_rate_hz: Rate of its waveforms, likewise.
    """

    role = "speaker"
    seconds_per_char: ClassVar[float]
    sample_rate_hz: ClassVar[int]

    @property
    def capabilities(self) -> Capabilities:
        """Languages and labels that this engine renders."""
        raise NotImplementedError

    @property
    def event_licences(self) -> tuple[str, ...]:
        """Licences of the recorded sound events that it puts into speech; they hold for the dataset too."""
        return ()

    @property
    def closed_events(self) -> tuple[str, ...]:
        """Collections of those recordings that may not be passed on, for messages."""
        return ()

    def has_voice(self, voice: str, recipe: str = "") -> bool:
        """Whether the engine can speak as a voice of a table; every one, unless the engine knows better."""
        return True

    @property
    def references(self) -> Path | None:
        """Folder of measured takes of this engine's voices that ship, laid out as a run's `stages`, or None."""
        return None

    @property
    def voices(self) -> str:
        """Name of the voice table in `manifests/voices/` that lists this engine's voices."""
        raise NotImplementedError

    @property
    def voice_table(self) -> Path | None:
        """A voice table of its own that does not ship, or None."""
        return None

    def open(self) -> Speaker:
        raise NotImplementedError


class SpeechCodec(Protocol):
    """Waveform to discrete tokens and back, at `token_rate` tokens a second (25, as OSUM-EChat)."""

    token_rate: int
    codebook_size: int

    def encode(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """Tokens int32 (num_tokens,), num_tokens = ceil(seconds * token_rate), each in [0, codebook_size)."""
        ...

    def decode(self, tokens: np.ndarray) -> Speech:
        """A waveform of num_tokens / token_rate seconds; a sketch of the sound, not its equal."""
        ...


@runtime_checkable
class BatchCodec(Protocol):
    """A codec that gains from encoding several waveforms at once."""

    def encode_all(self, clips: Sequence[tuple[np.ndarray, int]]) -> list[np.ndarray | Exception]:
        """Tokens of each (samples, sample_rate), in order, each as `encode` would give, or why there are none."""
        ...


class CodecConfig(EngineConfig):
    """Config of a speech codec."""

    role = "codec"

    def open(self) -> SpeechCodec:
        raise NotImplementedError
