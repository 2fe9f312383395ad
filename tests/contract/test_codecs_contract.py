"""What every speech codec keeps to, whichever engine it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from engines_gate import heavy

from manifests import tonecode
from synthesis.base import BatchCodec, CodecConfig, SpeechCodec


def tone(folder: Path) -> CodecConfig:
    from synthesis.tone import ToneCodecConfig

    return ToneCodecConfig()


def kmeans(folder: Path) -> CodecConfig:
    from synthesis.speech_tokens import KmeansConfig

    return KmeansConfig()


def s3_v1(folder: Path) -> CodecConfig:
    return _s3(folder, 1)


def s3_v2(folder: Path) -> CodecConfig:
    return _s3(folder, 2)


def s3_v3(folder: Path) -> CodecConfig:
    return _s3(folder, 3)


def _s3(folder: Path, version: int) -> CodecConfig:
    from tiny_cosyvoice import make_s3

    from synthesis.s3_tokens import S3Config

    weights = make_s3(folder / f"s3-v{version}.pt", version)
    return S3Config(version=version, weights=str(weights), batch=3, seconds=12.0)  # type: ignore[arg-type]


class Case:
    """A codec, loaded once for all tests."""

    def __init__(self, make: Callable[[Path], CodecConfig], folder: Path) -> None:
        self.config = make(folder)
        assert self.config.problems() == []
        self.codec: SpeechCodec = self.config.open()
        self.spells = self.config.engine == "tone"  # reads back its own tones, at their rate, and nothing else

    def clip(self, seconds: float, rate: int = 16000, seed: int = 0) -> np.ndarray:
        """Something voiced and noisy."""
        rng = np.random.default_rng(seed)
        time = np.arange(round(seconds * rate)) / rate
        wave = np.sin(2 * np.pi * (120 + 30 * np.sin(2 * np.pi * time)) * time) + 0.1 * rng.standard_normal(len(time))
        return (0.2 * wave).astype(np.float32)


@pytest.fixture(
    scope="module",
    params=[
        tone,
        kmeans,
        pytest.param(s3_v1, marks=heavy),
        *(pytest.param(make, marks=heavy) for make in (s3_v2, s3_v3)),
    ],
    ids=lambda make: make.__name__,
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(request.param, tmp_path_factory.mktemp(request.param.__name__))


@pytest.fixture
def sounding(case: Case) -> Case:
    if case.spells:
        pytest.skip("reads its own tones alone")
    return case


@pytest.mark.parametrize("rate", [16000, 22050, 24000, 48000])
@pytest.mark.parametrize("seconds", [0.001, 0.04, 0.5, 1.01, 3.0])
def test_a_clip_has_a_token_for_every_40_ms_begun(sounding: Case, seconds: float, rate: int) -> None:
    clip = sounding.clip(seconds, rate)
    tokens = sounding.codec.encode(clip, rate)
    assert tokens.dtype == np.int32
    assert tokens.shape == (-(-len(clip) * sounding.codec.token_rate // rate),)
    assert tokens.min() >= 0
    assert tokens.max() < sounding.codec.codebook_size


def test_tokens_tell_sounds_apart(sounding: Case) -> None:
    tokens = sounding.codec.encode(sounding.clip(2.0), 16000)
    noise = np.random.default_rng(1).standard_normal(32000).astype(np.float32) * 0.2
    assert (tokens != sounding.codec.encode(noise, 16000)).any()


def test_equal_sound_gives_equal_tokens_whatever_came_before(sounding: Case) -> None:
    clip = sounding.clip(1.3)
    first = sounding.codec.encode(clip, 16000)
    sounding.codec.encode(sounding.clip(2.9, seed=4), 16000)
    assert np.array_equal(sounding.codec.encode(clip, 16000), first)
    assert np.array_equal(sounding.config.open().encode(clip, 16000), first)


def test_no_sound_has_no_tokens(sounding: Case) -> None:
    assert len(sounding.codec.encode(np.zeros(0, np.float32), 16000)) == 0


def test_what_is_no_waveform_is_refused_as_a_row(case: Case) -> None:
    rate = tonecode.SAMPLE_RATE
    broken = case.clip(1.0, rate)
    broken[100] = np.nan
    with pytest.raises(ValueError, match=r"finite|NaN"):
        case.codec.encode(broken, rate)
    if not case.spells:
        with pytest.raises(ValueError, match="mono"):
            case.codec.encode(np.zeros((2, 8000), np.float32), rate)


def test_several_at_once_give_what_each_gives_alone_and_a_bad_one_fails_alone(sounding: Case) -> None:
    if not isinstance(sounding.codec, BatchCodec):
        pytest.skip("encodes one by one")
    lengths = [0.3, 2.9, 0.0, 5.0, 1.7, 1.7, 0.06, 4.4]
    clips = [(sounding.clip(seconds, 24000, seed), 24000) for seed, seconds in enumerate(lengths)]
    bad = (np.full(100, np.inf, np.float32), 24000)
    found = sounding.codec.encode_all([*clips[:3], bad, *clips[3:]])
    assert isinstance(found.pop(3), ValueError)
    for tokens, clip in zip(found, clips, strict=True):
        assert isinstance(tokens, np.ndarray)
        assert np.array_equal(tokens, sounding.codec.encode(*clip))


def test_decoding_gives_sound_of_that_length_or_says_that_it_cannot(case: Case) -> None:
    tokens = np.arange(30, dtype=np.int32)
    if case.config.engine == "s3":
        with pytest.raises(ValueError, match="CosyVoice"):
            case.codec.decode(tokens)
        return
    speech = case.codec.decode(tokens)
    assert len(speech.samples) == 30 * speech.sample_rate // case.codec.token_rate
    assert np.isfinite(speech.samples).all()


def test_tones_come_back_as_the_symbols_that_they_spell(case: Case) -> None:
    if not case.spells:
        pytest.skip("spells nothing")
    symbols = np.array([3, 70, 5, 5, 200], np.int32)
    speech = case.codec.decode(symbols)
    assert case.codec.encode(speech.samples, speech.sample_rate).tolist() == symbols.tolist()


def test_it_says_what_it_is(case: Case) -> None:
    assert case.codec.token_rate == 25
    assert case.config.licence
    assert case.config.throughput.source
    assert case.config.revision() == case.config.model_copy().revision()
