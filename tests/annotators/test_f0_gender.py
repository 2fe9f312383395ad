"""The annotator of gender: pitch, vocal tract, labels, and the fit of its rule."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import lfilter
from sounds import VOICELESS, odd_audio, pulses, vowel

from annotators import train_gender
from annotators.base import Annotator
from annotators.clip import Clip
from annotators.gender import F0FormantGenderConfig
from annotators.pitch import SAMPLE_RATE, linear_prediction, pitch_track, track, vocal_tract_length
from manifests.errors import UserError

DATA = Path(__file__).parents[1] / "data" / "fsdd"
CLIPS = [(row["file"], row["gender"]) for row in csv.DictReader((DATA / "labels.csv").open())]


@pytest.fixture(scope="module")
def annotator() -> Annotator:
    return F0FormantGenderConfig().open()


@pytest.mark.parametrize("hertz", [80, 100, 133, 180, 250, 320, 400])
def test_pitch_of_tones_and_pulses(hertz: float):
    tone = np.sin(2 * np.pi * hertz * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    for sound in (tone, pulses(hertz), vowel(hertz, 16)):
        track = pitch_track(sound)
        assert len(track) == 100
        track = track[3:-3]  # frames at the ends are half empty
        assert np.mean(track > 0) > 0.9
        assert np.abs(track[track > 0] / hertz - 1).max() < 0.03


def test_pitch_follows_a_glide():
    hertz = np.linspace(120, 240, 2 * SAMPLE_RATE)
    sound = np.sign(np.sin(2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE)).astype(np.float32)
    track = pitch_track(sound)
    voiced = track > 0
    assert voiced.mean() > 0.9
    assert np.abs(track / hertz[::160] - 1)[voiced].max() < 0.05


def test_noise_and_silence_have_no_pitch():
    rng = np.random.default_rng(1)
    assert np.mean(pitch_track(rng.normal(size=32000).astype(np.float32)) > 0) < 0.05
    assert not pitch_track(np.zeros(8000, np.float32)).any()


def test_linear_prediction_finds_the_filter():
    true = np.array([1.2, -0.8, 0.3])
    noise = np.random.default_rng(2).normal(size=(3, 20000))
    frames = lfilter([1], [1, *-true], noise, axis=1)
    assert np.allclose(linear_prediction(frames, 3), true, atol=0.03)


@pytest.mark.parametrize("length", [14.0, 15.5, 17.5])
def test_length_of_a_tube(length: float):
    sound = vowel(120, length)
    voiced = pitch_track(sound) > 0
    assert vocal_tract_length(sound, voiced, 8000) == pytest.approx(length, rel=0.04)
    assert np.isnan(vocal_tract_length(sound, np.zeros_like(voiced), 8000))


def test_synthetic_vowels(annotator: Annotator):
    male, female = (annotator.annotate(Clip(vowel(*sound), 16000)) for sound in ((110, 17.5), (220, 14.3)))
    assert (male.value, female.value) == ("male", "female")
    assert male.probabilities["male"] > 0.9 < female.probabilities["female"]
    assert male.evidence["f0_hz"] == pytest.approx(110, rel=0.03)
    assert male.evidence["vtl_cm"] > female.evidence["vtl_cm"]


def test_men_who_read_digits(annotator: Annotator):
    found = [annotator.annotate(Clip(*soundfile.read(DATA / name, dtype="float32"))) for name, _ in CLIPS]
    assert sum(label.value == "male" for label in found) >= len(CLIPS) - 1
    assert all(sum(label.probabilities.values()) == pytest.approx(1) for label in found)


@pytest.mark.parametrize("name", odd_audio())
def test_odd_audio_is_answered(annotator: Annotator, name: str):
    label = annotator.annotate(Clip(*odd_audio()[name]))
    assert set(label.evidence) == {"f0_hz", "vtl_cm", "voiced_ratio"}
    assert sum(label.probabilities.values()) == pytest.approx(1)
    if name in VOICELESS:
        assert (label.value, label.probabilities) == ("none", {"female": 0.5, "male": 0.5})


def test_less_than_60_ms_of_voice_is_no_label(annotator: Annotator):
    assert annotator.annotate(Clip(vowel(110, 17)[:640], 16000)).value == "none"


def test_clipped_stereo_and_other_rates(annotator: Annotator):
    sound = vowel(110, 17.5)
    assert annotator.annotate(Clip(np.clip(sound * 20, -1, 1), 16000)).value == "male"
    stereo = np.stack([sound, sound], axis=1)
    assert annotator.annotate(Clip(stereo, 16000)) == annotator.annotate(Clip(sound, 16000))
    assert annotator.annotate(Clip(sound[::2], 8000)).value == "male"


def test_a_clean_vowel_is_more_harmonic_than_a_breathy_one():
    clean = vowel(120, 17)
    noise = np.random.default_rng(5).normal(size=len(clean)).astype(np.float32)
    clear, breathy = (track(sound).harmonicity for sound in (clean, clean + 0.05 * noise))
    assert np.nanmedian(clear) > 0.97 > np.nanmedian(breathy)


def test_training_recovers_the_genders(tmp_path: Path, annotator: Annotator):
    rows = [(110, 17.5, "male", "a"), (125, 16.8, "m", "b"), (210, 14.2, "female", "c"), (230, 15, "f", "d")]
    lines = ["file,speaker,gender"]
    for index, (hertz, length, gender, speaker) in enumerate(rows):
        soundfile.write(tmp_path / f"{index}.wav", vowel(hertz, length), SAMPLE_RATE)
        lines.append(f"{index}.wav,{speaker},{gender}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    features, female, speakers = train_gender.read_clips(tmp_path)
    rule = train_gender.fit(features, female, speakers)
    assert rule["per_octave"] > 0 > rule["per_cm"]
    assert ((train_gender.log_odds(features, rule) > 0) == female).all()
    assert train_gender.held_out_accuracy(features, female, speakers) == 1
    assert rule.keys() == json.loads(train_gender.SHIPPED_RULE.read_text())["rule"].keys()


def test_training_says_what_is_missing(tmp_path: Path):
    with pytest.raises(UserError, match=r"labels\.csv is missing"):
        train_gender.read_clips(tmp_path)
    (tmp_path / "labels.csv").write_text("file,gender\nx.wav,female\n")
    with pytest.raises(UserError, match="no column speaker"):
        train_gender.read_clips(tmp_path)
    (tmp_path / "labels.csv").write_text("file,speaker,gender\n")
    with pytest.raises(UserError, match="both genders"):
        train_gender.read_clips(tmp_path)


def test_config():
    config = F0FormantGenderConfig()
    assert (config.role, config.problems()) == ("annotator.gender", [])
    assert config.revision().startswith("f0_formants-v")
