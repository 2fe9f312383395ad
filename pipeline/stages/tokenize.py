"""`tokenize`: the reply as discrete speech tokens, the target of a spoken-dialogue model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from manifests import schema
from manifests.engine import EngineConfig
from pipeline.audio import decode_flac
from pipeline.stage import Row, Stage
from synthesis.base import CodecConfig


@dataclass(frozen=True)
class Tokenize(Stage):
    """Encode each reply as speech tokens."""

    engine: CodecConfig

    name = "tokenize"
    version = 1
    reads = ("speak_reply.audio",)
    writes = schema.TOKENS

    @property
    def engines(self) -> tuple[EngineConfig, ...]:
        return (self.engine,)

    def open(self) -> TokenizeWorker:
        return TokenizeWorker(self)


class TokenizeWorker:
    """Encodes row by row."""

    def __init__(self, stage: Tokenize) -> None:
        self.codec = stage.engine.open()

    def process(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        return [self.tokenize(row) for row in rows]

    def tokenize(self, row: Row) -> dict[str, Any]:
        """Tokens of one reply."""
        tokens = self.codec.encode(*decode_flac(row["speak_reply.audio"]))
        return {
            "reply_tokens": [int(token) for token in tokens],
            "token_rate": self.codec.token_rate,
            "codebook_size": self.codec.codebook_size,
        }
