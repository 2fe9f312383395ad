"""Audio for the contract tests of engines, and how they ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sounds import SAMPLE_RATE, odd_audio, syllables


def all_audio() -> dict[str, tuple[np.ndarray, int]]:
    """Audio that no run should hold, and some that it might, as (samples, sample rate) by name."""
    voice = syllables(120, 17)
    nan = voice.copy()
    nan[1000:1100] = np.nan
    return {
        **odd_audio(),
        "NaN": (nan, SAMPLE_RATE),
        # Another language to these engines: the same sounds at a rhythm and pitch of their own, backwards.
        "another language": (syllables(260, 14)[::-1].copy(), SAMPLE_RATE),
        "48 kHz": (np.repeat(voice, 3), 48000),
    }


AUDIO = all_audio()
NAMES = [*(name for name in AUDIO if name != "60 s"), pytest.param("60 s", marks=pytest.mark.slow)]
CLIPS = pytest.mark.parametrize("what", NAMES)
"""Runs a test with the name of each of `AUDIO`."""


def asked(call: Callable[..., Any], *arguments: Any) -> tuple[Any, str]:
    """The answer, or None and the sentence that quarantines the row; any exception but a `ValueError` is a defect."""
    try:
        return call(*arguments), ""
    except ValueError as error:
        return None, str(error)
