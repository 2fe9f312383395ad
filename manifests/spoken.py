"""How a text is spoken: the one normalisation before speech, pronunciations and word error rates.

English and Mandarin numbers, dates, times, money, units, abbreviations and symbols become words; emoji and invisible
characters go. Other languages lose only the latter, for their digits may not be read in English.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from manifests import spoken_en, spoken_zh

VERSION = "spoken/3"
"""Raise it whenever a text may be spoken in other words: it is part of the identity of what is made with it."""

_PASSES = 4  # until nothing changes; the second pass is nearly always idle
_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn")
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u2300-\u23ff\ufe00-\ufe0f\u20e3\u2190-\u21ff\u25a0-\u25ff]"
)


def spoken(text: str, language: str) -> str:
    """The text in words that can be spoken.

    Never raises, changes nothing in a text of plain words, and does nothing when done again.

    Args:
        text: As it is shown to people; any string.
        language: Two-letter code; `en` and `zh` have rules of their own.

    Returns:
        One line with single blanks.
    """
    if text.isascii() and text.isprintable() and language == "en" and not spoken_en.TRIGGER.search(text):
        return " ".join(text.split())
    return _spoken(text, language)


@lru_cache(maxsize=4096)
def _spoken(text: str, language: str) -> str:
    rules = {"en": spoken_en.words, "zh": spoken_zh.words}.get(language)
    text = " ".join(_visible(text).split())
    for _ in range(_PASSES):
        before = text
        text = " ".join(_visible(rules(text) if rules else text).split())
        if text == before:
            break
    return text


def _visible(text: str) -> str:
    """Without emoji and what cannot be seen; decimal digits of every script as ASCII, for rules to find."""
    if text.isascii() and text.isprintable():
        return text
    out = []
    for char in _EMOJI.sub(" ", text):
        if char.isspace():
            out.append(" ")
        elif unicodedata.category(char) not in _INVISIBLE:
            digit = unicodedata.decimal(char, None)
            out.append(char if digit is None else str(digit))
    return "".join(out)
