"""`transcribe`, `annotate` and `rate`: what is heard in the audio that was spoken."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from annotators.base import AnnotatorConfig, RaterConfig, RecognizerConfig
from annotators.clip import Clip, Reference
from manifests import schema
from manifests.engine import EngineConfig
from manifests.spoken import VERSION as SPOKEN
from pipeline.audio import decode_flac, without
from pipeline.stage import REFERENCE, EngineStage, Row, RowWorker, Stage

ROLES = ("query", "reply")


@dataclass(frozen=True)
class Transcribe(EngineStage):
    """Recognise query and reply and score them against their texts (WER, CER)."""

    engine: RecognizerConfig

    name = "transcribe"
    version = 5
    reads = (
        "script.query_spoken",
        "speak_query.audio",
        "script.reply_spoken",
        "speak_reply.audio",
        "plan.query_language",
        "plan.language",
        "speak_query.event_start",
        "speak_query.event_end",
    )
    writes = schema.TRANSCRIPT

    def keyed(self) -> dict[str, Any]:
        return {**super().keyed(), "spoken": SPOKEN}

    def open(self) -> TranscribeWorker:
        return TranscribeWorker(self)


class TranscribeWorker(RowWorker):
    """Recognises both utterances of a row."""

    def __init__(self, stage: Transcribe) -> None:
        self.recognizer = stage.engine.open()
        self.languages = stage.engine.languages

    def make(self, row: Row) -> dict[str, Any]:
        """Transcript and error rates of one row."""
        out: dict[str, Any] = {}
        for role in ROLES:
            language = row["plan.query_language" if role == "query" else "plan.language"]
            if role == "query" and language not in self.languages:
                # A recording may be in a language that the recognizer does not know; replies never are.
                out |= dict.fromkeys(("query_transcript", "query_wer", "query_cer", "query_mismatch", "query_oov"))
                continue
            samples, rate = decode_flac(row[f"speak_{role}.audio"])
            if role == "query":
                samples = without(samples, rate, row["speak_query.event_start"], row["speak_query.event_end"])
            heard = self.recognizer.transcribe(samples, rate, row[f"script.{role}_spoken"], language)
            out |= {
                f"{role}_transcript": heard.text,
                f"{role}_wer": heard.wer,
                f"{role}_cer": heard.cer,
                f"{role}_oov": heard.oov,
                f"{role}_mismatch": None if math.isnan(heard.mismatch) else heard.mismatch,
            }
        return out


@dataclass(frozen=True)
class Annotate(Stage):
    """Recognise the cues in each query.

    Attributes:
        annotators: By slot, the name of a cue family, with `_2` and so on for its second annotator and later ones.
    """

    annotators: tuple[tuple[str, AnnotatorConfig], ...]

    name = "annotate"
    version = 2

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        columns = ("speak_query.audio", "speak_query.event_start", "speak_query.event_end")
        return (*columns, "plan.query_voice", REFERENCE) if self.needs_references else columns

    @property
    def needs_references(self) -> bool:
        """Whether an annotator wants to know the clip's voice."""
        return any(engine.needs_reference for _, engine in self.annotators)

    @property
    def writes(self) -> pa.Schema:  # type: ignore[override]
        return schema.annotation(tuple(slot for slot, _ in self.annotators))

    @property
    def engines(self) -> tuple[EngineConfig, ...]:
        return tuple(engine for _, engine in self.annotators)

    def keyed(self) -> dict[str, Any]:
        return {"annotators": [[slot, engine.keyed()] for slot, engine in self.annotators]}

    def open(self) -> AnnotateWorker:
        return AnnotateWorker(self)


class AnnotateWorker(RowWorker):
    """Asks every annotator about each query."""

    def __init__(self, stage: Annotate) -> None:
        self.annotators = [(slot, engine.family, engine.open()) for slot, engine in stage.annotators]

    def make(self, row: Row) -> dict[str, Any]:
        """Labels heard in one query. Only the annotators of events hear the event; the others hear the words."""
        whole = Clip(*decode_flac(row["speak_query.audio"]), Reference.from_json(row.get(REFERENCE, "")))
        start, end = row["speak_query.event_start"], row["speak_query.event_end"]
        words = whole.without(start, end) if end > start else whole
        out: dict[str, Any] = {}
        for slot, family, annotator in self.annotators:
            label = annotator.annotate(whole if family == "event" else words)
            out |= {
                f"heard_{slot}": label.value,
                f"heard_{slot}_p": max(label.probabilities.values()),
                f"heard_{slot}_probabilities": json.dumps(label.probabilities, sort_keys=True),
                f"heard_{slot}_evidence": json.dumps(_finite(label.evidence), sort_keys=True),
            }
        return out


def _finite(evidence: Mapping[str, float]) -> dict[str, float]:
    """Without what could not be measured: JSON has no NaN."""
    return {name: value for name, value in evidence.items() if math.isfinite(value)}


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
