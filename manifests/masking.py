"""Values of secret variables of the environment, blotted out of what is kept or shown of an engine's failure."""

from __future__ import annotations

import os
from collections.abc import Mapping

_NAMES = ("KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL")
_LEAST = 8  # characters; shorter values may be words
_MASK = "***"


def masked(text: str, environment: Mapping[str, str] | None = None) -> str:
    """A text without the values of variables whose names say that they are secret, the longest first."""
    variables = os.environ if environment is None else environment
    values = {value for name, value in variables.items() if any(part in name.upper() for part in _NAMES)}
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= _LEAST:
            text = text.replace(value, _MASK)
    return text
