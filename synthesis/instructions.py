"""Instructions in words for a speaker that follows them: "Please say this in a deeply sad tone, slowly."

Composed of the phrases in `data/cosyvoice/instructions.csv`, by language, cue, label and strength. The speed comes
from the emotion's rate in the cue table (`manifests/cues/emotion.csv`), so that one table says how an emotion is paced.
"""

from __future__ import annotations

import csv
import hashlib
from functools import lru_cache
from pathlib import Path

from manifests.cues import Cues, read_cues
from manifests.labels import AGES, EMOTIONS
from synthesis.base import Utterance

TABLE = Path(__file__).parent / "data" / "cosyvoice" / "instructions.csv"
_STRONG = 0.6  # intensity from which the stronger phrase is used
_SLOW, _FAST = 0.9, 1.1  # factors on the speech rate from which it is worth a phrase


def compose(utterance: Utterance, dialect: str = "", calm: bool = False) -> str:
    """The instruction for an utterance; empty when its cues ask for nothing that words must say.

    Args:
        dialect: A label of the table's `dialect`, or empty.
        calm: Whether words must say that no emotion is wanted, for the prompt would lend one.

    Raises:
        ValueError: The table has no phrase for a cue in the utterance's language.
    """
    wanted: list[tuple[str, str, str]] = []
    if dialect:
        wanted.append(("dialect", dialect, ""))
    if utterance.emotion != "neutral" and utterance.intensity > 0:
        strength = "strong" if utterance.intensity >= _STRONG else "mild"
        wanted.append(("emotion", utterance.emotion, strength))
        cues = read_cues().emotions.get(utterance.emotion, Cues())
        rate = cues.rate**utterance.intensity
        if not _SLOW < rate < _FAST:
            wanted.append(("speed", "slow" if rate <= _SLOW else "fast", ""))
    elif calm:
        wanted.append(("emotion", "neutral", ""))
    if utterance.age != "adult":
        wanted.append(("age", utterance.age, ""))
    if not wanted:
        return ""
    phrases = _phrases()
    missing = [key for key in wanted if (utterance.language, *key) not in phrases]
    if missing:
        cue, label, _ = missing[0]
        raise ValueError(f"no instruction says {cue} {label!r} in {utterance.language}")
    said = phrases[utterance.language, "join", "", ""].join(phrases[(utterance.language, *key)] for key in wanted)
    return phrases[utterance.language, "frame", "", ""].format(phrases=said)


def languages() -> tuple[str, ...]:
    """Languages in which every emotion and age has its phrases."""
    phrases = _phrases()
    found = dict.fromkeys(language for language, *_ in phrases)
    return tuple(
        language
        for language in found
        if all((language, "emotion", label, "strong") in phrases for label in EMOTIONS if label != "neutral")
        and all((language, "age", label, "") in phrases for label in AGES if label != "adult")
    )


def dialects(language: str) -> tuple[str, ...]:
    """Dialects and accents that can be asked for in a language."""
    return tuple(label for lang, cue, label, _ in _phrases() if lang == language and cue == "dialect")


def table_hash() -> str:
    """Changes with any phrase."""
    return hashlib.sha256(TABLE.read_bytes()).hexdigest()[:12]


@lru_cache(maxsize=1)
def _phrases() -> dict[tuple[str, str, str, str], str]:
    with TABLE.open(encoding="utf-8", newline="") as lines:
        return {
            (row["language"], row["cue"], row["label"], row["strength"]): row["phrase"] for row in csv.DictReader(lines)
        }
