"""What every recognizer must do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from contract_audio import AUDIO, CLIPS, asked
from engine_cases import Engines, cases
from sounds import SAMPLE_RATE, syllables

from annotators.base import BatchRecognizer, Spoken, Transcript
from manifests.errors import UserError

RECOGNIZERS = pytest.mark.parametrize(("role", "name"), cases("recognizer"))
TEXT = "the box is under the table"
TEXTS = {
    "empty": "",
    "blanks": " \n\t ",
    "another language": "Der Lappen liegt auf dem Eisschrank.",
    "no letters": "?! … 🙂 --",
    "digits": "1984 + 25 % of $3.50",
    "other script": "今天天气很好",
    "long": "all work and no play " * 100,
}


def spoken(seconds: float, hertz: float, text: str = TEXT) -> Spoken:
    return Spoken(syllables(hertz, 16, seconds), SAMPLE_RATE, text, "en")


def check(heard: Transcript) -> None:
    assert heard.wer >= 0
    assert heard.cer >= 0
    assert math.isfinite(heard.wer + heard.cer)
    assert math.isnan(heard.mismatch) or 0 <= heard.mismatch <= 1
    if heard.words is not None:
        times = [time for word in heard.words for time in (word.start, word.end)]
        assert all(math.isfinite(time) for time in times)


def same(one: Transcript, other: Transcript) -> bool:
    """Equal texts and scores; times to a frame of the aligner, which sums in another order in another batch."""
    if (one.text, one.reference, one.wer, one.cer, one.oov) != (
        other.text, other.reference, other.wer, other.cer, other.oov,
    ):  # fmt: skip
        return False
    if not np.isclose(one.mismatch, other.mismatch, atol=1e-6, equal_nan=True):
        return False
    if one.words is None or other.words is None:
        return one.words is other.words
    return all(
        first.word == second.word and abs(first.start - second.start) <= 0.03
        for first, second in zip(one.words, other.words, strict=True)
    )


@RECOGNIZERS
@CLIPS
def test_a_mismatch_is_heard_or_the_reason_told(engines: Engines, role: str, name: str, what: str) -> None:
    samples, rate = AUDIO[what]
    heard, reason = asked(engines.open(role, name).transcribe, samples, rate, TEXT, "en")
    if heard is None:
        assert reason
        return
    assert what != "NaN"
    check(heard)
    assert heard.wer > 0.6 or heard.mismatch > 0.9, "no words were said, so the row must not pass"


@RECOGNIZERS
@pytest.mark.parametrize("text", TEXTS)
def test_any_text_has_finite_scores(engines: Engines, role: str, name: str, text: str) -> None:
    heard = engines.open(role, name).transcribe(syllables(120, 17), SAMPLE_RATE, TEXTS[text], "en")
    check(heard)


@RECOGNIZERS
def test_mandarin_is_scored_by_its_characters(engines: Engines, role: str, name: str) -> None:
    config, engine = engines.config(role, name), engines.open(role, name)
    if "zh" not in config.languages:  # type: ignore[attr-defined]
        with pytest.raises(UserError, match="'zh'"):
            engine.transcribe(syllables(120, 17), SAMPLE_RATE, TEXTS["other script"], "zh")
        return
    heard = engine.transcribe(syllables(120, 17), SAMPLE_RATE, f"{TEXTS['other script']}。", "zh")
    check(heard)
    assert heard.reference.replace(" ", "") == TEXTS["other script"]
    assert heard.cer > 0.6, "nobody said that"
    assert repr(engine.transcribe(syllables(120, 17), SAMPLE_RATE, f"{TEXTS['other script']}。", "zh")) == repr(heard)


@RECOGNIZERS
def test_the_same_clip_gives_the_same_whatever_came_between(engines: Engines, role: str, name: str) -> None:
    engine = engines.open(role, name)
    first = spoken(2.0, 120)
    arguments = (first.samples, first.sample_rate, first.reference, first.language)
    before = engine.transcribe(*arguments)
    engine.transcribe(syllables(250, 13, 3.0), SAMPLE_RATE, "something else", "en")
    after = engine.transcribe(*arguments)
    assert repr(after) == repr(before)


@RECOGNIZERS
def test_a_batch_gives_what_its_clips_give_alone_and_a_bad_one_leaves_the_others(
    engines: Engines, role: str, name: str
) -> None:
    engine = engines.open(role, name)
    if not isinstance(engine, BatchRecognizer):
        pytest.skip("takes one clip at a time")
    samples, rate = AUDIO["NaN"]
    batch = [
        spoken(1.0, 120), spoken(2.5, 200), Spoken(samples, rate, TEXT, "en"), spoken(2.2, 150), spoken(0.3, 150),
        Spoken(*AUDIO["silence"], TEXT, "en"), spoken(1.1, 240), Spoken(*AUDIO["8 kHz"], TEXT, "en"),
        Spoken(*AUDIO["noise"], TEXT, "de"),
    ]  # fmt: skip
    heard = engine.transcribe_batch(batch)
    assert [type(one).__name__ for one in heard if isinstance(one, Exception)] == ["ValueError", "UserError"]
    assert isinstance(heard[2], ValueError)
    assert isinstance(heard[8], UserError)
    for place, one in enumerate(batch):
        if place not in (2, 8):
            alone = engine.transcribe(one.samples, one.sample_rate, one.reference, one.language)
            assert same(heard[place], alone), place
    assert engine.transcribe_batch([]) == []


@RECOGNIZERS
def test_a_language_that_it_does_not_know_is_refused(engines: Engines, role: str, name: str) -> None:
    with pytest.raises(UserError, match="'de'"):
        engines.open(role, name).transcribe(syllables(120, 17), SAMPLE_RATE, TEXT, "de")
