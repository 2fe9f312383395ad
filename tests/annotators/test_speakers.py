"""Engine `encoder`: one voice or several."""

import numpy as np
import pytest
from sounds import SAMPLE_RATE, odd_audio, syllables

from annotators.base import Annotator
from annotators.clip import Clip, Reference
from annotators.encoder import embed
from annotators.speakers import CLASSES, FEATURES, FEATURES_WITH, EncoderSpeakersConfig, measure

MAN, WOMAN = syllables(105, 18, 1.8), syllables(230, 14, 1.8)
BOTH = np.concatenate([MAN, WOMAN])


@pytest.fixture(scope="module")
def annotator() -> Annotator:
    return EncoderSpeakersConfig().open()


def known(sound: np.ndarray) -> Reference:
    return Reference({}, {}, embed(sound), 14)


def test_a_splice_is_found_where_it_is():
    one, several = measure(Clip(np.concatenate([MAN, MAN]), SAMPLE_RATE)), measure(Clip(BOTH, SAMPLE_RATE))
    assert set(one) == set(several) == set(FEATURES)
    assert several["least_alike"] < one["least_alike"] - 0.1
    assert several["pitch_jump"] == pytest.approx(12 * np.log2(230 / 105), abs=2)
    assert several["shorter_side"] == pytest.approx(1.8, abs=0.25)


def test_the_reference_tells_whose_part_is_strange():
    own, strange = measure(Clip(MAN, SAMPLE_RATE, known(MAN))), measure(Clip(BOTH, SAMPLE_RATE, known(MAN)))
    assert set(own) == set(FEATURES_WITH)
    assert strange["least_like_voice"] < own["least_like_voice"] - 0.1
    assert own["like_voice"] > 0.99


@pytest.mark.parametrize("reference", [None, known(MAN)], ids=["alone", "reference"])
def test_a_splice_is_more_likely_several(annotator: Annotator, reference: Reference | None):
    single = annotator.annotate(Clip(np.concatenate([MAN, MAN]), SAMPLE_RATE, reference))
    splice = annotator.annotate(Clip(BOTH, SAMPLE_RATE, reference))
    assert splice.probabilities["several"] > single.probabilities["several"]
    assert splice.value == "several"


@pytest.mark.parametrize("name", odd_audio())
def test_odd_audio_is_answered(annotator: Annotator, name: str):
    for reference in (None, known(MAN)) if name != "60 s" else (None,):
        label = annotator.annotate(Clip(*odd_audio()[name], reference))
        assert tuple(label.probabilities) == CLASSES
        assert sum(label.probabilities.values()) == pytest.approx(1)
        assert np.isfinite(list(label.evidence.values())).all()
        if name in ("silence", "one sample", "50 ms"):
            assert (label.value, label.probabilities) == ("none", {"one": 0.5, "several": 0.5})


def test_config():
    config = EncoderSpeakersConfig()
    assert (config.role, config.problems()) == ("annotator.speakers", [])
    assert config.needs_reference
    assert set(config.thresholds()) == set(CLASSES)
    assert "ge2e-" in config.revision()
    assert config.card()["corpora"]
