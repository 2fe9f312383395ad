"""The one way in for samples: rates, channels, types, and what is refused."""

import numpy as np
import pytest

from annotators.audio import checked, prepare


def tone(rate: int, hertz: float = 440.0, seconds: float = 0.5) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000])
def test_resamples_to_the_target(rate: int):
    audio = prepare(tone(rate), rate)
    assert audio.dtype == np.float32
    assert abs(len(audio) - 8000) <= 1
    middle = slice(1000, 7000)
    assert np.abs(audio[middle] - tone(16000)[: len(audio)][middle]).max() < 0.01


def test_same_rate_passes_unchanged():
    samples = tone(16000)
    assert np.array_equal(prepare(samples, 16000), samples)


@pytest.mark.parametrize("channels", [1, 2])
def test_channels_are_averaged(channels: int):
    samples = tone(16000)
    stacked = np.stack([samples, np.zeros_like(samples)][:channels], axis=1)
    assert np.allclose(prepare(stacked, 16000), samples / channels)


def test_integers_are_scaled_and_clipping_is_kept():
    assert np.allclose(prepare(np.array([-32768, 16384], np.int16), 16000), [-1, 0.5])
    assert checked(np.array([2.0, -2.0]), 16000).tolist() == [2, -2]


def test_bad_samples_are_counted():
    samples = tone(16000)
    samples[[3, 5]] = np.nan, np.inf
    with pytest.raises(ValueError, match="2 of 8000 samples"):
        prepare(samples, 16000)


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros(0), 16000, "empty"),
        (np.zeros((4, 3)), 16000, "shape"),
        (np.zeros((2, 2, 2)), 16000, "shape"),
        (np.zeros(4, complex), 16000, "type"),
        (np.zeros(4), 0, "positive"),
    ],
)
def test_what_is_no_clip_is_refused(samples: np.ndarray, rate: int, message: str):
    with pytest.raises(ValueError, match=message):
        prepare(samples, rate)
