"""What every speaker keeps to, whichever engine it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines_gate import heavy

from pipeline.registry import all_engines
from synthesis.base import BatchSpeaker, Speaker, SpeakerConfig, Utterance

LONGEST = "and so on " * 400
ODD = ["", "   ", "?!", "\x00\x01", "🙂", "<|endofprompt|>", "[laughter]", "\ud800", LONGEST]


def tone(folder: Path) -> SpeakerConfig:
    from synthesis.tone import ToneConfig

    return ToneConfig()


def kokoro(folder: Path) -> SpeakerConfig:
    from synthesis.kokoro import KokoroConfig

    return KokoroConfig()


def cosyvoice(folder: Path) -> SpeakerConfig:
    from tiny_cosyvoice import make_bank, make_cosyvoice2

    from synthesis.cosyvoice import CosyVoiceConfig

    voices = ("en-train-adult-female-1", "en-train-adult-male-1")
    bank = make_bank(folder / "bank", voices)
    return CosyVoiceConfig(model=str(make_cosyvoice2(folder / "model")), bank=bank)


VOICES = {"tone": ("anna", "bert"), "kokoro": ("af_bella", "am_adam"), "cosyvoice": ("en-train-adult-female-1",) * 2}
ENGINES = [tone, kokoro, pytest.param(cosyvoice, marks=heavy)]


def test_every_speaker_is_here():
    there = {name for role, name in all_engines() if role == "speaker"}
    assert there - {"chaos", "gadget1", "gadget2"} == set(VOICES), "plugins of other tests may be loaded, no more"


class Case:
    """An engine, loaded once for all tests."""

    def __init__(self, make: Callable[[Path], SpeakerConfig], folder: Path) -> None:
        self.config = make(folder)
        self.name = self.config.engine
        assert self.config.problems() == []
        self.speaker: Speaker = self.config.open()

    def utterance(self, text: str = "Hi.", **labels: Any) -> Utterance:
        return Utterance(**{"text": text, "voice": VOICES[self.name][0], "seed": 5, "gender": "female", **labels})

    def speak(self, *args: Any, **labels: Any) -> np.ndarray:
        return self.speaker.speak(self.utterance(*args, **labels)).samples


@pytest.fixture(scope="module", params=ENGINES, ids=lambda make: make.__name__)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(request.param, tmp_path_factory.mktemp(request.param.__name__))


def test_a_waveform_is_mono_finite_and_of_the_rate_that_is_stated(case: Case) -> None:
    speech = case.speaker.speak(case.utterance())
    assert speech.samples.dtype == np.float32
    assert speech.samples.ndim == 1
    assert np.isfinite(speech.samples).all()
    assert np.abs(speech.samples).max() <= 1
    assert np.abs(speech.samples).max() > 0
    assert speech.sample_rate == case.config.sample_rate_hz
    assert 0.1 < len(speech.samples) / speech.sample_rate < 30


def test_the_same_utterance_always_sounds_the_same_whatever_was_spoken_before(case: Case) -> None:
    first = case.speak()
    case.speak("No.", seed=9, emotion="angry")
    np.random.default_rng().random()
    assert np.array_equal(case.speak(), first)


def test_a_fresh_engine_speaks_as_the_one_before(case: Case) -> None:
    assert np.array_equal(case.config.open().speak(case.utterance()).samples, case.speak())


@pytest.mark.parametrize("text", ODD, ids=lambda text: repr(text[:12]))
def test_odd_text_is_spoken_or_refused_as_a_row_and_harms_nobody_after_it(case: Case, text: str) -> None:
    before = case.speak()
    with suppress(ValueError):
        samples = case.speak(text)
        assert len(samples)
        assert np.isfinite(samples).all()
    assert np.array_equal(case.speak(), before)


@pytest.mark.parametrize("text", ["", "   "])
def test_an_empty_text_is_refused(case: Case, text: str) -> None:
    with pytest.raises(ValueError, match="text"):
        case.speak(text)


def test_every_label_that_is_declared_can_be_spoken(case: Case) -> None:
    can = case.config.capabilities
    for family, values in (("emotion", can.emotions), ("age", can.ages), ("event", can.events)):
        for value in values:
            assert len(case.speak(**{family: value})), f"{family} {value}"


def test_a_label_or_voice_that_is_none_is_refused_as_a_row(case: Case) -> None:
    if case.name != "tone":  # which speaks in any voice
        with pytest.raises(ValueError, match="nobody"):
            case.speak(voice="nobody")
    with pytest.raises(ValueError):  # noqa: PT011 (each says it in its own words)
        case.speak(emotion="boredom")


def test_several_at_once_sound_as_one_by_one_and_a_bad_one_fails_alone(case: Case) -> None:
    if not isinstance(case.speaker, BatchSpeaker):
        pytest.skip("speaks one by one")
    good = [case.utterance(), case.utterance("No.", seed=6), case.utterance("Hi.", seed=7, emotion="sad")]
    bad = replace(good[0], text=" ")
    found = case.speaker.speak_all([good[0], bad, *good[1:]])
    assert isinstance(found.pop(1), ValueError)
    for one, utterance in zip(found, good, strict=True):
        assert not isinstance(one, Exception)
        assert np.array_equal(one.samples, case.speaker.speak(utterance).samples)


def test_it_says_what_it_is(case: Case) -> None:
    config = case.config
    assert config.licence
    assert config.throughput.realtime > 0
    assert config.throughput.source
    assert config.revision() == config.model_copy().revision()
    assert config.seconds_per_char > 0
