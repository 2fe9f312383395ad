"""The transcribe stage with a recognizer that takes several utterances at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

import numpy as np

from annotators.base import Recognizer, RecognizerConfig, Spoken, Transcript, Word
from manifests import schema
from pipeline.audio import encode_flac
from pipeline.stages.listen import Transcribe

LANGUAGES = ("en",)


class Batcher:
    """Hears the reference; fails at the word `bad`; notes how much it was given."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def transcribe(self, samples: np.ndarray, sample_rate: int, reference: str, language: str) -> Transcript:
        raise AssertionError("asked one by one")

    def transcribe_batch(self, batch: Sequence[Spoken]) -> list[Transcript | Exception]:
        self.sizes.append(len(batch))
        return [
            ValueError("cannot hear") if "bad" in one.reference
            else Transcript(one.reference, one.reference, 0.0, 0.0, words=(Word(one.reference, 0.0, 0.5, 0.9),))
            for one in batch
        ]  # fmt: skip


class BatcherConfig(RecognizerConfig):
    licence = "Apache-2.0"
    engine: Literal["batcher"] = "batcher"

    @property
    def languages(self) -> tuple[str, ...]:
        return LANGUAGES

    @property
    def batch_rows(self) -> int:
        return 5

    def revision(self) -> str:
        return "batcher/1"

    def open(self) -> Recognizer:
        return Batcher()


def row(query: str, reply: str, language: str = "en") -> dict:
    audio = encode_flac(np.full(1600, 0.1, np.float32), 16000)
    return {
        "script.query_spoken": query, "script.reply_spoken": reply, "speak_query.audio": audio,
        "speak_reply.audio": audio, "plan.query_language": language, "plan.language": "en",
        "speak_query.event_start": 0.0, "speak_query.event_end": 0.0,
    }  # fmt: skip


def test_rows_share_a_batch_and_a_failed_one_leaves_the_others() -> None:
    stage = Transcribe(BatcherConfig())
    assert stage.batch_rows == 5
    worker = stage.open()
    out = worker.process([row("one", "two"), row("three", "bad"), row("fünf", "six", "de"), row("seven", "eight")])
    assert worker.recognizer.sizes == [7], "all but the query in a language that it does not know"
    assert isinstance(out[1], ValueError)
    first, third, fourth = (one for one in out if not isinstance(one, Exception))
    assert set(first) == set(schema.TRANSCRIPT.names)
    assert (first["query_transcript"], first["reply_transcript"]) == ("one", "two")
    assert json.loads(first["query_words"]) == [{"word": "one", "start": 0.0, "end": 0.5, "score": 0.9}]
    assert third["query_transcript"] is None
    assert third["query_words"] is None
    assert third["reply_transcript"] == "six"
    assert fourth["query_transcript"] == "seven"
