"""The tone engines: what is spoken is read back, text and labels, and damage shows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.base import Quality
from annotators.clip import Clip
from annotators.level import LevelConfig
from annotators.tone import ToneLabelConfig, ToneRecognizerConfig, read_symbols
from manifests import tonecode
from manifests.labels import AGES, CUES, EMOTIONS, EVENTS, GENDERS, LANGUAGES, NONE
from manifests.wer import normalise
from pipeline.audio import decode_flac, encode_flac
from synthesis.base import Utterance
from synthesis.tone import ToneCodecConfig, ToneConfig

TEXT = "Could you tell me when the next train leaves?"
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60).filter(str.strip)
SEEDS = st.integers(0, 2**63 - 1)
LABELS: dict[str, Any] = {family: st.sampled_from((*CUES[family], NONE)) for family in CUES}
speaker = ToneConfig().open()
recognizer = ToneRecognizerConfig().open()
codec = ToneCodecConfig().open()
rater = LevelConfig().open()


def spoken(text: str = TEXT, seed: int = 1, voice: str = "t_f_adult_0", **labels: Any) -> np.ndarray:
    """An utterance as later stages get it: encoded and decoded."""
    speech = speaker.speak(Utterance(text, voice, seed, **labels))
    return decode_flac(encode_flac(speech.samples, speech.sample_rate))[0]


def wer(samples: np.ndarray, text: str = TEXT) -> float:
    """Word error rate."""
    return recognizer.transcribe(samples, tonecode.SAMPLE_RATE, text, "en").wer


def test_it_declares_every_label_and_is_not_publishable() -> None:
    can = ToneConfig().capabilities
    assert (can.languages, can.ages, can.genders) == (LANGUAGES, AGES, GENDERS)
    assert (can.emotions, can.events) == (EMOTIONS, EVENTS)
    assert not can.publishable


def test_the_same_utterance_sounds_the_same_after_others() -> None:
    utterance = Utterance(TEXT, "t_f_adult_0", seed=1, gender="female")
    one = speaker.speak(utterance)
    speaker.speak(Utterance("Another text.", "t_m_old_0", seed=2, gender="male", age="old"))
    assert np.array_equal(one.samples, speaker.speak(utterance).samples)
    assert np.array_equal(one.samples, ToneConfig().open().speak(utterance).samples)
    assert one.samples.dtype == np.float32
    assert one.sample_rate == 16_000


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"voice": "t_f_adult_1"},
        {"age": "old"},
        {"gender": "male"},
        {"emotion": "angry"},
        {"event": "sigh"},
        {"intensity": 0.5},
        {"text": "No."},
    ],
)
def test_whatever_differs_sounds_different(change: dict[str, Any]) -> None:
    base: dict[str, Any] = {"text": TEXT, "voice": "t_f_adult_0", "seed": 1, "gender": "female"}
    one, two = (speaker.speak(Utterance(**kwargs)) for kwargs in (base, base | change))
    assert not np.array_equal(one.samples, two.samples)


@pytest.mark.parametrize("text", ["", "  ", "\n\u3000"])
def test_empty_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        speaker.speak(Utterance(text, "t_f_adult_0", seed=1))


def test_a_text_that_takes_too_long_is_refused() -> None:
    short = ToneConfig(max_seconds=1.0).open()
    assert len(short.speak(Utterance("a" * 15, "v", 1)).samples) == 16_000
    with pytest.raises(ValueError, match="over 1 s"):
        short.speak(Utterance("a" * 16, "v", 1))


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(ValueError, match="not in"):
        speaker.speak(Utterance(TEXT, "v", 1, emotion="bored"))


def test_cost_is_no_part_of_the_key_and_the_limit_is() -> None:
    assert ToneConfig(cost=1.0).keyed() == ToneConfig().keyed()
    assert ToneConfig(max_seconds=1.0).keyed() != ToneConfig().keyed()


@settings(deadline=None, max_examples=60)
@given(TEXTS, SEEDS, st.sampled_from(LANGUAGES), st.floats(0, 1), st.text(max_size=5))
def test_any_text_is_read_back_byte_for_byte(text: str, seed: int, language: str, intensity: float, voice: str) -> None:
    samples = spoken(text, seed, voice, intensity=intensity)
    assert np.abs(samples).max() <= 1.0
    symbols = read_symbols(samples, tonecode.SAMPLE_RATE)[len(tonecode.FAMILIES) :]
    assert bytes(symbols.tolist()).decode() == text
    heard = recognizer.transcribe(samples, tonecode.SAMPLE_RATE, text, language)
    assert heard.text == heard.reference == normalise(text, language)
    assert (heard.wer, heard.cer) == (0.0, 0.0)


@settings(deadline=None, max_examples=60)
@given(st.fixed_dictionaries(LABELS), TEXTS, SEEDS, st.floats(0, 1))
def test_every_label_is_read_back_with_certainty(labels: dict[str, str], text: str, seed: int, strength: float) -> None:
    samples = spoken(text, seed, intensity=strength, **labels)
    for family, value in labels.items():
        label = ToneLabelConfig(family=family).open().annotate(Clip(samples, tonecode.SAMPLE_RATE))
        assert label.value == value
        assert math.isclose(sum(label.probabilities.values()), 1.0)
        if value != NONE or family == "event":
            assert label.probabilities[value] == 1.0


@pytest.mark.parametrize(
    "family",
    [
        *("age", "gender", "emotion"),
        "event",
    ],
)
@pytest.mark.parametrize("num", [1, 1920, 16_000])
def test_silence_has_no_label_and_no_words(family: str, num: int) -> None:
    silence = np.zeros(num, np.float32)
    label = ToneLabelConfig(family=family).open().annotate(Clip(silence, tonecode.SAMPLE_RATE))
    assert label.value == NONE
    assert len(label.probabilities) == len(CUES[family]) + (family == "event")
    assert math.isclose(sum(label.probabilities.values()), 1.0)
    assert wer(silence) == 1.0
    assert len(set(label.probabilities.values())) == 1


@settings(deadline=None, max_examples=40)
@given(st.integers(7 * tonecode.SYMBOL_SAMPLES, len(spoken()) - 1))
def test_a_cut_at_the_end_raises_the_error_rate(cut: int) -> None:
    """Seven symbols are the silence at the end and the last letters."""
    assert wer(spoken()[:-cut]) > 0


@settings(deadline=None, max_examples=40)
@given(st.integers(1000, len(spoken()) - 1))
def test_a_cut_at_the_beginning_raises_the_error_rate(cut: int) -> None:
    assert wer(spoken()[cut:]) > 0


@settings(deadline=None, max_examples=20)
@given(st.floats(1.0, 5.0), SEEDS)
def test_loud_noise_raises_the_error_rate(level: float, seed: int) -> None:
    samples = spoken()
    assert wer(samples + level * np.random.default_rng(seed).standard_normal(len(samples))) > 0.5


def test_other_words_raise_the_error_rate() -> None:
    assert wer(spoken("Could you tell me when the next bus leaves?")) == pytest.approx(1 / 9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 5000, -1])
def test_what_is_no_number_is_refused_by_all_that_listen(bad: float, place: int) -> None:
    samples = spoken()
    samples[place] = bad
    for listen in (
        wer,
        lambda wave: ToneLabelConfig(family="age").open().annotate(Clip(wave, tonecode.SAMPLE_RATE)),
        lambda wave: rater.rate(wave, tonecode.SAMPLE_RATE),
        lambda wave: encode_flac(wave, tonecode.SAMPLE_RATE),
    ):
        with pytest.raises(ValueError, match="NaN"):
            listen(samples)


def test_what_is_no_number_is_refused_by_the_codec() -> None:
    with pytest.raises(ValueError, match="NaN"):
        codec.encode(np.full(16_000, np.nan, np.float32), tonecode.SAMPLE_RATE)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, codec.codebook_size - 1), max_size=60))
def test_tokens_survive_a_waveform(tokens: list[int]) -> None:
    speech = codec.decode(np.array(tokens, np.int32))
    assert len(speech.samples) * codec.token_rate == len(tokens) * speech.sample_rate
    again = codec.encode(speech.samples, speech.sample_rate)
    assert again.dtype == np.int32
    assert again.tolist() == tokens


@settings(deadline=None, max_examples=40)
@given(TEXTS, SEEDS)
def test_a_waveform_survives_tokens(text: str, seed: int) -> None:
    samples = spoken(text, seed, emotion="sad")
    tokens = codec.encode(samples, tonecode.SAMPLE_RATE)
    assert len(tokens) == math.ceil(len(samples) * codec.token_rate / tonecode.SAMPLE_RATE)
    assert 0 <= tokens.min() <= tokens.max() < codec.codebook_size
    again = codec.decode(tokens)
    assert bytes(read_symbols(again.samples, again.sample_rate)[4:].tolist()).decode() == text
    label = ToneLabelConfig(family="emotion").open().annotate(Clip(again.samples, again.sample_rate))
    assert label.value == "sad"


@pytest.mark.parametrize("num", [0, 1, 639, 640, 641, 16_001])
def test_there_is_a_token_for_each_begun_40_ms(num: int) -> None:
    assert len(codec.encode(np.zeros(num, np.float32), 16_000)) == math.ceil(num / 640)


def test_the_codec_refuses_another_rate() -> None:
    with pytest.raises(ValueError, match="24000"):
        codec.encode(np.zeros(100, np.float32), 24_000)


def rated(samples: np.ndarray, rate: int = 16_000) -> Quality:
    """What the level rater says."""
    return rater.rate(samples, rate)


def tone(seconds: float, level: float = 0.1, rate: int = 16_000) -> np.ndarray:
    """A tone of 400 Hz."""
    return (level * np.sin(2 * np.pi * 400 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def test_silence_is_no_speech_at_the_lowest_level() -> None:
    assert rated(np.zeros(16_000, np.float32)) == Quality(0.0, 0.0, 1.0, 0.0, 0.0, -120.0)


@pytest.mark.parametrize("lead", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_levels_tell_where_speech_is(lead: float, rate: int) -> None:
    quality = rated(np.concatenate([np.zeros(int(lead * rate), np.float32), tone(1.0, rate=rate)]), rate)
    assert quality.lead_seconds == pytest.approx(lead, abs=0.011)
    assert quality.speech_seconds == pytest.approx(1.0, abs=0.03)
    assert quality.speech_ratio == pytest.approx(1 / (1 + lead), abs=0.03)


@settings(deadline=None, max_examples=30)
@given(st.floats(0.01, 0.9))
def test_levels_are_in_db_of_full_scale(level: float) -> None:
    assert rated(tone(1.0, level)).rms_dbfs == pytest.approx(20 * math.log10(level / math.sqrt(2)), abs=0.05)


def test_noise_lowers_the_signal_to_noise_ratio() -> None:
    noise = np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    words = np.concatenate([np.zeros(16_000, np.float32), tone(1.0)])
    ratios = [rated(words + np.float32(level) * noise).snr_db for level in (1e-5, 1e-4, 1e-3)]
    assert ratios == pytest.approx([77, 57, 37], abs=1)


def test_clipped_samples_are_counted() -> None:
    samples = tone(1.0)
    samples[:160] = 1.0
    samples[160:320] = -1.0
    assert rated(samples).clipped_ratio == pytest.approx(0.02)
    assert rated(tone(1.0)).clipped_ratio == 0.0


def test_integers_are_rated_as_floats_are() -> None:
    samples = tone(1.0)
    assert rated((samples * 32_767).astype(np.int16)).clipped_ratio == rated(samples).clipped_ratio


@pytest.mark.parametrize("intensity", [0.0, 0.7, 1.0])
def test_what_the_speaker_makes_passes_for_good_speech(intensity: float) -> None:
    quality = rated(spoken(intensity=intensity))
    assert quality.snr_db > 40
    assert quality.speech_ratio > 0.8
    assert quality.clipped_ratio == 0.0
    assert quality.lead_seconds == pytest.approx(tonecode.LEAD_SAMPLES / tonecode.SAMPLE_RATE)
    assert -30 < quality.rms_dbfs < -19


def test_a_stronger_emotion_is_louder() -> None:
    levels = [rated(spoken(intensity=intensity)).rms_dbfs for intensity in (0.0, 0.5, 1.0)]
    assert levels == sorted(levels)
    assert levels[2] - levels[0] == pytest.approx(6.0, abs=0.1)


def test_the_threshold_decides_what_speech_is() -> None:
    quiet = tone(1.0, 0.001)
    assert rated(quiet).speech_ratio == 0.0
    assert LevelConfig(active_dbfs=-70).open().rate(quiet, 16_000).speech_ratio == 1.0


def test_the_thresholds_of_level_are_keyed() -> None:
    assert LevelConfig(active_dbfs=-70).keyed() != LevelConfig().keyed()
