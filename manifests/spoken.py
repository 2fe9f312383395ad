"""How a text is spoken: the one normalisation before both speech and word error rates."""

from __future__ import annotations


def spoken(text: str, language: str) -> str:
    """The text in words that can be spoken.

    Args:
        text: As it is shown to people.
        language: Two-letter code.
    """
    return " ".join(text.split())
