"""Telling voices apart: scores of made-up embeddings, which are known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from manifests.labels import EMOTIONS
from manifests.voices import Voice, VoiceTable
from synthesis.measure_voices import Take, auc, centres, nearest, told_apart, told_apart_from, utterances

VOICES = VoiceTable.load("kokoro").voices


def _takes(**angles: list[float]) -> list[Take]:
    """Takes of voices whose embeddings lie at angles (in degrees) of a plane."""
    return [
        Take(name, "neutral", np.array([np.cos(np.radians(a)), np.sin(np.radians(a))], np.float32), 100.0, 0.0)
        for name, values in angles.items()
        for a in values
    ]


def test_voices_far_apart_are_told_apart() -> None:
    scores = told_apart(_takes(anna=[0, 2, 4], bert=[40, 42], cleo=[80, 83]))
    assert (scores.auc, scores.rank1, scores.confused) == (1.0, 1.0, ())


def test_a_take_among_those_of_another_voice_is_confused() -> None:
    scores = told_apart(_takes(anna=[0, 2, 41], bert=[40, 42, 43]))
    assert scores.confused == (("anna", "neutral", "bert"),)
    assert scores.rank1 == pytest.approx(5 / 6)
    assert scores.auc < 0.9


def test_a_take_is_not_identified_by_itself() -> None:
    # Each take of anna is nearer to bert than to her other one; were it among its own enrolment it would win.
    scores = told_apart(_takes(anna=[0, 60], bert=[20, 22]))
    assert {voice for voice, _, _ in scores.confused} == {"anna"}


def test_one_voice_under_two_names_is_found_out() -> None:
    rng = np.random.default_rng(1)
    names = {name: list(rng.normal(angle, 3, 8)) for name, angle in (("anna", 0), ("twin", 0), ("bert", 60))}
    scores = told_apart(_takes(**names))
    assert scores.rank1 < 0.9
    assert nearest(_takes(**names))["anna"][0] == "twin"


def test_probes_are_compared_with_enrolled_means() -> None:
    enrolled = _takes(anna=[0, 10], bert=[50, 60])
    scores = told_apart_from(enrolled, _takes(anna=[20, 31], bert=[90]))
    assert scores.confused == (("anna", "neutral", "bert"),)
    names, means = centres(enrolled)
    assert names == ["anna", "bert"]
    assert np.allclose(np.degrees(np.arctan2(means[:, 1], means[:, 0])), [5, 55], atol=1e-4)


def test_nearest_is_the_closest_other_voice() -> None:
    near = nearest(_takes(anna=[0], bert=[30], cleo=[50]))
    assert {name: other for name, (other, _) in near.items()} == {"anna": "bert", "bert": "cleo", "cleo": "bert"}
    assert near["anna"][1] == pytest.approx(np.cos(np.radians(30)), abs=1e-6)


@pytest.mark.parametrize(
    ("higher", "lower", "area"), [([2, 3], [0, 1], 1.0), ([0, 1], [2, 3], 0.0), ([1, 1], [1], 0.5), ([1, 3], [2], 0.5)]
)
def test_auc_is_the_chance_that_the_higher_is_higher(higher: list[int], lower: list[int], area: float) -> None:
    assert auc(np.array(higher), np.array(lower)) == area


@pytest.mark.parametrize("voice", VOICES[::20], ids=lambda voice: voice.voice)
def test_takes_of_a_voice_have_different_words_and_one_emotion(voice: Voice) -> None:
    takes = utterances(voice, 4)
    assert takes == utterances(voice, 4)
    assert takes[:4] == utterances(voice, 5)[:4]
    assert len({take.text for take in takes}) == 5
    assert [take.emotion for take in takes[:4]] == ["neutral"] * 4
    assert takes[4].emotion in EMOTIONS
    assert takes[4].emotion != "neutral"
    assert all(take.recipe == voice.recipe for take in takes)


def test_voices_get_different_words() -> None:
    first = [utterances(voice)[0].text for voice in VOICES]
    assert len(set(first)) > len(first) / 3
    assert {utterances(voice)[-1].emotion for voice in VOICES} == set(EMOTIONS) - {"neutral"}
