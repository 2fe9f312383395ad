"""A dialogue's JSON as a flat row per turn: what an index holds, what filters and histograms name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from manifests.labels import CUES
from manifests.schema import field
from pipeline.sample import UNMEASURED

COLUMNS = pa.schema([
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
    field("query_snr_db", pa.float64(), "speech level over non-speech level of the query", "dB"),
    field("reply_snr_db", pa.float64(), "the same of the reply", "dB"),
    field("query_mos", pa.float64(), "predicted opinion score of the query; -1 unmeasured", "MOS"),
    field("reply_mos", pa.float64(), "the same of the reply", "MOS"),
    field("reply_tokens", pa.int32(), "speech tokens of the reply"),
])  # fmt: skip


def flat_rows(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The columns of `COLUMNS` for every turn of a dialogue of a shard."""
    for turn in document["turns"]:
        query, reply = turn["query"], turn["reply"]
        yield {
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
            "query_snr_db": query["quality"]["snr_db"],
            "reply_snr_db": reply["quality"]["snr_db"],
            "query_mos": query.get("mos", {}).get("ovrl", UNMEASURED),
            "reply_mos": reply.get("mos", {}).get("ovrl", UNMEASURED),
            "reply_tokens": reply["num_tokens"],
        }
