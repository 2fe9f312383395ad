"""Content hashes, dialogue ids and seeds: the same content gives the same id on every machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

ID_FIELDS = (
    "split", "task", "language", "source", "scenario_hash", "slots", "cues", "age", "gender", "emotion", "event",
    "intensity", "query_voice", "reply_voice", "seed",
)  # fmt: skip
"""The columns of a plan row that its dialogue's id hashes (of every turn).

In a turn after the first `scenario_hash` is of the follow-up's content too, so that the id follows from what is said.
"""


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no blanks; refuses NaN, which has no canonical form."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def content_hash(value: Any, length: int = 16) -> str:
    """The first `length` hex digits of the blake2b of a value's canonical JSON."""
    return blake2b(canonical_json(value), digest_size=32).hexdigest()[:length]


def dialogue_id(turns: Sequence[Mapping[str, Any]]) -> str:
    """The id of a dialogue from its plan rows, in turn order: 20 hex digits."""
    return content_hash([[row[name] for name in ID_FIELDS] for row in turns], 20)


def bucket(dialogue: str, num_parts: int) -> int:
    """The part of a dialogue: its id modulo a power of two, so that doubling splits each part in two."""
    return int(dialogue[:8], 16) % num_parts


def seed_of(*parts: Any) -> int:
    """A 63-bit seed from what it belongs to, e.g. `seed_of(id, turn, "speak_query")`."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
