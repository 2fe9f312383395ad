"""Texts that people wrote for the bank: what no voice can speak is refused, and keywords are found in them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from manifests.labels import EMOTIONS

MAX_TEXT = 300
"""The longest text, in characters, that a field or a filled query may have."""
REPLY_KINDS = (*EMOTIONS, "child", "old")
"""Reply cores: one per emotion, and one each for a child's and an old person's voice."""

SLOT = re.compile(r"\{([a-z][a-z0-9_]*)\}")
Kebab = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
SlotName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


def _check_text(text: str) -> str:
    """Refuse text that no voice can speak; the messages say what to do instead."""
    if not any(char.isalpha() for char in text):
        raise ValueError("has no letters to speak: write a sentence in words")
    if len(text) > MAX_TEXT:
        raise ValueError(f"is {len(text)} characters long: shorten it to {MAX_TEXT} or fewer")
    for char in text:
        if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
            raise ValueError(f"has the control character U+{ord(char):04X}: remove it and keep to one line")
    if set("{}") & set(SLOT.sub("", text)):
        raise ValueError("has braces that are no simple {slot}: write {name} in lower case, without nesting")
    return text


def _check_plain(text: str) -> str:
    """Refuse what `_check_text` refuses, and slots."""
    if SLOT.search(_check_text(text)):
        raise ValueError("may not use a {slot} here: write the words themselves")
    return text


def one_of(values: tuple[str, ...]) -> AfterValidator:
    """A validator of a closed set of values."""

    def check(value: str) -> str:
        if value not in values:
            raise ValueError(f"is not known: use one of {', '.join(values)}")
        return value

    return AfterValidator(check)


def _check_filled(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("is empty: list at least one value")
    for value, count in Counter(values).items():
        if count > 1:
            raise ValueError(f"lists {value!r} {count} times: keep one")
    return values


Text = Annotated[str, AfterValidator(_check_text)]
PlainText = Annotated[str, AfterValidator(_check_plain)]
PlainTexts = Annotated[tuple[PlainText, ...], AfterValidator(_check_filled)]


def digest(content: Any) -> str:
    """16 hex characters of blake2b over canonical JSON: sorted keys, no spaces, characters as they are."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return blake2b(text.encode(), digest_size=8).hexdigest()


def mentions_any(text: str, keywords: Iterable[str]) -> bool:
    """Whether a keyword begins a word of the text, in any case; Chinese keywords match anywhere."""
    starts = ((r"(?<![\w'])" if word.isascii() else "") + re.escape(word) for word in keywords)
    return any(re.search(start, text, re.IGNORECASE) for start in starts)
