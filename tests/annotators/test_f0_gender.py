"""The annotator of gender: pitch, vocal tract, labels, and the fit of its rule."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import lfilter

from annotators import train_gender
from annotators.base import Annotator
from annotators.gender import (
    SAMPLE_RATE,
    F0FormantGenderConfig,
    linear_prediction,
    measure,
    pitch_track,
    vocal_tract_length,
)
from manifests.errors import UserError

DATA = Path(__file__).parents[1] / "data" / "fsdd"
CLIPS = [(row["file"], row["gender"]) for row in csv.DictReader((DATA / "labels.csv").open())]


@pytest.fixture(scope="module")
def annotator() -> Annotator:
    return F0FormantGenderConfig().open()


def pulses(hertz: float, seconds: float = 1.0) -> np.ndarray:
    """A train of band-limited pulses with a falling spectrum, float32 (num_samples,) at 16 kHz."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    harmonics = np.arange(1, int(7500 / hertz) + 1)
    train = (np.cos(2 * np.pi * hertz * harmonics[:, None] * time) / harmonics[:, None]).sum(axis=0)
    return (train + 0.001 * np.random.default_rng(0).normal(size=len(time))).astype(np.float32)


def vowel(hertz: float, length_cm: float) -> np.ndarray:
    """A neutral vowel of a tube of this length: pulses through its first five resonances."""
    sound = pulses(hertz)
    for number in range(5):
        formant, width = (2 * number + 1) * 35000 / (4 * length_cm), 60 + 40 * number
        radius = np.exp(-np.pi * width / SAMPLE_RATE)
        poles = [1, -2 * radius * np.cos(2 * np.pi * formant / SAMPLE_RATE), radius**2]
        sound = lfilter([sum(poles)], poles, sound)
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


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
    male, female = annotator.annotate(vowel(110, 17.5), 16000), annotator.annotate(vowel(220, 14.3), 16000)
    assert (male.value, female.value) == ("male", "female")
    assert male.probabilities["male"] > 0.9 < female.probabilities["female"]
    assert male.evidence["f0_hz"] == pytest.approx(110, rel=0.03)
    assert male.evidence["vtl_cm"] > female.evidence["vtl_cm"]


def test_men_who_read_digits(annotator: Annotator):
    found = [annotator.annotate(*soundfile.read(DATA / name, dtype="float32")) for name, _ in CLIPS]
    assert sum(label.value == "male" for label in found) >= len(CLIPS) - 1
    assert all(sum(label.probabilities.values()) == pytest.approx(1) for label in found)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, np.float32),
        np.zeros(16000, np.float32),
        np.full(4, 0.5, np.float32),
        np.array([np.nan] * 4000, np.float32),
        np.zeros((3, 5), np.float32),
        vowel(110, 17)[:640],
    ],
    ids=["empty", "silence", "four samples", "NaN", "no audio", "40 ms"],
)
def test_odd_audio_is_no_label(annotator: Annotator, samples: np.ndarray):
    label = annotator.annotate(samples, 16000)
    assert label.value == "none"
    assert label.probabilities == {"female": 0.5, "male": 0.5}
    assert set(label.evidence) == {"f0_hz", "vtl_cm", "voiced_ratio"}


def test_clipped_stereo_and_other_rates(annotator: Annotator):
    sound = vowel(110, 17.5)
    assert annotator.annotate(np.clip(sound * 20, -1, 1), 16000).value == "male"
    stereo = np.stack([sound, sound], axis=1)
    assert annotator.annotate(stereo, 16000) == annotator.annotate(sound, 16000)
    assert annotator.annotate(sound[::2], 8000).value == "male"


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


def test_measure_refuses_bad_samples():
    with pytest.raises(ValueError, match="NaN"):
        measure(np.array([np.nan]), 16000)


def test_config():
    config = F0FormantGenderConfig()
    assert (config.role, config.problems()) == ("annotator.gender", [])
    assert config.revision().startswith("f0_formants-v")
