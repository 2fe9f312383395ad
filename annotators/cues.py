"""Acoustic cues of one clip: the numbers that carry age, gender and emotion, in numpy and scipy alone.

The set follows what is known of vocal affect: pitch, loudness, tempo, pauses, spectral balance and the steadiness of
the voice (Juslin & Laukka 2003; Banse & Scherer 1996; the parameters of Eyben et al. 2016). Levels are absolute, as
loudness is a cue. Pitch is in semitones over 100 Hz, levels and ratios in dB, formants in octaves over 1 kHz, so that
differences mean alike for every voice. Durations of whole clips are left out: the text decides them.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.fft import dct
from scipy.signal import find_peaks

from annotators.encoder import mel_bands
from annotators.pitch import HOP, SAMPLE_RATE, Track, formants, track, tube_length

VERSION = 1  # of this file and of `annotators.pitch`: raise it when the same clip may get other numbers

_CEILING = 620.0  # Hz: frightened and angry voices of women and children pass 500
_FRAME, _FFT = 400, 512
_ACTIVE_DB = 35.0  # frames this far below the loudest are pauses
_SILENCE_DB = -80.0  # dBFS: nothing above it is no sound at all
_FEWEST_VOICED = 6  # frames: less than 60 ms of voice says nothing
_FEWEST_FORMANTS = 4  # frames
_MFCC = 13
_TREMOR = (4.0, 8.0)  # Hz
_FORMANTS: tuple[str, ...] = ("f1", "f2", "f3", "f4")


def measure(audio: np.ndarray, bandwidth: float = SAMPLE_RATE / 2) -> dict[str, float]:
    """Measure the cues of one clip.

    Args:
        audio: float32 (num_samples,), mono at 16 kHz, in [-1, 1].
        bandwidth: Highest frequency that the clip can hold, in Hz; cues that need more are not measured.

    Returns:
        Every cue by name, always the same names; NaN where one cannot be measured.
    """
    cues = dict.fromkeys(NAMES, math.nan)
    if len(audio) < _FRAME or not np.isfinite(audio).all():
        return cues
    audio = audio - audio.mean(dtype=np.float64).astype(np.float32)
    power = _spectrogram(audio)
    level = 10 * np.log10(power.sum(axis=1) / _POWER_SCALE + 1e-12)
    if level.max() < _SILENCE_DB:
        return cues
    active = level > level.max() - _ACTIVE_DB
    pitch = track(audio, _CEILING, 0.5, 2.2)
    size = min(len(level), len(pitch.f0))
    voiced = pitch.voiced[:size] & active[:size]
    pitch = Track(np.where(voiced, pitch.f0[:size], 0), np.where(voiced, pitch.harmonicity[:size], math.nan))
    cues |= _tempo(level, active, voiced)
    cues |= _loudness(level[:size], active[:size])
    cues |= _balance(power[active].mean(axis=0), bandwidth)
    cues |= _timbre(power[:size], active[:size], bandwidth)
    if voiced.sum() >= _FEWEST_VOICED:
        cues |= _melody(pitch)
        cues |= _steadiness(pitch, level[:size])
        cues |= _glottis(power[:size], pitch)
        cues |= _tract(audio, voiced, bandwidth)
    return {name: float(cues[name]) for name in NAMES}


_POWER_SCALE = _FFT * float((np.hanning(_FRAME) ** 2).sum()) / 2


def _spectrogram(audio: np.ndarray) -> np.ndarray:
    """Power float32 (1 + num_samples // 160, 257) of Hann-windowed 25 ms frames every 10 ms."""
    padded = np.pad(audio, _FRAME // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::HOP]
    window = np.hanning(_FRAME).astype(np.float32)
    blocks = [frames[at : at + 1024] for at in range(0, len(frames), 1024)]
    return np.concatenate([np.abs(np.fft.rfft(block * window, _FFT)).astype(np.float32) ** 2 for block in blocks])


def _semitones(hertz: np.ndarray) -> np.ndarray:
    return 12 * np.log2(hertz / 100)


def _melody(pitch: Track) -> dict[str, float]:
    """Level, range and movement of pitch."""
    at = np.flatnonzero(pitch.voiced)
    tones = _semitones(pitch.f0[at])
    low, quarter, median, threequarters, high = np.percentile(tones, [10, 25, 50, 75, 90])
    steps = np.diff(tones)[np.diff(at) == 1]
    fifth = max(3, len(tones) // 5)
    cues = {
        "f0_median": median,
        "f0_mean": tones.mean(),
        "f0_sd": tones.std(),
        "f0_p10": low,
        "f0_p90": high,
        "f0_range": high - low,
        "f0_quartiles": threequarters - quarter,
        "f0_skew": (high + low - 2 * median) / max(high - low, 0.5),
        "f0_slope": np.polyfit(at * HOP / SAMPLE_RATE, tones, 1)[0],
        "f0_initial": tones[:fifth].mean() - tones.mean(),
        "f0_final": tones[-fifth:].mean() - tones.mean(),
        "f0_peak_at": at[np.argmax(tones)] / max(at[-1], 1),
    }
    if len(steps) >= 3:
        cues["f0_speed"] = np.abs(steps).mean() * SAMPLE_RATE / HOP
        cues["f0_rising"] = (steps > 0).mean()
    return cues


def _steadiness(pitch: Track, level: np.ndarray) -> dict[str, float]:
    """Jitter, shimmer, tremor and how harmonic the voice is."""
    at = np.flatnonzero(pitch.voiced)
    tones = _semitones(pitch.f0[at])
    triple = (np.diff(at)[1:] == 1) & (np.diff(at)[:-1] == 1)
    hnr = 10 * np.log10(pitch.harmonicity[at] / (1 - pitch.harmonicity[at]))
    cues = {"hnr": hnr.mean(), "hnr_p25": np.percentile(hnr, 25), "hnr_sd": hnr.std()}
    if triple.sum() >= 3:
        # Second differences every 10 ms: slow melody and swell leave little in them.
        cues["jitter"] = np.log(np.abs(np.diff(tones, 2)[triple]).mean() + 1e-3)
        cues["shimmer"] = np.log(np.abs(np.diff(level[at], 2)[triple]).mean() + 1e-3)
    span = np.arange(at[0], at[-1] + 1)
    if len(span) >= 40:
        line = np.interp(span, at, tones)
        slow = np.convolve(np.pad(line, 15, mode="edge"), np.full(31, 1 / 31), "valid")
        power = np.abs(np.fft.rfft((line - slow) * np.hanning(len(line)))) ** 2
        rate = np.fft.rfftfreq(len(line), HOP / SAMPLE_RATE)
        inside = power[(rate >= _TREMOR[0]) & (rate <= _TREMOR[1])].sum()
        cues["tremor"] = 10 * np.log10(inside / len(line) ** 2 + 1e-6)
    return cues


def _loudness(level: np.ndarray, active: np.ndarray) -> dict[str, float]:
    """Level and its variation, over the active frames."""
    values = level[active]
    low, median, high = np.percentile(values, [10, 50, 95])
    steps = np.diff(level)[active[1:] & active[:-1]]
    cues = {
        "level_mean": 10 * np.log10(np.mean(10 ** (values / 10))),
        "level_median": median,
        "level_p95": high,
        "level_sd": values.std(),
        "level_range": high - low,
    }
    if len(steps) >= 3:
        cues["level_speed"] = np.abs(steps).mean()
        cues["level_rise"] = steps[steps > 0].mean() if (steps > 0).any() else 0.0
    if len(values) >= 20:
        cues["level_slope"] = np.polyfit(np.linspace(0, 1, len(values)), values, 1)[0]
    return cues


def _tempo(level: np.ndarray, active: np.ndarray, voiced: np.ndarray) -> dict[str, float]:
    """Pauses, syllables a second and how long the voice sounds at a stretch."""
    at = np.flatnonzero(active)
    span = at[-1] - at[0] + 1
    cues = {"voiced_ratio": voiced.sum() / active.sum(), "pause_ratio": 1 - active[at[0] : at[-1] + 1].mean()}
    if span < 30:
        return cues
    window = np.hanning(9) / np.hanning(9).sum()
    smooth = np.convolve(np.maximum(level, level.max() - 60), window, "same")
    peaks, _ = find_peaks(smooth, height=smooth.max() - 25, prominence=2.0, distance=7)
    near = np.convolve(voiced.astype(float), np.ones(5), "same") > 0
    cues["syllable_rate"] = sum(near[min(peak, len(near) - 1)] for peak in peaks) / (span * HOP / SAMPLE_RATE)
    edges = np.diff(np.concatenate([[0], voiced.astype(int), [0]]))
    lengths = np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0)
    if len(lengths):
        cues["voiced_stretch"] = np.log(lengths.mean())
        cues["voiced_stretch_longest"] = np.log(lengths.max())
    line = smooth[at[0] : at[-1] + 1] - smooth[at[0] : at[-1] + 1].mean()
    power = np.abs(np.fft.rfft(line * np.hanning(len(line)))) ** 2
    rate = np.fft.rfftfreq(len(line), HOP / SAMPLE_RATE)
    slow, fast = power[(rate >= 1) & (rate < 4)].sum(), power[(rate >= 4) & (rate < 12)].sum()
    cues["rhythm"] = 10 * np.log10((fast + 1e-6) / (slow + 1e-6))
    return cues


def _balance(spectrum: np.ndarray, bandwidth: float) -> dict[str, float]:
    """Ratios and slopes of the long-term power spectrum (257,) of the active frames."""
    hertz = np.arange(len(spectrum)) * SAMPLE_RATE / _FFT
    spectrum = spectrum + spectrum.max() * 1e-9

    def band(low: float, high: float) -> float:
        return 10 * math.log10(float(spectrum[(hertz >= low) & (hertz < high)].sum()))

    def slope(low: float, high: float) -> float:
        inside = (hertz >= low) & (hertz <= high)
        return float(np.polyfit(np.log2(hertz[inside]), 10 * np.log10(spectrum[inside]), 1)[0])

    cues = {
        "high_500": band(500, 3800) - band(60, 500),
        "slope_low": slope(100, 500),
        "slope_mid": slope(500, 1500),
        "slope_high": slope(1500, 3800),
        "balance_2k": band(2000, 3800) - band(60, 1000),
    }
    if bandwidth >= 5000:
        peak = [
            10 * math.log10(float(spectrum[(hertz >= a) & (hertz < b)].max())) for a, b in ((0, 2000), (2000, 5000))
        ]
        cues["alpha_ratio"] = band(1000, 5000) - band(60, 1000)
        cues["hammarberg"] = peak[0] - peak[1]
        cues["tilt"] = slope(200, 5000)
    if bandwidth >= 7500:
        cues["high_4k"] = band(4000, 7500) - band(60, 4000)
        cues["centroid"] = math.log2(float((hertz * spectrum).sum() / spectrum.sum()))
    return cues


def _timbre(power: np.ndarray, active: np.ndarray, bandwidth: float) -> dict[str, float]:
    """Mean and deviation of mel cepstra over active frames, and how much the spectrum's shape changes."""
    low = _mel_decibels(power[active], 4000.0)
    cues = {}
    if len(low) >= 3:
        cues["flux"] = np.abs(np.diff(low - low.mean(axis=1, keepdims=True), axis=0)).mean()
    if bandwidth >= 7500:
        cepstra = np.asarray(dct(_mel_decibels(power[active], SAMPLE_RATE / 2), axis=1, norm="ortho"))[:, 1:_MFCC]
        for index in range(_MFCC - 1):
            cues[f"mfcc{index + 1}_mean"] = cepstra[:, index].mean()
            cues[f"mfcc{index + 1}_sd"] = cepstra[:, index].std()
    return cues


def _mel_decibels(power: np.ndarray, highest: float) -> np.ndarray:
    """Levels (num_frames, 26) of mel bands up to a frequency, at most 70 dB under that of the frame."""
    return 10 * np.log10(power @ mel_bands(26, _FFT, highest) + power.sum(axis=1, keepdims=True) * 1e-7 + 1e-12)


def _glottis(power: np.ndarray, pitch: Track) -> dict[str, float]:
    """How the voice source falls off: first against second harmonic, and against the third formant's region."""
    at = np.flatnonzero(pitch.voiced)
    hertz = pitch.f0[at]
    spectra = 10 * np.log10(power[at] + power[at].sum(axis=1, keepdims=True) * 1e-8)

    def around(centre: np.ndarray, half: np.ndarray) -> np.ndarray:
        low = np.clip(np.round((centre - half) * _FFT / SAMPLE_RATE), 0, _FFT // 2 - 1).astype(int)
        high = np.clip(np.round((centre + half) * _FFT / SAMPLE_RATE), 1, _FFT // 2).astype(int)
        columns = np.arange(spectra.shape[1])
        inside = (columns >= low[:, None]) & (columns <= high[:, None])
        return np.where(inside, spectra, -200).max(axis=1)

    first, second = around(hertz, hertz * 0.3), around(2 * hertz, hertz * 0.3)
    third = around(np.full(len(at), 2700.0), np.full(len(at), 500.0))
    quefrency = np.fft.irfft(spectra, axis=1)
    period = np.clip(np.round(SAMPLE_RATE / hertz).astype(int)[:, None] + np.arange(-3, 4), 0, _FFT // 2)
    return {
        "h1_h2": float(np.mean(first - second)),
        "h1_a3": float(np.mean(first - third)),
        "cepstral_peak": float(np.take_along_axis(quefrency, period, axis=1).max(axis=1).mean()),
    }


def _tract(audio: np.ndarray, voiced: np.ndarray, bandwidth: float) -> dict[str, float]:
    """Median formants, their spread and the length of the vocal tract."""
    found = formants(audio, voiced, bandwidth)
    if len(found) < _FEWEST_FORMANTS:
        return {}
    octaves = np.log2(found / 1000)
    cues: dict[str, float] = {"f1_sd": octaves[:, 0].std(), "f2_sd": octaves[:, 1].std()}
    cues |= zip(_FORMANTS, np.median(octaves, axis=0).tolist(), strict=False)
    cues["vtl_cm"] = tube_length(np.median(found, axis=0))
    return cues


NAMES: tuple[str, ...] = (
    *("f0_median", "f0_mean", "f0_sd", "f0_p10", "f0_p90", "f0_range", "f0_quartiles", "f0_skew", "f0_slope"),
    *("f0_initial", "f0_final", "f0_peak_at", "f0_speed", "f0_rising"),
    *("hnr", "hnr_p25", "hnr_sd", "jitter", "shimmer", "tremor"),
    *("level_mean", "level_median", "level_p95", "level_sd", "level_range", "level_speed", "level_rise"),
    *("level_slope", "voiced_ratio", "pause_ratio", "syllable_rate", "voiced_stretch", "voiced_stretch_longest"),
    *("rhythm", "high_500", "slope_low", "slope_mid", "slope_high", "balance_2k", "alpha_ratio", "hammarberg"),
    *("tilt", "high_4k", "centroid", "flux", "h1_h2", "h1_a3", "cepstral_peak"),
    *(*_FORMANTS, "f1_sd", "f2_sd", "vtl_cm"),
    *(f"mfcc{index}_{kind}" for index in range(1, _MFCC) for kind in ("mean", "sd")),
)
"""Every cue, in the order in which `measure` gives them."""

COURSE = ("f0_slope", "f0_initial", "f0_final", "f0_peak_at", "f0_skew", "f0_rising", "level_slope")
"""Cues of the course over a clip; a sentence's form and a cut clip decide them as much as the voice does."""
