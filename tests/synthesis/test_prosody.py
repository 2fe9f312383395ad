"""Edits of timing, contours and waveforms, without a model."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from manifests.cues import Cues
from synthesis.formants import move_formants
from synthesis.measure_voices import median_f0
from synthesis.prosody import (
    CEILING,
    REFERENCE_DBFS,
    Landmarks,
    active_dbfs,
    finish,
    landmarks,
    rearrange,
    retime,
    shape_contours,
)

RATE = 24000


def _voice(f0: float = 150.0, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(int(RATE * seconds)) / RATE
    return sum(np.sin(2 * np.pi * f0 * k * time) / k for k in range(1, 20)).astype(np.float32) * 0.1


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


def test_slope_and_accents_move_pitch_where_they_say() -> None:
    f0, energy = np.full(160, 150, np.float32), np.zeros(160, np.float32)
    rising, _ = shape_contours(f0, energy, Cues(slope_st=4.0), np.random.default_rng(0))
    assert 12 * np.log2(rising[-1] / rising[0]) == pytest.approx(4.0, abs=0.1)
    assert np.median(rising) == pytest.approx(150, rel=0.01)
    high, loud = shape_contours(f0, energy, Cues(accent_st=3.0), np.random.default_rng(0), accents=(20.0, 60.0))
    tones = 12 * np.log2(high / 150)
    np.testing.assert_allclose(tones[[0, 40, 80, 120]], [0.0, 1.5, 0.0, 3.0], atol=0.01)
    assert loud[80] < loud[40] < loud[120]


def test_dynamics_widen_energy_around_its_mean() -> None:
    f0, energy = np.full(100, 150, np.float32), np.linspace(0, 2, 100, dtype=np.float32)
    _, wide = shape_contours(f0, energy, Cues(dynamics=1.5), np.random.default_rng(0))
    assert np.ptp(wide) == pytest.approx(1.5 * np.ptp(energy), rel=1e-3)
    assert wide.mean() == pytest.approx(energy.mean(), rel=1e-3)


SOUNDS = "sˈO ðə, tˈAm."
DURATIONS = np.array([4, 2, 1, 3, 1, 2, 2, 1, 2, 2, 1, 3, 2, 3, 5], np.float32)  # padding on both sides


def test_landmarks_find_stress_pauses_and_the_end() -> None:
    assert len(SOUNDS) + 2 == len(DURATIONS)
    marks = landmarks(SOUNDS, DURATIONS)
    assert marks.accents == (8.0, 22.0)  # from the mark to the end of its vowel
    assert marks.pauses == ((15, 18),)  # the comma and the space after it, not the full stop
    assert marks.coda == (20, 26)  # without the full stop


def test_landmarks_of_a_word_without_stress() -> None:
    assert landmarks("ðə", np.array([1, 2, 2, 1])) == Landmarks((), (), (0, 0))


def test_retiming_changes_pauses_and_the_end_alone() -> None:
    marks = landmarks(SOUNDS, DURATIONS)
    energy = np.ones(2 * int(DURATIONS.sum()))
    energy[32:34] = -5.0  # frame 16, in the pause
    plain = retime(marks, energy, Cues())
    np.testing.assert_array_equal(plain, np.arange(int(DURATIONS.sum())))
    assert rearrange(marks, plain) == marks
    longer = retime(marks, energy, Cues(pause=3.0))
    assert np.bincount(longer)[16] == 7  # 1 and twice the 3 frames of the pause, all where it is quiet
    assert np.delete(np.bincount(longer), 16).max() == 1
    assert rearrange(marks, longer).accents == (8.0, 28.0)
    shorter = retime(marks, energy, Cues(pause=0.3))
    assert len(plain) - len(shorter) == 2
    drawn_out = retime(marks, energy, Cues(lengthening=1.5))
    assert len(drawn_out) == len(plain) + 3
    assert (np.diff(drawn_out) >= 0).all()


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


def _peak(wave: np.ndarray, low: float, high: float) -> float:
    """Frequency of the highest point of the smoothed spectrum between two frequencies."""
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    smooth = np.convolve(power, np.hanning(int(250 * len(wave) / RATE)), "same")
    hertz = np.fft.rfftfreq(len(wave), 1 / RATE)
    inside = (hertz > low) & (hertz < high)
    return float(hertz[inside][smooth[inside].argmax()])


def test_single_formants_move_and_pitch_stays() -> None:
    noise = np.zeros(RATE)
    noise[:: RATE // 100] = 1.0  # pulses at 100 Hz
    wave = noise
    for centre in (500.0, 2000.0):  # two resonances
        radius, angle = np.exp(-np.pi * 250 / RATE), 2 * np.pi * centre / RATE
        wave = lfilter([1.0], [1.0, -2 * radius * np.cos(angle), radius**2], wave)
    same = move_formants(wave, RATE, 1.0, 1.0)
    np.testing.assert_allclose(same, wave, atol=1e-3 * np.abs(wave).max())
    moved = move_formants(wave, RATE, 1.25, 0.85)
    assert 1.1 * _peak(wave, 200, 1000) < _peak(moved, 200, 1000) < 1.3 * _peak(wave, 200, 1000)
    assert _peak(moved, 1300, 3000) == pytest.approx(0.85 * _peak(wave, 1300, 3000), rel=0.05)
    assert median_f0(moved, RATE) == pytest.approx(100, rel=0.02)


def test_creak_puts_energy_at_half_of_f0() -> None:
    def subharmonic(depth: float) -> float:
        out = finish(_voice(200.0), RATE, Cues(creak=depth), np.random.default_rng(0), np.full(80, 200.0))
        power = np.abs(np.fft.rfft(out[:RATE] * np.hanning(len(out[:RATE])))) ** 2
        hertz = np.fft.rfftfreq(len(out[:RATE]), 1 / RATE)
        return power[np.abs(hertz - 300) < 10].sum() / power[np.abs(hertz - 200) < 10].sum()

    assert subharmonic(0.0) < 1e-4 < 10 * subharmonic(0.2) < 10 * subharmonic(0.6)


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
