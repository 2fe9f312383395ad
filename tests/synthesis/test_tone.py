"""The tone speaker keeps the promises of the `Speaker` protocol."""

from __future__ import annotations

import numpy as np
import pytest

from manifests.labels import AGES, EMOTIONS, EVENTS, GENDERS, LANGUAGES
from synthesis.base import Utterance
from synthesis.tone import ToneConfig

TEXT = "Could you tell me when the next train leaves?"


def test_it_declares_every_label_and_is_not_publishable() -> None:
    can = ToneConfig().capabilities
    assert (can.languages, can.ages, can.genders) == (LANGUAGES, AGES, GENDERS)
    assert (can.emotions, can.events) == (EMOTIONS, EVENTS)
    assert not can.publishable


def test_the_same_utterance_sounds_the_same_after_others() -> None:
    speaker = ToneConfig().open()
    utterance = Utterance(TEXT, "t_f_adult_0", seed=1, gender="female")
    one = speaker.speak(utterance)
    speaker.speak(Utterance("Another text.", "t_m_old_0", seed=2, gender="male", age="old"))
    assert np.array_equal(one.samples, speaker.speak(utterance).samples)
    assert np.array_equal(one.samples, ToneConfig().open().speak(utterance).samples)
    assert one.samples.dtype == np.float32
    assert np.abs(one.samples).max() <= 1.0


@pytest.mark.parametrize("change", [{"seed": 2}, {"voice": "t_f_adult_1"}, {"emotion": "angry"}, {"text": "No."}])
def test_whatever_differs_sounds_different(change: dict[str, object]) -> None:
    speaker = ToneConfig().open()
    base: dict[str, object] = {"text": TEXT, "voice": "t_f_adult_0", "seed": 1, "gender": "female"}
    one = speaker.speak(Utterance(**base))  # type: ignore[arg-type]
    two = speaker.speak(Utterance(**{**base, **change}))  # type: ignore[arg-type]
    assert not np.array_equal(one.samples, two.samples)


@pytest.mark.parametrize("text", ["", "  "])
def test_empty_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        ToneConfig().open().speak(Utterance(text, "t_f_adult_0", seed=1))


def test_cost_is_no_part_of_the_key() -> None:
    assert ToneConfig(cost=1.0).keyed() == ToneConfig().keyed()
