"""Voices of the neural speaker: recipes become styles and cues; derived voices are other people (slow)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from manifests.cues import CueTable, read_cues
from manifests.errors import UserError
from manifests.voices import VoiceTable
from synthesis.base import Utterance
from synthesis.kokoro import KokoroConfig
from synthesis.kokoro_voices import Styles, find, pack_names, resolve, shipped
from synthesis.measure_voices import listen, median_f0, told_apart

CHILDREN = (
    "girl,query,train,en,female,child,s1,CC0,bf_emma,310,1.2",
    "boy,query,train,en,male,child,s1,CC0,bf_emma,240,1.1",
)
HEADER = "voice,role,split,language,gender,age,speaker,licence,blend,set_f0_hz,set_alpha"


@pytest.fixture(scope="module")
def cues() -> CueTable:
    return read_cues()


@pytest.fixture(scope="module")
def styles() -> Styles:
    return Styles()


def _table(folder: Path, *rows: str) -> VoiceTable:
    path = folder / "mine.csv"
    path.write_text("\n".join((HEADER, *rows)) + "\n", encoding="utf-8")
    return VoiceTable.load("kokoro", path)


def test_a_blend_is_the_weighted_mean_of_its_packs(styles: Styles) -> None:
    blend = styles["af_bella:0.75+bf_alice:0.25"]
    assert blend.dtype == np.float32
    assert np.allclose(blend, 0.75 * styles["af_bella"] + 0.25 * styles["bf_alice"], atol=1e-6)
    assert "af_bella" in styles
    assert "af_nobody" not in styles


def test_a_voice_is_found_by_recipe_then_by_name_then_as_a_pack() -> None:
    name, recipe = next(item for item in shipped().items() if " " in item[1])
    assert find(name)[0].text == recipe
    assert find(name, "am_adam")[0].text == "am_adam"
    assert find("anyone", "am_adam f0_hz=100") == (find("", "am_adam f0_hz=100")[0], "male")
    for pack in pack_names() - shipped().keys():
        assert find(pack)[0].text == pack


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ("", "kokoro has no voice 'anna'"),
        ("af_nobody", "no stock voice 'af_nobody'"),
        ("af_bella+am_adam", "blends women with men"),
        ("af_bella size=1", "is no cue"),
    ],
)
def test_a_voice_that_cannot_be_made_is_refused(recipe: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        find("anna", recipe)
    assert not KokoroConfig().has_voice("anna", recipe)


def test_settings_replace_the_cues_of_the_age_and_no_others(cues: CueTable) -> None:
    utterance = Utterance("Hi.", "anna", 1, age="old", gender="female", recipe="af_bella f0_hz=150 alpha=0.9")
    voice = resolve(utterance, cues)
    assert (voice.blend, voice.gender) == ("af_bella", "female")
    made, stock = voice.cues.cues("neutral", 0.0, "old", "female"), cues.cues("neutral", 0.0, "old", "female")
    neutral = cues.emotions["neutral"]
    # 150 Hz is what one hears when neutral, whatever factors neutral and old voices have.
    assert (made.f0_hz, made.f0, made.alpha) == (150, pytest.approx(1.0), pytest.approx(0.9 * neutral.alpha))
    kept = {"f0_hz": stock.f0_hz, "f0": stock.f0, "alpha": stock.alpha}
    assert replace(made, **kept) == stock
    assert voice.cues.bodies["old", "male"] == cues.bodies["old", "male"]
    # An emotion raises the voice by as much as any other's.
    happy, plain = voice.cues.cues("happy", 1.0, "old", "female"), cues.cues("happy", 1.0, "adult", "female")
    assert happy.f0 == pytest.approx(plain.f0 / neutral.f0)


def test_without_settings_the_cues_are_the_tables(cues: CueTable) -> None:
    utterance = Utterance("Hi.", "anna", 1, recipe="af_bella:0.5+af_sky:0.5")
    assert resolve(utterance, cues).cues is cues


@pytest.mark.parametrize(
    ("age", "gender", "recipe"),
    [("child", "male", "am_adam"), ("adult", "female", "am_adam"), ("old", "male", "af_bella"), ("young", "male", "x")],
)
def test_ages_and_genders_that_a_pack_cannot_have_are_refused(
    cues: CueTable, age: str, gender: str, recipe: str
) -> None:
    with pytest.raises(ValueError, match=r"cannot speak as|has no"):
        resolve(Utterance("Hi.", "anna", 1, age=age, gender=gender, recipe=recipe), cues)


def test_every_shipped_voice_can_be_made_with_its_labels(cues: CueTable, styles: Styles) -> None:
    voices = VoiceTable.load("kokoro").voices
    for voice in voices:
        utterance = Utterance("Hi.", voice.voice, 1, age=voice.age, gender=voice.gender)
        made = resolve(utterance, cues)
        assert made == resolve(replace(utterance, recipe=voice.recipe), cues)
        assert styles[made.blend].shape == (256, 256)
    assert {pack for voice in voices for pack in find(voice.voice)[0].packs} == pack_names()


def test_a_plan_refuses_a_voice_of_packs_that_do_not_exist(tmp_path: Path) -> None:
    from pipeline.dag import _voices

    table = _table(tmp_path, "anna,query,train,en,female,adult,s1,CC0,af_nobody,,")
    with pytest.raises(UserError, match="no voice 'anna', made as 'af_nobody'"):
        _voices(KokoroConfig(), "query", table.path)


# Renderings


@pytest.mark.slow
def test_two_children_of_one_pack_are_told_apart_and_have_the_pitch_asked_for(tmp_path: Path) -> None:
    voices = _table(tmp_path, *CHILDREN).voices
    takes = list(listen(voices, KokoroConfig(), tmp_path / "cache", neutral=2))
    calm = [take for take in takes if take.emotion == "neutral"]
    scores = told_apart(calm)
    assert (scores.auc, scores.rank1) == (1.0, 1.0)
    for voice, f0_hz in (("girl", 310), ("boy", 240)):
        assert np.mean([take.f0_hz for take in calm if take.voice == voice]) == pytest.approx(f0_hz, rel=0.06)
    # What is there is not spoken again: nothing can be, here.
    again = list(listen(voices, _Mute(), tmp_path / "cache", neutral=2))
    assert [take.voice for take in again] == [take.voice for take in takes]


class _Mute(KokoroConfig):
    def open(self):
        raise AssertionError("nothing was left to speak")


@pytest.mark.slow
def test_a_blend_is_spoken_and_is_neither_parent() -> None:
    speaker = KokoroConfig().open()

    def pitch(recipe: str) -> float:
        speech = speaker.speak(Utterance("The bus leaves in ten minutes.", "anna", 1, recipe=recipe))
        return median_f0(speech.samples, speech.sample_rate)

    low, high = pitch("am_onyx"), pitch("am_eric")
    assert low < 0.95 * pitch("am_onyx:0.5+am_eric:0.5") < 0.95 * high
