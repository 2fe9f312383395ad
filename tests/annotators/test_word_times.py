"""Which times of words are taken for right."""

from __future__ import annotations

import numpy as np
import pytest
from sounds import SAMPLE_RATE, syllables

from annotators.base import Word
from annotators.word_times import plausible, sounding_times

TEXT = "say it again"


def clip() -> np.ndarray:
    """Half a second of silence, two of voice, half a second of silence."""
    quiet = np.zeros(SAMPLE_RATE // 2, np.float32)
    return np.concatenate([quiet, syllables(120, 17, 2.0), quiet])


def words(*times: tuple[float, float]) -> list[Word]:
    return [Word(word, start, end, 0.5) for word, (start, end) in zip(TEXT.split(), times, strict=True)]


def test_times_in_order_over_the_sound_are_right() -> None:
    assert plausible(words((0.5, 1.0), (1.1, 1.4), (1.4, 2.5)), TEXT, clip())


@pytest.mark.parametrize(
    "times",
    [
        ((0.5, 1.0), (1.4, 1.3), (1.4, 2.5)),
        ((1.2, 1.6), (0.5, 1.0), (1.6, 2.5)),
        ((0.5, 1.0), (0.8, 1.4), (1.4, 2.5)),
        ((-0.5, 1.0), (1.1, 1.4), (1.4, 2.5)),
        ((0.5, 1.0), (1.1, 1.4), (1.4, 3.5)),
        ((0.5, 0.6), (0.6, 0.7), (0.7, 0.8)),
        ((0.5, float("nan")), (1.1, 1.4), (1.4, 2.5)),
    ],
    ids=["ends before it begins", "out of order", "overlap", "before", "after", "covers little", "NaN"],
)
def test_others_are_not(times: tuple) -> None:
    assert not plausible(words(*times), TEXT, clip())


def test_every_word_must_be_there() -> None:
    most = words((0.5, 1.0), (1.1, 1.4), (1.4, 2.5))[:2]
    assert not plausible(most, TEXT, clip())
    assert not plausible([], TEXT, clip())


def test_silence_has_no_sounding_times() -> None:
    assert len(sounding_times(np.zeros(1000, np.float32))) == 0
    times = sounding_times(clip())
    assert times[0] > 0.45
    assert times[-1] < 2.55
