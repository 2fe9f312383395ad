"""Years to age groups, and checkpoints that are none of the network's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from sounds import SAMPLE_RATE, syllables
from tiny_engines import age_gender, wav2vec2_config

from annotators.clip import Clip
from annotators.heads import unsure
from annotators.wav2vec2_age_gender import Wav2vec2Age, Wav2vec2AgeConfig, Wav2vec2Gender, age_probabilities
from manifests.errors import UserError
from manifests.labels import AGES
from pipeline.stages.listen import confidence


class Known:
    """A network whose answer is known."""

    def __init__(self, years: float, female: float, male: float, child: float) -> None:
        self.found = years, {"female": female, "male": male, "child": child}

    def measure(self, clip: Clip) -> tuple[float, dict[str, float]]:
        return self.found


CLIP = Clip(syllables(120, 17), SAMPLE_RATE)


@pytest.mark.parametrize(("years", "group"), [(6, "child"), (13.9, "child"), (14, "adult"), (59, "adult"), (60, "old")])
def test_years_are_cut_into_groups(years: float, group: str) -> None:
    label = Wav2vec2Age(Known(years, 0.5, 0.5, 0.0), 14.0, 60.0, 10.0).annotate(CLIP)  # type: ignore[arg-type]
    assert label.value == group
    assert label.evidence["years"] == years


def test_the_confidence_is_that_of_the_label_given() -> None:
    label = Wav2vec2Age(Known(30.0, 0.5, 0.5, 0.0), 29.0, 32.0, 10.0).annotate(CLIP)  # type: ignore[arg-type]
    assert label.value == "adult"
    assert max(label.probabilities.values()) > label.probabilities["adult"]
    assert confidence(label) == label.probabilities["adult"]
    assert confidence(unsure(AGES)) == pytest.approx(1 / 3)


def test_probabilities_follow_the_distance_from_the_cuts() -> None:
    sure, unsure = age_probabilities(35, 14, 60, 10), age_probabilities(58, 14, 60, 10)
    assert sure["adult"] > 0.97
    assert unsure["adult"] == pytest.approx(0.579, abs=0.001)
    assert sum(unsure.values()) == pytest.approx(1)


def test_a_childs_voice_is_left_out_of_gender_and_told() -> None:
    label = Wav2vec2Gender(Known(8, 0.3, 0.1, 0.6)).annotate(CLIP)  # type: ignore[arg-type]
    assert label.value == "female"
    assert label.probabilities == pytest.approx({"female": 0.75, "male": 0.25})
    assert label.evidence["child_voice"] == 0.6


def test_cuts_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="child_below"):
        Wav2vec2AgeConfig(child_below=70)


def test_names_of_older_checkpoints_are_read(tmp_path: Path) -> None:
    """Published weights name the weight norm as torch did before 2.0."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    age_gender(folder)
    before = Wav2vec2AgeConfig(model=str(folder)).open().annotate(CLIP)
    state = load_file(folder / "model.safetensors")
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in state.items()
    }
    assert old.keys() != state.keys()
    other = tmp_path / "older"
    other.mkdir()
    (other / "config.json").write_bytes((folder / "config.json").read_bytes())
    save_file(old, other / "model.safetensors", metadata={"format": "pt"})
    after = Wav2vec2AgeConfig(model=str(other)).open().annotate(CLIP)
    assert after.evidence["years"] == pytest.approx(before.evidence["years"], abs=1e-4)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    from transformers import Wav2Vec2Model

    Wav2Vec2Model(wav2vec2_config()).save_pretrained(tmp_path / "bare")
    with pytest.raises(UserError, match="age and gender model"):
        Wav2vec2AgeConfig(model=str(tmp_path / "bare")).open()


def test_a_long_clip_is_heard_in_part(tmp_path: Path) -> None:
    age_gender(tmp_path / "model")
    engine = Wav2vec2AgeConfig(model=str(tmp_path / "model")).open()
    voice = np.tile(syllables(120, 17), 20)
    whole, part = (engine.annotate(Clip(audio, SAMPLE_RATE)) for audio in (voice, voice[: 30 * SAMPLE_RATE]))
    assert whole.evidence == part.evidence
