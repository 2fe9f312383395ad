"""`transcribe`, `annotate` and `rate`: what is heard in the audio that was spoken."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from annotators.base import AnnotatorConfig, BatchRecognizer, Label, RaterConfig, RecognizerConfig, Spoken, Transcript
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
    version = 6
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

    @property
    def batch_rows(self) -> int:
        return self.engine.batch_rows

    def keyed(self) -> dict[str, Any]:
        return {**super().keyed(), "spoken": SPOKEN}

    def open(self) -> TranscribeWorker:
        return TranscribeWorker(self)


class TranscribeWorker:
    """Recognises both utterances of each row, those of several rows at once where the recognizer gains from it."""

    def __init__(self, stage: Transcribe) -> None:
        self.recognizer = stage.engine.open()
        self.languages = stage.engine.languages

    def process(self, rows: Sequence[Row]) -> list[dict[str, Any] | Exception]:
        """Transcripts and error rates; see `Worker.process`."""
        asked = [(place, role) for place, row in enumerate(rows) for role in ROLES if self._knows(row, role)]
        spoken = [_spoken(rows[place], role) for place, role in asked]
        heard = dict(zip(asked, self._hear(spoken), strict=True))
        return [_transcripts([heard.get((place, role)) for role in ROLES]) for place in range(len(rows))]

    def _knows(self, row: Row, role: str) -> bool:
        # A recording may be in a language that the recognizer does not know; replies never are.
        return role == "reply" or _language(row, role) in self.languages

    def _hear(self, spoken: Sequence[Spoken]) -> list[Transcript | Exception]:
        if isinstance(self.recognizer, BatchRecognizer):
            return self.recognizer.transcribe_batch(spoken)
        hear = self.recognizer.transcribe
        return [hear(one.samples, one.sample_rate, one.reference, one.language) for one in spoken]


def _language(row: Row, role: str) -> str:
    return row["plan.query_language" if role == "query" else "plan.language"]


def _spoken(row: Row, role: str) -> Spoken:
    samples, rate = decode_flac(row[f"speak_{role}.audio"])
    if role == "query":
        samples = without(samples, rate, row["speak_query.event_start"], row["speak_query.event_end"])
    return Spoken(samples, rate, row[f"script.{role}_spoken"], _language(row, role))


def _transcripts(heard: Sequence[Transcript | Exception | None]) -> dict[str, Any] | Exception:
    """The columns of a row from what was heard in its query and reply; None where nobody listened."""
    out: dict[str, Any] = {}
    for role, one in zip(ROLES, heard, strict=True):
        if isinstance(one, Exception):
            return one
        if one is None:
            out |= dict.fromkeys(name for name in schema.TRANSCRIPT.names if name.startswith(role))
            continue
        words = None if one.words is None else json.dumps([asdict(word) for word in one.words], ensure_ascii=False)
        out |= {
            f"{role}_transcript": one.text,
            f"{role}_wer": one.wer,
            f"{role}_cer": one.cer,
            f"{role}_oov": one.oov,
            f"{role}_mismatch": None if math.isnan(one.mismatch) else one.mismatch,
            f"{role}_words": words,
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
        embedded = [slot for slot, engine in self.annotators if engine.keeps_embedding]
        return schema.annotation(tuple(slot for slot, _ in self.annotators), embedded)

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
        self.annotators = [(slot, engine, engine.open()) for slot, engine in stage.annotators]

    def make(self, row: Row) -> dict[str, Any]:
        """Labels heard in one query. Only the annotators of events hear the event; the others hear the words."""
        whole = Clip(*decode_flac(row["speak_query.audio"]), Reference.from_json(row.get(REFERENCE, "")))
        start, end = row["speak_query.event_start"], row["speak_query.event_end"]
        words = whole.without(start, end) if end > start else whole
        out: dict[str, Any] = {}
        for slot, engine, annotator in self.annotators:
            label = annotator.annotate(whole if engine.family == "event" else words)
            out |= {
                f"heard_{slot}": label.value,
                f"heard_{slot}_p": confidence(label),
                f"heard_{slot}_probabilities": json.dumps(label.probabilities, sort_keys=True),
                f"heard_{slot}_evidence": json.dumps(_finite(label.evidence), sort_keys=True),
            }
            if engine.keeps_embedding:
                out[f"heard_{slot}_embedding"] = None if label.embedding is None else label.embedding.tolist()
        return out


def confidence(label: Label) -> float:
    """Probability of the label given, which need not be the likeliest; of `none`, that of the likeliest class."""
    return label.probabilities.get(label.value, max(label.probabilities.values()))


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
