"""The k-means codec on synthetic sounds."""

from __future__ import annotations

import numpy as np
import pytest

from synthesis.speech_tokens import KmeansCodec, KmeansConfig, log_mel_steps, mel_filters
from synthesis.train_codebook import kmeans

RATE = 16000


@pytest.fixture(scope="module")
def codec() -> KmeansCodec:
    opened = KmeansConfig().open()
    assert isinstance(opened, KmeansCodec)
    return opened


def _sound(seconds: float, rate: int = RATE, f0: float = 140.0) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * f0 * k * time) / k for k in range(1, 25))
    return (0.05 * wave * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time))).astype(np.float32)


@pytest.mark.parametrize(
    ("num", "rate", "expected"),
    [(0, 16000, 0), (1, 16000, 1), (640, 16000, 1), (641, 16000, 2), (960, 24000, 1), (961, 24000, 2),
     (44100, 44100, 25), (44101, 44100, 26)],
)  # fmt: skip
def test_there_are_25_tokens_a_second_rounded_up(codec: KmeansCodec, num: int, rate: int, expected: int) -> None:
    tokens = codec.encode(np.zeros(num, np.float32), rate)
    assert tokens.shape == (expected,)
    assert tokens.dtype == np.int32


def test_tokens_are_in_range_and_the_same_every_time(codec: KmeansCodec) -> None:
    wave = _sound(2.0)
    tokens = codec.encode(wave, RATE)
    assert codec.codebook_size == 1024
    assert codec.token_rate == 25
    assert tokens.min() >= 0
    assert tokens.max() < 1024
    assert len(np.unique(tokens)) > 3
    assert np.array_equal(tokens, codec.encode(wave, RATE))


def test_tokens_of_a_start_do_not_hang_on_what_follows(codec: KmeansCodec) -> None:
    wave = _sound(2.0)
    # The windows of the last step reach 7.5 ms over its end.
    assert np.array_equal(codec.encode(wave, RATE)[:24], codec.encode(wave[:RATE], RATE)[:24])


def test_the_sample_rate_hardly_matters() -> None:
    difference = log_mel_steps(_sound(1.0), RATE) - log_mel_steps(_sound(1.0, 48000), 48000)
    assert np.abs(difference[1:-1, :70]).mean() < 0.05  # over 6.5 kHz the resampler's filter shows


def test_silence_is_one_token(codec: KmeansCodec) -> None:
    assert len(np.unique(codec.encode(np.zeros(RATE, np.float32), RATE))) == 1
    quiet = codec.decode(codec.encode(np.zeros(RATE, np.float32), RATE))
    assert np.abs(quiet.samples).max() < 0.01


def test_decoding_keeps_length_and_shape_of_the_sound(codec: KmeansCodec) -> None:
    wave = _sound(1.5)
    tokens = codec.encode(wave, RATE)
    sketch = codec.decode(tokens)
    assert sketch.sample_rate == RATE
    assert len(sketch.samples) == len(tokens) * 640
    assert sketch.samples.dtype == np.float32
    assert np.abs(sketch.samples).max() <= 1.0
    assert np.array_equal(sketch.samples, codec.decode(tokens).samples)
    real, back = log_mel_steps(wave, RATE), log_mel_steps(sketch.samples, RATE)
    error = np.sqrt(((real[: len(back)] - back) ** 2).mean())
    assert error < 0.9 * np.sqrt(((real - real.mean()) ** 2).mean())


def test_no_tokens_decode_to_nothing(codec: KmeansCodec) -> None:
    assert codec.decode(np.zeros(0, np.int32)).samples.shape == (0,)


@pytest.mark.parametrize("tokens", [[-1], [1024]])
def test_tokens_outside_the_codebook_are_refused(codec: KmeansCodec, tokens: list[int]) -> None:
    with pytest.raises(ValueError, match="must lie"):
        codec.decode(np.array(tokens))


@pytest.mark.parametrize("wave", [np.zeros((2, 100)), np.array([0.0, np.nan])])
def test_stereo_and_nan_are_refused(codec: KmeansCodec, wave: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"mono|finite"):
        codec.encode(wave, RATE)


def test_mel_filters_cover_every_band() -> None:
    filters = mel_filters()
    assert filters.shape == (80, 201)
    assert (filters.sum(axis=1) > 0).all()
    assert (np.diff(filters.argmax(axis=1)) >= 0).all()


def test_kmeans_finds_clusters_that_are_there() -> None:
    rng = np.random.default_rng(0)
    middles = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = np.concatenate([middle + 0.1 * rng.standard_normal((200, 2)) for middle in middles])
    found = kmeans(points, 3, 20, np.random.default_rng(1))
    gaps = np.linalg.norm(found[:, None] - middles[None], axis=2).min(axis=0)
    assert gaps.max() < 0.1


def test_the_revision_names_the_codebook() -> None:
    assert KmeansConfig().revision().startswith("kmeans/1/")
