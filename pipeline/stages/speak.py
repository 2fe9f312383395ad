"""`speak_query` and `speak_reply`: text and cues to waveform, encoded once as FLAC."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from manifests import schema
from manifests.errors import UserError
from manifests.ids import seed_of
from pipeline.audio import audio_hash, encode_hashed, flac_info
from pipeline.real import SOURCE, corpus_of
from pipeline.stage import EngineStage, Row
from synthesis.base import BatchSpeaker, EventSpan, Speaker, SpeakerConfig, Speech, Utterance

REPLY_STYLES: dict[str, tuple[str, float]] = {
    "cheerful": ("happy", 0.5), "sorry": ("sad", 0.3), "happy": ("happy", 0.8), "angry": ("angry", 0.5),
    "surprised": ("surprise", 0.6), "disgusted": ("disgust", 0.5), "sad": ("sad", 0.6), "afraid": ("fear", 0.5),
    "tearful": ("sad", 0.9), "comforting": ("sad", 0.2), "neutral": ("neutral", 0.0),
}  # fmt: skip
"""How each of the eleven reply emotions is spoken: one of the seven emotions, at a mild intensity."""


@dataclass(frozen=True)
class _Speak(EngineStage):
    engine: SpeakerConfig

    def utterance(self, row: Row) -> Utterance:
        """What to say, and how, for one row."""
        raise NotImplementedError

    def open(self) -> SpeakWorker:
        return SpeakWorker(self, self.engine.open())

    def audio_seconds(self, row: Any) -> float:
        return row["seconds"] or 0.0


@dataclass(frozen=True)
class SpeakQuery(_Speak):
    """Speak each query in a voice that carries the requested cues; a recorded one passes through untouched.

    Attributes:
        corpora: Name of each corpus and the folder of its audio files. Where they are is in no key: what a row holds
            is named by the sha256 in its plan.
    """

    corpora: tuple[tuple[str, Path], ...] = ()

    name = "speak_query"
    version = 4
    reads = (
        "plan.source", "plan.recording", "plan.query_speaker",
        "script.query_spoken", "plan.query_language", "plan.query_voice", "plan.query_recipe", "plan.age",
        "plan.gender", "plan.emotion", "plan.event", "plan.intensity", "plan.split",
    )  # fmt: skip
    writes = pa.schema([*schema.SPEECH, *schema.EVENT])

    def utterance(self, row: Row) -> Utterance:
        return Utterance(
            text=row["script.query_spoken"],
            language=row["plan.query_language"],
            voice=row["plan.query_voice"],
            recipe=row["plan.query_recipe"],
            age=row["plan.age"],
            gender=row["plan.gender"],
            emotion=row["plan.emotion"],
            event=row["plan.event"],
            intensity=row["plan.intensity"],
            seed=seed_of(row["id"], row["turn"], self.name),
            split=row["plan.split"],
        )


@dataclass(frozen=True)
class SpeakReply(_Speak):
    """Speak each reply in the assistant's voice, with the reply's emotion."""

    name = "speak_reply"
    version = 3
    writes = schema.SPEECH
    reads = ("script.reply_spoken", "script.reply_emotion", "plan.language", "plan.reply_voice")

    def utterance(self, row: Row) -> Utterance:
        emotion, intensity = REPLY_STYLES[row["script.reply_emotion"]]
        return Utterance(
            text=row["script.reply_spoken"],
            language=row["plan.language"],
            voice=row["plan.reply_voice"],
            emotion=emotion,
            intensity=intensity,
            seed=seed_of(row["id"], row["turn"], self.name),
        )

    def keyed(self) -> dict[str, Any]:
        return {**super().keyed(), "styles": {name: list(style) for name, style in REPLY_STYLES.items()}}


class SpeakWorker:
    """Speaks and encodes, row by row or as many at once as the speaker likes."""

    def __init__(self, stage: _Speak, speaker: Speaker) -> None:
        self.stage = stage
        self.speaker = speaker

    def process(self, rows: Sequence[Row]) -> list[dict[str, Any] | Exception]:
        """See `Worker.process`."""
        if not isinstance(self.speaker, BatchSpeaker) or len(rows) == 1:
            return [self.make(row) for row in rows]
        spoken = [row for row in rows if not self._is_recorded(row)]
        made = self.speaker.speak_all([self.stage.utterance(row) for row in spoken])
        if len(made) != len(spoken):
            raise ValueError(f"the engine spoke {len(made)} of {len(spoken)} utterances")
        speeches = iter(made)
        return [self.make(row) if self._is_recorded(row) else self._columns(next(speeches)) for row in rows]

    def make(self, row: Row) -> dict[str, Any]:
        """One row's waveform."""
        if self._is_recorded(row):
            assert isinstance(self.stage, SpeakQuery)
            return recorded(row, dict(self.stage.corpora))
        return self._encoded(self.speaker.speak(self.stage.utterance(row)))

    def _is_recorded(self, row: Row) -> bool:
        return isinstance(self.stage, SpeakQuery) and row["plan.source"] == SOURCE

    def _columns(self, speech: Speech | Exception) -> dict[str, Any] | Exception:
        return speech if isinstance(speech, Exception) else self._encoded(speech)

    def _encoded(self, speech: Speech) -> dict[str, Any]:
        # An engine whose rate follows from its weights says so when it is loaded.
        declared = getattr(self.speaker, "sample_rate", self.stage.engine.sample_rate_hz)
        if speech.sample_rate != declared:
            raise ValueError(f"the engine spoke at {speech.sample_rate} Hz where it declares {declared} Hz")
        audio, digest = encode_hashed(speech.samples, speech.sample_rate)
        out = {
            "audio": audio,
            "sample_rate": speech.sample_rate,
            "seconds": len(speech.samples) / speech.sample_rate,
            "audio_sha256": digest,
        }
        return out | (_event(speech.event) if "event_start" in self.stage.writes.names else {})


def recorded(row: Row, corpora: dict[str, Path]) -> dict[str, Any]:
    """The columns of a recorded query: the bytes of its file as they are.

    Raises:
        UserError: The corpus is not where it was; nothing is wrong with the row.
        ValueError: The file is missing, or is not the one that was planned.
    """
    name, wanted = corpus_of(row["plan.query_speaker"]), row["plan.recording"]
    folder = corpora.get(name)
    if folder is None or not folder.is_dir():
        raise UserError(f"{folder or name}: the corpus {name} is not there: put it back, or correct plan.real.corpora")
    path = folder / f"{wanted}.flac"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path.name} of the corpus {name} cannot be read ({error.strerror or error})") from None
    if hashlib.sha256(data).hexdigest() != wanted:
        raise ValueError(f"{path.name} of the corpus {name} is not the file that was planned: its sha256 is another")
    rate, samples = flac_info(data)
    spoken = {"audio": data, "sample_rate": rate, "seconds": samples / rate, "audio_sha256": audio_hash(data)}
    return spoken | _event(None)


def _event(span: EventSpan | None) -> dict[str, Any]:
    """The columns of `schema.EVENT`."""
    span = span or EventSpan("", 0.0, 0.0, "", 0.0, "")
    return {
        "event_start": span.start,
        "event_end": span.end,
        "event_position": span.position,
        "event_snr_db": span.snr_db,
        "event_source": span.source,
    }
