"""Cue arithmetic and waveform edits, without a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import synthesis
from manifests.labels import AGES, EMOTIONS, GENDERS
from synthesis.measure_voices import median_f0
from synthesis.prosody import (
    CEILING,
    REFERENCE_DBFS,
    Cues,
    CueTable,
    active_dbfs,
    finish,
    read_cues,
    shape_contours,
)

RATE = 24000


@pytest.fixture(scope="module")
def table() -> CueTable:
    return read_cues(Path(synthesis.__file__).parent / "data" / "kokoro" / "cues.csv")


def _voice(f0: float = 150.0, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(int(RATE * seconds)) / RATE
    return sum(np.sin(2 * np.pi * f0 * k * time) / k for k in range(1, 20)).astype(np.float32) * 0.1


def test_the_table_has_every_label(table: CueTable) -> None:
    assert set(table.emotions) == set(EMOTIONS)
    assert set(table.bodies) == {(age, gender) for age in AGES for gender in GENDERS}


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_intensity_zero_is_neutral_and_one_is_the_row(table: CueTable, emotion: str) -> None:
    weak = table.cues(emotion, 0.0, "adult", "female")
    neutral = table.cues("neutral", 1.0, "adult", "female")
    assert (weak.f0, weak.rate, weak.gain_db) == (neutral.f0, neutral.rate, neutral.gain_db)
    assert weak.tremor_st == 0.0
    strong, row = table.cues(emotion, 1.0, "adult", "male"), table.emotions[emotion]
    assert strong.f0 == pytest.approx(row.f0)
    assert strong.gain_db == pytest.approx(row.gain_db)


def test_intensity_acts_as_a_power_on_factors_and_linearly_on_the_rest(table: CueTable) -> None:
    half = table.cues("angry", 0.5, "adult", "male")
    neutral, angry = table.emotions["neutral"], table.emotions["angry"]
    assert half.f0 == pytest.approx(np.sqrt(neutral.f0 * angry.f0))
    assert half.gain_db == pytest.approx((neutral.gain_db + angry.gain_db) / 2)


def test_an_absolute_pitch_is_that_of_the_neutral_voice(table: CueTable) -> None:
    neutral = table.cues("neutral", 1.0, "child", "female")
    assert neutral.f0_hz == 290
    assert neutral.f0 == pytest.approx(1.0)
    happy = table.cues("happy", 1.0, "child", "female")
    assert happy.f0 == pytest.approx(table.emotions["happy"].f0 / table.emotions["neutral"].f0)


def test_the_deeper_tremor_wins(table: CueTable) -> None:
    assert table.cues("fear", 1.0, "old", "male").tremor_hz == table.emotions["fear"].tremor_hz
    assert table.cues("neutral", 1.0, "old", "male").tremor_hz == table.bodies["old", "male"].tremor_hz


def test_contours_follow_the_cues_and_leave_unvoiced_frames_alone() -> None:
    f0 = np.concatenate([np.zeros(10), np.geomspace(100, 200, 100), np.zeros(10)]).astype(np.float32)
    energy = np.zeros(120, np.float32)
    shaped, lifted = shape_contours(f0, energy, Cues(f0=1.5, energy=0.4), np.random.default_rng(0))
    np.testing.assert_allclose(shaped[10:110], 1.5 * f0[10:110], rtol=1e-5)
    assert not shaped[:10].any()
    np.testing.assert_allclose(lifted[[0, 50]], [0.2, 0.4])
    wide, _ = shape_contours(f0, energy, Cues(spread=2.0), np.random.default_rng(0))
    assert np.ptp(np.log2(wide[10:110])) == pytest.approx(2 * np.ptp(np.log2(f0[10:110])), rel=1e-3)
    high, _ = shape_contours(f0, energy, Cues(f0_hz=290.0), np.random.default_rng(0))
    assert np.median(high[10:110]) == pytest.approx(290, rel=0.01)


def test_contours_without_a_voiced_frame_are_refused() -> None:
    with pytest.raises(ValueError, match="voiced"):
        shape_contours(np.zeros(50, np.float32), np.zeros(50, np.float32), Cues(), np.random.default_rng(0))


def test_alpha_moves_pitch_with_the_samples_as_resampling_does() -> None:
    low = finish(_voice(), RATE, Cues(), np.random.default_rng(0))
    high = finish(_voice(), RATE, Cues(alpha=1.2), np.random.default_rng(0))
    assert median_f0(high, RATE) == pytest.approx(1.2 * median_f0(low, RATE), rel=0.02)
    assert len(high) == pytest.approx(len(low) / 1.2, rel=0.02)


@pytest.mark.parametrize("gain", [-4.0, 0.0, 6.0])
def test_the_level_is_the_cue(gain: float) -> None:
    out = finish(_voice(), RATE, Cues(gain_db=gain), np.random.default_rng(0))
    assert active_dbfs(out) == pytest.approx(REFERENCE_DBFS + gain, abs=0.3)


def test_tilt_moves_energy_upwards() -> None:
    def share_above_1k(cues: Cues) -> float:
        power = np.abs(np.fft.rfft(finish(_voice(), RATE, cues, np.random.default_rng(0)))) ** 2
        return power[len(power) // 12 :].sum() / power.sum()

    assert share_above_1k(Cues(tilt=-3)) < share_above_1k(Cues()) < share_above_1k(Cues(tilt=3))


def test_peaks_stay_under_the_ceiling_without_turning_all_down() -> None:
    wave = _voice(seconds=2.0)
    wave[RATE] = 3.0  # one click must not cost the rest its level
    out = finish(wave, RATE, Cues(gain_db=10.0, drive=2.0), np.random.default_rng(0))
    assert np.abs(out).max() <= CEILING
    assert active_dbfs(out) > REFERENCE_DBFS + 8.5


def test_the_same_seed_gives_the_same_samples() -> None:
    cues = Cues(shimmer_db=1.6, breath=0.01, tremor_hz=5.0)
    one, two = (finish(_voice(), RATE, cues, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one, two)
    assert one.dtype == np.float32
    assert not np.array_equal(one, finish(_voice(), RATE, cues, np.random.default_rng(4)))


@pytest.mark.parametrize("wave", [np.zeros(1000), np.full(1000, np.nan)])
def test_silence_and_nan_are_refused(wave: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no sound"):
        finish(wave, RATE, Cues(), np.random.default_rng(0))
