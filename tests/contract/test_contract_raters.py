"""What every rater of signal quality, and of predicted opinion, must do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from contract_audio import AUDIO, CLIPS, asked
from engine_cases import Engines, cases
from sounds import SAMPLE_RATE, VOICELESS, syllables


@pytest.mark.parametrize(("role", "name"), cases("rater"))
@CLIPS
def test_raters_measure_or_say_why(engines: Engines, role: str, name: str, what: str) -> None:
    samples, rate = AUDIO[what]
    rated, reason = asked(engines.open(role, name).rate, samples, rate)
    if rated is None or what == "NaN":
        assert what == "NaN", reason
        assert "NaN" in reason
        return
    assert all(math.isfinite(value) for value in vars(rated).values())
    assert 0 <= rated.speech_ratio <= 1
    assert 0 <= rated.clipped_ratio <= 1
    assert rated.speech_seconds <= len(samples) / rate + 1e-6
    if what in VOICELESS:
        assert rated.speech_ratio < 0.3, "select rejects it"
    if what == "clipped":
        assert rated.clipped_ratio > 0.01, "select rejects it"


@pytest.mark.parametrize(("role", "name"), cases("rater"))
def test_the_same_clip_is_rated_the_same_whatever_came_between(engines: Engines, role: str, name: str) -> None:
    engine, voice = engines.open(role, name), syllables(120, 17)
    before = engine.rate(voice, SAMPLE_RATE)
    engine.rate(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)
    assert engine.rate(voice, SAMPLE_RATE) == before


@pytest.mark.parametrize(("role", "name"), cases("mos"))
@CLIPS
def test_opinion_scores_are_numbers_or_say_why(engines: Engines, role: str, name: str, what: str) -> None:
    samples, rate = AUDIO[what]
    scored, reason = asked(engines.open(role, name).score, samples, rate)
    if scored is None:
        assert reason
        return
    assert what != "NaN"
    assert all(1 <= value <= 5 for value in vars(scored).values() if math.isfinite(value))
