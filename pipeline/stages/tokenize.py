"""`tokenize`: the reply as discrete speech tokens, the target of a spoken-dialogue model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from manifests import schema
from pipeline.audio import decode_flac
from pipeline.stage import EngineStage, Row, RowWorker
from synthesis.base import CodecConfig


@dataclass(frozen=True)
class Tokenize(EngineStage):
    """Encode each reply as speech tokens."""

    engine: CodecConfig

    name = "tokenize"
    version = 1
    reads = ("speak_reply.audio",)
    writes = schema.TOKENS

    def open(self) -> TokenizeWorker:
        return TokenizeWorker(self)


class TokenizeWorker(RowWorker):
    """Encodes row by row."""

    def __init__(self, stage: Tokenize) -> None:
        self.codec = stage.engine.open()

    def make(self, row: Row) -> dict[str, Any]:
        """Tokens of one reply."""
        tokens = self.codec.encode(*decode_flac(row["speak_reply.audio"]))
        return {
            "reply_tokens": [int(token) for token in tokens],
            "token_rate": self.codec.token_rate,
            "codebook_size": self.codec.codebook_size,
        }
