"""Every embedded engine that listens, on audio that no run should hold: an answer or a reason, nothing else.

A `ValueError` quarantines the row with its message; any other exception would be a defect.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sounds import SAMPLE_RATE, VOICELESS, odd_audio, syllables

from annotators.clip import Clip
from manifests.labels import NONE
from pipeline.registry import all_engines, engine_class

FOREIGN = "Der Lappen liegt auf dem Eisschrank."
"""A reference in a language that the recognizer does not know."""


def listeners(role: str) -> list[str]:
    return [name for kind, name in all_engines() if kind == role and name not in ("tone", "level")]


ANNOTATORS = [(kind, name) for kind, name in all_engines() if kind.startswith("annotator.") and name != "tone"]


def bad_audio() -> dict[str, tuple[np.ndarray, int]]:
    voice = syllables(120, 17)
    nan = voice.copy()
    nan[1000:1100] = np.nan
    # Another language to these engines: the same sounds at a rhythm and pitch of their own, backwards.
    return {
        **odd_audio(),
        "NaN": (nan, SAMPLE_RATE),
        "another language": (syllables(260, 14)[::-1].copy(), SAMPLE_RATE),
    }


AUDIO = bad_audio()
LONG = pytest.mark.slow
SHORT = [name for name in AUDIO if name != "60 s"]
NAMES = [*SHORT, pytest.param("60 s", marks=LONG)]


@pytest.fixture(scope="module")
def opened() -> dict:
    return {}


def engine(opened: dict, role: str, name: str):
    if (role, name) not in opened:
        config = engine_class(role, name)(engine=name, **({"family": role.split(".")[1]} if "." in role else {}))
        opened[role, name] = config.open()
    return opened[role, name]


def asked(call, *arguments) -> tuple:
    """The answer, or None and the sentence that quarantines the row."""
    try:
        return call(*arguments), ""
    except ValueError as error:
        return None, str(error)


@pytest.mark.parametrize("audio", NAMES)
@pytest.mark.parametrize(("role", "name"), ANNOTATORS)
def test_annotators_answer_or_say_why(opened: dict, role: str, name: str, audio: str) -> None:
    samples, rate = AUDIO[audio]
    label, reason = asked(lambda: engine(opened, role, name).annotate(Clip(samples, rate)))
    assert (label is None) == (audio == "NaN")
    if label is None:
        assert "NaN" in reason
        return
    assert sum(label.probabilities.values()) == pytest.approx(1, abs=1e-6)
    json.dumps({key: value for key, value in label.evidence.items() if math.isfinite(value)}, allow_nan=False)
    if audio in VOICELESS:
        assert label.value == NONE or max(label.probabilities.values()) < 0.9


@pytest.mark.parametrize("audio", NAMES)
@pytest.mark.parametrize("name", listeners("recognizer"))
@pytest.mark.parametrize("text", ["the box is under the table", FOREIGN])
def test_recognizers_hear_a_mismatch_or_say_why(opened: dict, name: str, audio: str, text: str) -> None:
    samples, rate = AUDIO[audio]
    heard, reason = asked(engine(opened, "recognizer", name).transcribe, samples, rate, text, "en")
    if heard is None:
        assert reason
        return
    assert audio != "NaN"
    assert heard.wer > 0.6 or heard.mismatch > 0.9, "no words were said, so the row must not pass"


@pytest.mark.parametrize("audio", NAMES)
@pytest.mark.parametrize("name", listeners("rater"))
def test_raters_measure_or_say_why(opened: dict, name: str, audio: str) -> None:
    samples, rate = AUDIO[audio]
    rated, reason = asked(engine(opened, "rater", name).rate, samples, rate)
    if rated is None:
        assert reason
        return
    assert audio != "NaN"
    assert all(math.isfinite(value) for value in vars(rated).values())
    if audio in VOICELESS:
        assert rated.speech_ratio < 0.3, "select rejects it"
    if audio == "clipped":
        assert rated.clipped_ratio > 0.01, "select rejects it"


@pytest.mark.parametrize("audio", NAMES)
@pytest.mark.parametrize("name", listeners("mos"))
def test_opinion_scores_are_numbers_or_say_why(opened: dict, name: str, audio: str) -> None:
    samples, rate = AUDIO[audio]
    scored, reason = asked(engine(opened, "mos", name).score, samples, rate)
    if scored is None:
        assert reason
        return
    assert audio != "NaN"
    assert all(1 <= value <= 5 for value in vars(scored).values() if math.isfinite(value))
