"""Acoustic cues: each moves with what it is named after, and odd audio gives NaN, never an error."""

import math

import numpy as np
import pytest
from scipy.signal import butter, sosfilt
from sounds import SAMPLE_RATE, odd_audio, syllables, vowel

from annotators.clip import Clip
from annotators.cues import COURSE, NAMES, measure


def test_same_names_and_numbers_every_time():
    sound = syllables(120, 17)
    first = measure(sound)
    assert tuple(first) == NAMES
    assert first == measure(sound.copy())
    assert all(type(value) is float for value in first.values())
    assert not any(math.isnan(value) for value in first.values())
    assert set(COURSE) < set(NAMES)


@pytest.mark.parametrize("name", odd_audio())
def test_odd_audio(name: str):
    clip = Clip(*odd_audio()[name])
    values = measure(clip.audio, clip.bandwidth)
    assert tuple(values) == NAMES
    assert not any(math.isinf(value) for value in values.values())
    if name in ("silence", "one sample", "constant"):
        assert all(math.isnan(value) for value in values.values())
    if name in ("60 s", "clipped", "stereo", "8 kHz"):
        assert not math.isnan(values["f0_median"])


def test_no_warning_escapes(recwarn: pytest.WarningsRecorder):
    for name, sound in odd_audio().items():
        if name != "60 s":  # as the others, and slow
            measure(Clip(*sound).audio)
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("hertz", [90, 130, 210, 320, 550])
def test_pitch_in_semitones(hertz: float):
    cues = measure(vowel(hertz, 16))
    assert cues["f0_median"] == pytest.approx(12 * math.log2(hertz / 100), abs=0.3)
    assert cues["f0_range"] < 1
    assert abs(cues["f0_slope"]) < 1


def test_pitch_movement():
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    rising = measure(vowel(120 * 2 ** (time / 2), 16, 2.0))
    assert rising["f0_slope"] == pytest.approx(6, abs=0.5)  # an octave in two seconds
    assert rising["f0_final"] > 3 > -3 > rising["f0_initial"]
    assert rising["f0_rising"] > 0.9
    assert rising["f0_peak_at"] > 0.9


def test_levels_are_absolute():
    sound = syllables(120, 17)
    loud, quiet = measure(sound), measure(0.1 * sound)
    for name in ("level_mean", "level_median", "level_p95"):
        assert loud[name] - quiet[name] == pytest.approx(20, abs=0.1)
    for name in set(NAMES) - {"level_mean", "level_median", "level_p95"}:
        assert loud[name] == pytest.approx(quiet[name], rel=0.02, abs=0.05), name
    assert loud["level_p95"] == pytest.approx(20 * math.log10(np.sqrt((sound**2).mean())), abs=6)


def test_tremor_jitter_and_shimmer():
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    rng = np.random.default_rng(0)
    knots = rng.normal(size=len(time) // 160 + 1)
    rough = np.interp(np.arange(len(time)), np.arange(len(knots)) * 160, knots)
    steady = measure(vowel(150, 16, 2.0))
    trembling = measure(vowel(150 * 2 ** (0.8 * np.sin(2 * np.pi * 6 * time) / 12), 16, 2.0))
    hoarse = measure(vowel(150 * 2 ** (0.4 * rough / 12), 16, 2.0))
    shaky = measure((vowel(150, 16, 2.0) * 10 ** (2 * rough / 20)).astype(np.float32))
    assert trembling["tremor"] > steady["tremor"] + 10
    assert hoarse["jitter"] > steady["jitter"] + 1
    assert shaky["shimmer"] > steady["shimmer"] + 1


def test_breath_lowers_harmonicity():
    clean = vowel(150, 16)
    noise = np.random.default_rng(1).normal(size=len(clean)).astype(np.float32)
    clear, breathy = measure(clean), measure(clean + 0.03 * noise)
    for name in ("hnr", "cepstral_peak"):
        assert clear[name] > breathy[name], name


def test_spectral_balance():
    sound = syllables(120, 17)
    dull = sosfilt(butter(2, 800, fs=SAMPLE_RATE, output="sos"), sound).astype(np.float32)
    bright, dark = measure(sound), measure(dull)
    for name in ("alpha_ratio", "high_500", "tilt", "centroid", "balance_2k", "high_4k"):
        assert bright[name] > dark[name], name
    assert bright["hammarberg"] < dark["hammarberg"]
    assert bright["h1_a3"] < dark["h1_a3"]


def test_formants_and_tract():
    long, short = measure(vowel(120, 17.5)), measure(vowel(120, 14.0))
    assert long["vtl_cm"] == pytest.approx(17.5, rel=0.05)
    assert short["vtl_cm"] == pytest.approx(14.0, rel=0.05)
    assert long["f1"] == pytest.approx(math.log2(0.5), abs=0.15)  # 500 Hz
    assert short["f3"] > long["f3"]


def test_tempo_and_pauses():
    sound = syllables(120, 17, 2.0)
    cues = measure(sound)
    assert cues["syllable_rate"] == pytest.approx(4, abs=0.7)
    paused = np.concatenate([sound[:SAMPLE_RATE], np.zeros(SAMPLE_RATE // 2, np.float32), sound[SAMPLE_RATE:]])
    assert measure(paused)["pause_ratio"] > cues["pause_ratio"] + 0.1
    assert measure(vowel(120, 17, 2.0))["voiced_stretch"] > cues["voiced_stretch"]


def test_narrow_clips_lack_what_lies_above():
    sound = syllables(120, 17)
    narrow = measure(sound, 4000.0)
    missing = {name for name, value in narrow.items() if math.isnan(value)}
    assert {"alpha_ratio", "hammarberg", "tilt", "high_4k", "centroid", "f4", "mfcc1_mean"} <= missing
    assert "f0_median" not in missing
    assert "balance_2k" not in missing
