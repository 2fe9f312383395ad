"""`transcribe`, `annotate` and `rate`: what is heard in the audio that was spoken."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from annotators.base import AnnotatorConfig, RaterConfig, RecognizerConfig
from manifests import schema
from manifests.engine import EngineConfig
from pipeline.audio import decode_flac
from pipeline.stage import EngineStage, Row, RowWorker, Stage

ROLES = ("query", "reply")


@dataclass(frozen=True)
class Transcribe(EngineStage):
    """Recognise query and reply and score them against their texts (WER, CER)."""

    engine: RecognizerConfig

    name = "transcribe"
    version = 1
    reads = (
        "script.query_text",
        "speak_query.audio",
        "script.reply_text",
        "speak_reply.audio",
        "plan.language",
    )
    writes = schema.TRANSCRIPT

    def open(self) -> TranscribeWorker:
        return TranscribeWorker(self)


class TranscribeWorker(RowWorker):
    """Recognises both utterances of a row."""

    def __init__(self, stage: Transcribe) -> None:
        self.recognizer = stage.engine.open()

    def make(self, row: Row) -> dict[str, Any]:
        """Transcript and error rates of one row."""
        out: dict[str, Any] = {}
        for role in ROLES:
            samples, rate = decode_flac(row[f"speak_{role}.audio"])
            heard = self.recognizer.transcribe(samples, rate, row[f"script.{role}_text"], row["plan.language"])
            out |= {f"{role}_transcript": heard.text, f"{role}_wer": heard.wer, f"{role}_cer": heard.cer}
        return out


@dataclass(frozen=True)
class Annotate(Stage):
    """Recognise the cues in each query, one annotator a cue family."""

    annotators: tuple[tuple[str, AnnotatorConfig], ...]

    name = "annotate"
    version = 1
    reads = ("speak_query.audio",)

    @property
    def writes(self) -> pa.Schema:  # type: ignore[override]
        return schema.annotation(tuple(family for family, _ in self.annotators))

    @property
    def engines(self) -> tuple[EngineConfig, ...]:
        return tuple(engine for _, engine in self.annotators)

    def keyed(self) -> dict[str, Any]:
        return {"annotators": [[family, engine.keyed()] for family, engine in self.annotators]}

    def open(self) -> AnnotateWorker:
        return AnnotateWorker(self)


class AnnotateWorker(RowWorker):
    """Asks every annotator about each query."""

    def __init__(self, stage: Annotate) -> None:
        self.annotators = [(family, engine.open()) for family, engine in stage.annotators]

    def make(self, row: Row) -> dict[str, Any]:
        """Labels heard in one query."""
        samples, rate = decode_flac(row["speak_query.audio"])
        out: dict[str, Any] = {}
        for family, annotator in self.annotators:
            label = annotator.annotate(samples, rate)
            out |= {
                f"heard_{family}": label.value,
                f"heard_{family}_p": max(label.probabilities.values()),
                f"heard_{family}_probabilities": json.dumps(label.probabilities, sort_keys=True),
                f"heard_{family}_evidence": json.dumps(label.evidence, sort_keys=True),
            }
        return out


@dataclass(frozen=True)
class Rate(EngineStage):
    """Measure the signal quality of query and reply."""

    engine: RaterConfig

    name = "rate"
    version = 1
    reads = ("speak_query.audio", "speak_reply.audio")
    writes = schema.QUALITY

    def open(self) -> RateWorker:
        return RateWorker(self)


class RateWorker(RowWorker):
    """Rates both utterances of a row."""

    def __init__(self, stage: Rate) -> None:
        self.rater = stage.engine.open()

    def make(self, row: Row) -> dict[str, Any]:
        """Quality of one row."""
        out: dict[str, Any] = {}
        for role in ROLES:
            quality = self.rater.rate(*decode_flac(row[f"speak_{role}.audio"]))
            out |= {f"{role}_{name}": float(value) for name, value in asdict(quality).items()}
        return out
