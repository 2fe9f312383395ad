"""How a training card tells which recordings a model was trained on, so that it is not judged by them.

A card lists `corpora`, each with its `name` and its `fingerprint`. A folder may be renamed and its files converted;
the sound of the clips stays.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

SKETCH = 64
"""Hashes that a fingerprint keeps."""


def audio_hash(samples: np.ndarray, sample_rate: int) -> str:
    """Of a clip's sound at 16 bits, whatever its file is called and however it is encoded without loss.

    Args:
        samples: As from `read_clip`.
        sample_rate: In Hz.
    """
    coarse = np.clip(np.round(np.asarray(samples, np.float64) * 32768), -32768, 32767).astype("<i2")
    head = f"{sample_rate} {coarse.shape[1] if coarse.ndim > 1 else 1} ".encode()
    return hashlib.sha256(head + coarse.tobytes()).hexdigest()[:16]


def fingerprint(hashes: Iterable[str]) -> list[str]:
    """The smallest hashes of a corpus, sorted: enough to tell a part of it by, however its folder is called.

    A bottom-k sketch (Broder 1997): of any clip that two corpora share, the chance to be in both sketches is that
    of every other, so that a twentieth of a corpus of 500 clips is missed once in 27 times, a fifth never.
    """
    return sorted(set(hashes))[:SKETCH]


def same_name(one: str, other: str) -> bool:
    """Whether two names of corpora are the same but for case and punctuation: `EMO-DB`, `emodb`."""
    return bool(_plain(one)) and _plain(one) == _plain(other)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


def trained_on(card: Mapping[str, Any], name: str, hashes: Iterable[str]) -> str:
    """How a card shows that a model was trained on a corpus or on a part of it.

    Args:
        card: With `corpora`: names, or mappings with `name` and `fingerprint`.
        name: Of the corpus.
        hashes: `audio_hash` of its clips.

    Returns:
        A phrase such as `the corpus EMO-DB`; empty when it shows nothing.
    """
    known = set(hashes)
    for entry in card.get("corpora", ()):
        stated = entry if isinstance(entry, str) else str(entry.get("name", ""))
        if same_name(stated, name):
            return f"the corpus {stated}"
        shared = known.intersection(() if isinstance(entry, str) else entry.get("fingerprint", ()))
        if shared:
            return f"clips of this corpus (at least {len(shared)} of them, then called {stated})"
    return ""
