"""The index of a release: Parquet without audio, a row per turn, to be queried before anything large is fetched."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.labels import CUES
from manifests.schema import field
from pipeline.inspect import read_documents

_ROWS = 5000

TURN = pa.schema([
    field("id", pa.string(), "dialogue"),
    field("turn", pa.int32(), "turn, from 0"),
    field("num_turns", pa.int32(), "turns of the dialogue"),
    field("split", pa.string(), "train, validation or test"),
    field("task", pa.string(), "what the dialogue is about"),
    field("language", pa.string(), "of the reply", "ISO 639-1"),
    field("query_language", pa.string(), "of the query", "ISO 639-1"),
    field("source", pa.string(), "synthetic or real query audio"),
    field("corpus", pa.string(), "corpus of a recorded query, or empty"),
    field("pair", pa.string(), "contrastive group, or empty"),
    field("cues", pa.string(), "cue families that the reply answers to, joined by +"),
    *(field(family, pa.string(), f"requested {family} of the query voice, or none") for family in CUES),
    field("intensity", pa.float64(), "how strongly the emotion shows", "0..1"),
    field("reply_emotion", pa.string(), "emotion in which the reply is spoken"),
    field("query_text", pa.string(), "what the user says"),
    field("reply_text", pa.string(), "what the assistant answers"),
    field("think_text", pa.string(), "natural-language think text"),
    field("think_tag", pa.string(), "tag-form think text"),
    field("query_voice", pa.string(), "voice of the query"),
    field("query_speaker", pa.string(), "speaker behind it; splits are disjoint in it"),
    field("query_wer", pa.float64(), "word error rate of the query; -1 unmeasured", "ratio"),
    field("reply_wer", pa.float64(), "word error rate of the reply; -1 unmeasured", "ratio"),
    field("query_seconds", pa.float64(), "duration of the query", "s"),
    field("reply_seconds", pa.float64(), "duration of the reply", "s"),
    field("reply_tokens", pa.int32(), "speech tokens of the reply"),
])  # fmt: skip
"""What is said of a turn wherever it is a row."""

SCHEMA = pa.schema([
    *TURN,
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
    with tarfile.open(tar, "r:") as archive:
        return {member.name: (member.offset_data, member.size) for member in archive}


def _rows(document: dict[str, Any], shard: str, places: dict[str, tuple[int, int]]) -> Iterator[dict[str, Any]]:
    for turn in document["turns"]:
        query_place = places[f"{document['id']}.{turn['turn']}.query.flac"]
        reply_place = places[f"{document['id']}.{turn['turn']}.reply.flac"]
        yield {
            **turn_columns(document, turn),
            "shard": shard,
            "query_offset": query_place[0],
            "query_size": query_place[1],
            "reply_offset": reply_place[0],
            "reply_size": reply_place[1],
        }


def turn_columns(document: Mapping[str, Any], turn: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of `TURN` of a turn of a dialogue's JSON."""
    query, reply = turn["query"], turn["reply"]
    return {
        **{name: document[name] for name in ("id", "num_turns", "split", "task", "language", "query_language")},
        **{name: document[name] for name in ("source", "pair")},
        "turn": turn["turn"],
        "corpus": document["corpus"]["name"],
        "cues": "+".join(turn["cues"]),
        **{family: query["requested"][family] for family in CUES},
        "intensity": query["requested"]["intensity"],
        "reply_emotion": reply["emotion"],
        "query_text": query["text"],
        "reply_text": reply["text"],
        "think_text": turn["think_text"],
        "think_tag": turn["think_tag"],
        "query_voice": query["voice"],
        "query_speaker": query["speaker"],
        "query_wer": query["wer"],
        "reply_wer": reply["wer"],
        "query_seconds": query["seconds"],
        "reply_seconds": reply["seconds"],
        "reply_tokens": reply["num_tokens"],
    }
