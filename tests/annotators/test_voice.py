"""Engine `voice`: gender and age by cues and embedding."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import VOICELESS, odd_audio, syllables

from annotators.base import Annotator, Example
from annotators.clip import Clip
from annotators.voice import VoiceAgeConfig, VoiceGenderConfig
from manifests.labels import AGES, GENDERS

DATA = Path(__file__).parents[1] / "data" / "fsdd"
CONFIGS = {"gender": VoiceGenderConfig, "age": VoiceAgeConfig}


@pytest.fixture(scope="module")
def annotators() -> dict[str, Annotator]:
    return {family: config().open() for family, config in CONFIGS.items()}


@pytest.mark.parametrize("name", odd_audio())
def test_odd_audio_is_answered(annotators: dict[str, Annotator], name: str):
    clip = Clip(*odd_audio()[name])
    for family, classes in (("gender", GENDERS), ("age", AGES)):
        label = annotators[family].annotate(clip)
        assert tuple(label.probabilities) == classes
        assert sum(label.probabilities.values()) == pytest.approx(1)
        assert np.isfinite(list(label.evidence.values())).all()
        if name in VOICELESS:
            assert label.value == "none"
            assert len(set(label.probabilities.values())) == 1


def test_men_who_read_digits_of_many_accents(annotators: dict[str, Annotator]):
    rows = list(csv.DictReader((DATA / "labels.csv").open()))
    clips = [Clip(*soundfile.read(DATA / row["file"], dtype="float32")) for row in rows]
    found = [annotators["gender"].annotate(clip).value for clip in clips]
    assert found.count("male") >= len(rows) - 1


def test_equal_clips_give_equal_labels(annotators: dict[str, Annotator]):
    sound = syllables(120, 17)
    for annotator in annotators.values():
        assert annotator.annotate(Clip(sound, 16000)) == annotator.annotate(Clip(sound.copy(), 16000))


def test_configs():
    gender, age = VoiceGenderConfig(), VoiceAgeConfig()
    assert (gender.role, age.role) == ("annotator.gender", "annotator.age")
    assert (gender.consistency_only, age.consistency_only) == (False, True)
    assert gender.problems() == age.problems() == []
    assert gender.revision() != age.revision()
    assert set(gender.thresholds()) == set(GENDERS)
    assert set(age.thresholds()) == set(AGES)
    assert gender.card()["corpora"]


def test_fit_on_other_clips():
    voices = [("male", 100, 18), ("male", 115, 17.5), ("female", 210, 14.5), ("female", 230, 14)]
    examples = [
        Example(Clip(syllables(hertz, length), 16000), label, f"{label}{hertz}") for label, hertz, length in voices
    ]
    annotator = VoiceGenderConfig().fit(examples)
    assert annotator.annotate(Clip(syllables(105, 17.7), 16000)).value == "male"
    assert annotator.annotate(Clip(syllables(220, 14.2), 16000)).value == "female"
    with pytest.raises(ValueError, match="1 of 2 labels"):
        VoiceGenderConfig().fit(examples[:2])
