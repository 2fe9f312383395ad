"""What an adapter is: a generator of items, which are recordings as their corpus names and labels them.

An adapter knows one layout and nothing else. It reads no audio, checks no label and skips nothing in silence: a row
that is no recording is passed on as `Left`, with the reason. All else is the writer's (`pipeline/ingest/writer.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from manifests.errors import UserError
from manifests.labels import NONE, canonical

AUDIO = frozenset((".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff"))
"""Suffixes of audio files."""


@dataclass(frozen=True)
class Item:
    """One recording, or a part of one.

    Attributes:
        file: Path relative to the corpus' folder, as it is written there.
        speaker: As the corpus calls him; empty when it does not say.
        labels: By family (`age`, `gender`, `emotion`, `event`, `speakers`), in the corpus' own spelling.
        ours: By family, our label where the corpus' spelling is a code that means something here alone.
        text: What is said; empty when the corpus does not say.
        translation: The same in English, where the corpus has it.
        language: Two- or three-letter code, or empty.
        split: The corpus' own split, or empty.
        start: Where the part begins, in seconds.
        end: Where it ends, or None for the end of the file.
    """

    file: str
    speaker: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ours: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    translation: str = ""
    language: str = ""
    split: str = ""
    start: float = 0.0
    end: float | None = None


@dataclass(frozen=True)
class Left:
    """A row or file that is no recording of the layout, and why, in words that are the same for all with that fault."""

    file: str
    reason: str


@dataclass(frozen=True)
class Unread:
    """Columns of a table that mean nothing here: perhaps a label whose name is spelled otherwise."""

    columns: tuple[str, ...]


Items = Iterator[Item | Left | Unread]


@dataclass(frozen=True)
class Adapter:
    """One layout.

    Attributes:
        items: The recordings of a folder, in an order that is always the same.
        title: Name of the corpus where the layout is that of one corpus; else that of its folder.
        licence: As its publisher states it; what holds is what the user states.
        publish: Whether recordings may be part of what is published.
        note: What a user of the corpus must know.
        language: Of the texts, unless a row says otherwise.
    """

    name: str
    items: Callable[[Path], Items]
    title: str = ""
    licence: str = ""
    source: str = ""
    citation: str = ""
    publish: bool = True
    note: str = ""
    language: str = ""


_NUMBER = re.compile(r"\d{1,3}(\.\d+)?")
_DECADES = {
    "twenties": "adult", "thirties": "adult", "fourties": "adult", "forties": "adult", "fifties": "adult",
    "sixties": "old", "seventies": "old", "eighties": "old", "nineties": "old",
}  # fmt: skip
"""Common Voice's decades (and its spelling). Its `teens` are children and adults, so they have no label."""


def our_label(family: str, spelling: str) -> str | None:
    """Our label for a corpus' spelling.

    Args:
        family: `age`, `gender`, `emotion` or `event`.
        spelling: A known spelling; of an age, years (under 13 a child, 18 to 59 an adult, from 60 on old) or
            decades (`twenties`) too.

    Returns:
        `none` for an absent label, None for one that is none of ours.
    """
    text = spelling.strip()
    if family == "age" and _NUMBER.fullmatch(text):
        years = float(text)
        return "child" if years < 13 else "old" if years >= 60 else "adult" if years >= 18 else None
    if family == "age" and text.lower() in _DECADES:
        return _DECADES[text.lower()]
    if family == "gender":
        text = text.lower().removesuffix("_masculine").removesuffix("_feminine")  # Common Voice from 17 on
    try:
        return canonical(family, text)
    except UserError:
        return None


def has_label(family: str, spelling: str) -> bool:
    """Whether a spelling is one of our labels."""
    return our_label(family, spelling) not in (None, NONE)


FASTEST = 25.0
"""Letters of a text that are said in a second at most; of a clip with more, a part of the text is missing."""
_HAN = 4  # letters that one character stands for


def letters(text: str) -> int:
    """Letters of a text; a Han character counts as four, as it takes the time of as many."""
    return sum(_HAN if "\u3400" <= char <= "\u9fff" else char.isalpha() for char in text)


def audio_files(source: Path) -> Iterator[Path]:
    """Audio files anywhere in a folder, by name."""
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() in AUDIO and path.is_file():
            yield path


def relative(path: Path, source: Path) -> str:
    """A file's name in its corpus."""
    return path.relative_to(source).as_posix()
