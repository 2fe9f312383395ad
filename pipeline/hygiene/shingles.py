"""How alike two dialogues are: the Jaccard index of the word triples of query and reply; and MinHash bands."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np

BANDS, ROWS = 16, 4
"""Two dialogues whose index is s are compared with probability 1 - (1 - s^4)^16: 0.9998 at 0.8, 1 at 1."""
_WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+(?:'[^\W_]+)*")


def words(text: str) -> list[str]:
    """Words of a text for comparison: no case, no marks, a Chinese character being a word."""
    return _WORDS.findall(unicodedata.normalize("NFKC", text).casefold().replace("’", "'"))


def shingles(turns: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Hashes of the word triples of all queries and replies, uint32, sorted, each once; never empty.

    Args:
        turns: Rows with `script.query_text` and `script.reply_text`.
    """
    found = set()
    for row in turns:
        for role in ("query", "reply"):
            said = words(row[f"script.{role}_text"])
            for start in range(max(1, len(said) - 2)):
                triple = "\x1f".join((role, *said[start : start + 3]))
                found.add(int.from_bytes(blake2b(triple.encode(), digest_size=4).digest(), "big"))
    return np.array(sorted(found), np.uint32)


def jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    """Shared triples of all triples."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def bands(hashes: np.ndarray) -> Iterator[bytes]:
    """Names of the `BANDS` bands of a dialogue; two dialogues are compared where they share one."""
    sketch = copy(_empty())  # shares the permutations, which its own `copy` would check anew
    sketch.update_batch(hashes.tolist())
    values, size = np.asarray(sketch.hashvalues, np.uint64).tobytes(), 8 * ROWS
    for number in range(BANDS):
        yield blake2b(bytes([number]) + values[size * number : size * (number + 1)], digest_size=8).digest()


def _same(value: int) -> int:
    return value


@lru_cache(maxsize=1)
def _empty() -> Any:
    from datasketch import MinHash

    return MinHash(BANDS * ROWS, seed=1, hashfunc=_same, scheme="affine32")
