"""The index of a release: Parquet without audio, a row per turn, to be queried before anything large is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.schema import field
from pipeline.flat import COLUMNS, flat_rows
from pipeline.inspect import read_documents
from pipeline.tar import open_tar

_ROWS = 5000

SCHEMA = pa.schema([
    *COLUMNS,
    field("shard", pa.string(), "tar that holds the dialogue"),
    field("query_offset", pa.int64(), "where the query's FLAC begins in the tar", "byte"),
    field("query_size", pa.int64(), "its size", "byte"),
    field("reply_offset", pa.int64(), "where the reply's FLAC begins in the tar", "byte"),
    field("reply_size", pa.int64(), "its size", "byte"),
])  # fmt: skip


def write_index(shards: Path, split: str, names: list[str], out: Path) -> int:
    """Write the index of one split, shard by shard; return its rows.

    Args:
        shards: Folder of the tars.
        split: Whose; every dialogue must be of it.
        names: Its tars.
        out: The Parquet file.
    """
    rows: list[dict[str, Any]] = []
    written = 0
    with pq.ParquetWriter(out, SCHEMA, compression="zstd") as writer:
        for name in names:
            places = _places(shards / name)
            for document in read_documents(shards / name):
                assert document["split"] == split, f"{document['id']} is not of {split}"
                rows += _rows(document, name, places)
                if len(rows) >= _ROWS:
                    writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
                    written, rows = written + len(rows), []
        writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
    return written + len(rows)


def _places(tar: Path) -> dict[str, tuple[int, int]]:
    """Offset and size of every member's content."""
    with open_tar(tar) as archive:
        return {member.name: (member.offset_data, member.size) for member in archive}


def _rows(document: dict[str, Any], shard: str, places: dict[str, tuple[int, int]]) -> Iterator[dict[str, Any]]:
    for row in flat_rows(document):
        for role in ("query", "reply"):
            row[f"{role}_offset"], row[f"{role}_size"] = places[f"{row['id']}.{row['turn']}.{role}.flac"]
        yield {**row, "shard": shard}
