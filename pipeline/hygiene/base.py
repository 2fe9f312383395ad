"""What a check of a text is: a few lines that yield why a text is bad. Names, switches and counting live here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from manifests.textconfig import TextConfig


@dataclass(frozen=True)
class Said:
    """A text to be checked.

    Attributes:
        role: `query`, `reply` or `think`.
        language: Two-letter code.
    """

    role: str
    text: str
    language: str


Check = Callable[[Said, TextConfig], Iterator[str]]
"""Yields what is wrong, as `value limit` or a kind; the caller puts `<role>_<name>` before it.

It never raises, whatever the text, and never copies personal data of the text.
"""


@dataclass(frozen=True)
class Registered:
    """A check, the texts that it is for, and its switch: the field of `TextConfig` with its name."""

    name: str
    check: Check
    roles: tuple[str, ...] = ("query", "reply")
