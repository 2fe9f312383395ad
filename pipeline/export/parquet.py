"""Plain Parquet with the sound inside, as `datasets.Audio` and any reader of Parquet have it.

data/<split>-00000.parquet     a row a turn: the columns of a release's index, `query_audio` and `reply_audio` (struct
                               of `bytes`, FLAC, and `path`, its name), `reply_token_ids`

Turns of a dialogue follow each other in one file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.schema import field
from pipeline.export.base import Request, SplitCounts
from pipeline.export.source import Dialogue
from pipeline.flat import COLUMNS, flat_rows

_AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_ROWS, _BYTES = 100, 32 << 20
"""Most rows and bytes of sound of a row group: what a reader must hold at once."""


def _schema() -> pa.Schema:
    """With what `datasets` reads its features from."""
    columns = [
        *COLUMNS,
        field("query_audio", _AUDIO, "the user's voice", "FLAC"),
        field("reply_audio", _AUDIO, "the assistant's voice", "FLAC"),
        field("reply_token_ids", pa.list_(pa.int32()), "speech tokens of the reply"),
    ]
    features: dict[str, Any] = {}
    for column in columns:
        kind = str(column.type)
        features[column.name] = {"dtype": {"double": "float64"}.get(kind, kind), "_type": "Value"}
        if column.type == _AUDIO:
            features[column.name] = {"_type": "Audio"}
        elif pa.types.is_list(column.type):
            features[column.name] = {"feature": {"dtype": "int32", "_type": "Value"}, "_type": "Sequence"}
    return pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})


SCHEMA = _schema()


class ParquetFiles:
    """Writes one split."""

    def __init__(self, request: Request, folder: Path, split: str, dataset: str) -> None:
        self.counts = SplitCounts()
        self._most, self._folder, self._split = request.rows, folder / "data", split
        self._folder.mkdir(exist_ok=True)
        self._number = self._in_file = self._bytes = 0
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[dict[str, Any]] = []

    def write(self, dialogue: Dialogue) -> None:
        """See `SplitWriter.write`."""
        document = dialogue.document.model_dump()
        if not self._in_file or self._in_file + document["num_turns"] > self._most:
            self._next()
        sounds = zip(dialogue.queries, dialogue.replies, dialogue.tokens, strict=True)
        for row, (query, reply, tokens) in zip(flat_rows(document), sounds, strict=True):
            name = f"{row['id']}.{row['turn']}"
            self._waiting.append({
                **row,
                "query_audio": {"bytes": query, "path": f"{name}.query.flac"},
                "reply_audio": {"bytes": reply, "path": f"{name}.reply.flac"},
                "reply_token_ids": tokens,
            })  # fmt: skip
            self._bytes += len(query) + len(reply)
            self._in_file += 1
            self.counts.samples += 1
            if len(self._waiting) >= _ROWS or self._bytes >= _BYTES:
                self._flush()

    def _flush(self) -> None:
        if self._waiting and self._writer is not None:
            self._writer.write_table(pa.Table.from_pylist(self._waiting, SCHEMA))
        self._waiting, self._bytes = [], 0

    def _next(self) -> None:
        self.close()
        path = self._folder / f"{self._split}-{self._number:05d}.parquet"
        # FLAC and hashes do not compress; zstd takes the texts.
        self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        self._number, self._in_file = self._number + 1, 0

    def close(self) -> None:
        """See `SplitWriter.close`."""
        self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
