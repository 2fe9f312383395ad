"""Whisper-base on the speech of a demo run, and what the short windows of the encoder cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from engines_gate import heavy
from real_speech import Line, lines, whisper_base  # noqa: F401  (fixtures)

from annotators.base import Spoken
from annotators.whisperx import WhisperxConfig, WhisperxRecognizer

pytestmark = heavy


def recognizer(folder: Path, **settings) -> WhisperxRecognizer:
    config = WhisperxConfig(engine="whisperx", model=str(folder), align={}, compute_type="int8", beam=1, **settings)
    assert config.problems() == []
    return config.open()  # type: ignore[return-value]


def heard(engine: WhisperxRecognizer, lines: list[Line]) -> list:
    return engine.transcribe_batch([Spoken(one.samples, one.sample_rate, one.text, "en") for one in lines])


@pytest.fixture(scope="module")
def transcripts(whisper_base: Path, lines: list[Line]) -> list:
    return heard(recognizer(whisper_base), lines)


def test_word_errors_of_clean_speech_are_below_five_percent(transcripts: list, record_property) -> None:
    rates = [one.wer for one in transcripts]
    record_property("clips", len(rates))
    record_property("mean_wer", round(float(np.mean(rates)), 4))
    assert len(rates) >= 24
    assert float(np.mean(rates)) < 0.05


def test_another_text_is_told(whisper_base: Path, lines: list[Line]) -> None:
    some = lines[:8]
    swapped = [Line(one.samples, one.sample_rate, other.text, "") for one, other in zip(some, lines[8:16], strict=True)]
    assert min(one.wer for one in heard(recognizer(whisper_base), swapped)) > 0.6


def test_a_batch_gives_the_texts_of_its_clips_alone(whisper_base: Path, transcripts: list, lines: list[Line]) -> None:
    engine = recognizer(whisper_base)
    alone = [heard(engine, [one])[0].text for one in lines[:10]]
    assert alone == [one.text for one in transcripts[:10]]


def test_the_silence_and_a_clip_beyond_one_window(whisper_base: Path, lines: list[Line]) -> None:
    engine = recognizer(whisper_base)
    rate = lines[0].sample_rate
    gap = np.zeros(rate // 2, np.float32)
    some, seconds = [], 0.0
    for line in lines:
        some.append(line)
        seconds += len(line.samples) / rate + 0.5
        if seconds > 35:
            break
    joined = np.concatenate([part for line in some for part in (line.samples, gap)])
    long = engine.transcribe(joined, rate, " ".join(line.text for line in some), "en")
    assert long.wer < 0.15
    silent = engine.transcribe(np.zeros(rate, np.float32), rate, "hello", "en")
    assert (silent.text, silent.wer) == ("", 1.0)
