"""`tokenize`: the reply as discrete speech tokens, the target of a spoken-dialogue model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from manifests import schema
from pipeline.audio import decode_flac
from pipeline.stage import EngineStage, Row
from synthesis.base import BatchCodec, CodecConfig


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


class TokenizeWorker:
    """Encodes row by row, or as many at once as the codec likes."""

    def __init__(self, stage: Tokenize) -> None:
        self.codec = stage.engine.open()

    def process(self, rows: Sequence[Row]) -> list[dict[str, Any] | Exception]:
        """See `Worker.process`."""
        clips = [decode_flac(row["speak_reply.audio"]) for row in rows]
        if isinstance(self.codec, BatchCodec):
            found = self.codec.encode_all(clips)
        else:
            found = [self.codec.encode(*clip) for clip in clips]
        return [tokens if isinstance(tokens, Exception) else self._columns(tokens) for tokens in found]

    def _columns(self, tokens: np.ndarray) -> dict[str, Any]:
        return {
            "reply_tokens": [int(token) for token in tokens],
            "token_rate": self.codec.token_rate,
            "codebook_size": self.codec.codebook_size,
        }
