"""`speak_query` and `speak_reply`: text and cues to waveform, encoded once as FLAC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from manifests import schema
from manifests.ids import seed_of
from pipeline.audio import encode_flac
from pipeline.stage import EngineStage, Row, RowWorker
from synthesis.base import EventSpan, Speaker, SpeakerConfig, Speech, Utterance

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
    """Speak each query in a voice that carries the requested cues."""

    name = "speak_query"
    version = 3
    reads = (
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
    version = 2
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


class SpeakWorker(RowWorker):
    """Speaks and encodes."""

    def __init__(self, stage: _Speak, speaker: Speaker) -> None:
        self.stage = stage
        self.speaker = speaker

    def make(self, row: Row) -> dict[str, Any]:
        """One row's waveform."""
        speech = self.speaker.speak(self.stage.utterance(row))
        out = {
            "audio": encode_flac(speech.samples, speech.sample_rate),
            "sample_rate": speech.sample_rate,
            "seconds": len(speech.samples) / speech.sample_rate,
        }
        return out | (_event(speech) if "event_start" in self.stage.writes.names else {})


def _event(speech: Speech) -> dict[str, Any]:
    """The columns of `schema.EVENT`."""
    span = speech.event or EventSpan("", 0.0, 0.0, "", 0.0, "")
    return {
        "event_start": span.start,
        "event_end": span.end,
        "event_position": span.position,
        "event_snr_db": span.snr_db,
        "event_source": span.source,
    }
