"""Pitch, formants and length of the vocal tract, in numpy alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import soxr

VERSION = 1  # of the code below: raise it when the same clip may get other numbers
SAMPLE_RATE = 16000  # Hz
HOP = 160  # samples between frames: 10 ms
F0_FLOOR, F0_CEILING = 60.0, 500.0  # Hz
_FRAME = 800  # samples: three periods of the lowest pitch
_FFT = 2048  # holds a frame and its longest lag without wrapping
_BLOCK = 1024  # frames at once, to bound memory for long clips
_BAND = (50.0, 1500.0)  # Hz that pitch is sought in: breath and hiss lie above
_OCTAVE_COST = 0.05  # per octave of lag, so that of nearly equal peaks the shortest period wins
_VOICING = 0.5  # least normalised autocorrelation of a voiced frame
_QUIET = 10**-3.5  # frames 35 dB below the loudest are not voiced
_FEWEST_FORMANTS = 10  # frames
_LPC_SECONDS = 0.025
_WIDEST = 800.0  # Hz: poles that are broader shape the slope of the spectrum
_SPEED_OF_SOUND = 35000.0  # cm/s, in warm moist air


@dataclass(frozen=True)
class Track:
    """Pitch over time; frame i is centred on sample 160 i.

    Attributes:
        f0: float64 (num_frames,), in Hz, 0 where unvoiced.
        harmonicity: float64 (num_frames,), autocorrelation of the full band at the period, clipped to [0.01, 0.999]
            (Boersma 1993); NaN where unvoiced.
    """

    f0: np.ndarray
    harmonicity: np.ndarray

    @property
    def voiced(self) -> np.ndarray:
        """bool (num_frames,)."""
        return self.f0 > 0


def pitch_track(audio: np.ndarray) -> np.ndarray:
    """Fundamental frequency over time, by the autocorrelation method of Boersma (1993).

    The autocorrelation of a Hann-windowed frame is divided by that of the window, the highest peak between
    the lags of 500 and 60 Hz is refined by a parabola, and weak or quiet frames are called unvoiced. Values
    far from the median (below 0.6 or above 1.7 of it) are taken for octave errors and dropped.

    Args:
        audio: float32 (num_samples,) at 16 kHz.

    Returns:
        float64 (ceil(num_samples / 160),), in Hz, 0 where unvoiced; frame i is centred on sample 160 i.
    """
    return track(audio).f0


def track(audio: np.ndarray, ceiling: float = F0_CEILING, lowest: float = 0.6, highest: float = 1.7) -> Track:
    """As `pitch_track`, with how periodic each frame is.

    Args:
        audio: float32 (num_samples,) at 16 kHz.
        ceiling: Highest pitch sought, in Hz.
        lowest: Values below this multiple of the median are dropped as octave errors.
        highest: Values above this multiple of the median likewise.

    Returns:
        The track of ceil(num_samples / 160) frames.
    """
    count = -(-len(audio) // HOP)
    padded = np.pad(audio - audio.mean(), (_FRAME // 2, _FRAME // 2 + HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[: count * HOP : HOP]
    window = np.hanning(_FRAME).astype(np.float32)
    bins = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)
    mask = (bins >= _BAND[0]) & (bins <= _BAND[1])
    shape = np.fft.irfft(np.abs(np.fft.rfft(window, _FFT)) ** 2)
    lags = np.arange(int(SAMPLE_RATE / ceiling) - 1, int(SAMPLE_RATE / F0_FLOOR) + 2)
    f0, energy, harmonicity = np.zeros(count), np.zeros(count), np.full(count, math.nan)
    for start in range(0, count, _BLOCK):
        block = slice(start, start + _BLOCK)
        power = np.abs(np.fft.rfft(frames[block] * window, _FFT)) ** 2
        correlation = np.fft.irfft(power * mask, axis=-1)
        energy[block] = correlation[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            normal = correlation[:, lags] / correlation[:, :1] / (shape[lags] / shape[0])
        f0[block] = _best_period(np.nan_to_num(normal), lags)
        harmonicity[block] = _harmonicity(power, f0[block], shape)
    f0[energy <= energy.max() * _QUIET] = 0
    voiced = f0[f0 > 0]
    if len(voiced):
        middle = np.median(voiced)
        f0[(f0 < lowest * middle) | (f0 > highest * middle)] = 0
    return Track(f0, np.where(f0 > 0, harmonicity, math.nan))


def _harmonicity(power: np.ndarray, f0: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Normalised autocorrelation (num_frames,) of the full band near each period; NaN where f0 is 0."""
    out = np.full(len(f0), math.nan)
    voiced = np.flatnonzero(f0)
    if len(voiced):
        correlation = np.fft.irfft(power[voiced], axis=-1)
        near = np.round(SAMPLE_RATE / f0[voiced]).astype(int)[:, None] + np.arange(-2, 3)
        values = np.take_along_axis(correlation, near, axis=1) / correlation[:, :1] / (shape[near] / shape[0])
        out[voiced] = np.clip(values.max(axis=1), 0.01, 0.999)
    return out


def _best_period(correlation: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """Pitch in Hz of each row of normalised autocorrelations (num_frames, num_lags); 0 where unvoiced."""
    inner = correlation[:, 1:-1]
    peaks = (inner > correlation[:, :-2]) & (inner >= correlation[:, 2:])
    strength = np.where(peaks, inner - _OCTAVE_COST * np.log2(lags[1:-1]), -np.inf)
    at = strength.argmax(axis=1) + 1
    rows = np.arange(len(correlation))
    before, peak, after = (correlation[rows, at + step] for step in (-1, 0, 1))
    bend = before - 2 * peak + after
    shift = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, -1), 0)
    found = peaks.any(axis=1) & (peak >= _VOICING)
    return np.where(found, SAMPLE_RATE / (lags[at] + shift), 0)


def vocal_tract_length(audio: np.ndarray, voiced: np.ndarray, bandwidth: float) -> float:
    """Length of a uniform tube with the median formants of the voiced frames.

    A tube closed at one end resonates at odd multiples of c / 4L; L is fitted to F1 to F4 by least squares, to
    F1 to F3 when the clip has no band for a fourth.

    Args:
        audio: float32 (num_samples,) at 16 kHz.
        voiced: bool (num_frames,), as from `pitch_track(audio) > 0`.
        bandwidth: Highest frequency that the clip can hold, in Hz; half its original rate.

    Returns:
        In cm; NaN when fewer than 10 frames have their formants (less than about 0.4 s of voice): one vowel
        is no tube.
    """
    found = formants(audio, voiced, bandwidth)
    return tube_length(np.median(found, axis=0)) if len(found) >= _FEWEST_FORMANTS else math.nan


def tube_length(middle: np.ndarray) -> float:
    """Length in cm of the uniform tube that fits formants (num_formants,), F1 first, in Hz."""
    odd = np.arange(len(middle)) + 0.5
    return _SPEED_OF_SOUND / (2 * float((odd * middle).sum() / (odd**2).sum()))


def formants(audio: np.ndarray, voiced: np.ndarray, bandwidth: float) -> np.ndarray:
    """Formants of the voiced frames.

    They are the poles of linear prediction on 25 ms frames, two poles for every kHz as adults have one formant
    each, of the louder half of the frames as breath masks the rest.

    Args:
        audio: float32 (num_samples,) at 16 kHz.
        voiced: bool (num_frames,), as from `pitch_track(audio) > 0`.
        bandwidth: Highest frequency that the clip can hold, in Hz; half its original rate.

    Returns:
        float64 (num_frames_found, 4) in Hz, F1 first; 3 columns when `bandwidth` is under 5 kHz. Frames without
        all of them are left out.
    """
    rate, wanted = (10000, 4) if bandwidth >= 5000 else (8000, 3)
    slow = soxr.resample(audio, SAMPLE_RATE, rate, quality="HQ")
    slow = np.append(slow[:1], slow[1:] - 0.97 * slow[:-1]).astype(np.float64)
    size = int(_LPC_SECONDS * rate)
    starts = np.flatnonzero(voiced)[::2] * HOP * rate // SAMPLE_RATE - size // 2
    starts = starts[(starts >= 0) & (starts + size <= len(slow))]
    if not len(starts):
        return np.zeros((0, wanted))
    frames = slow[starts[:, None] + np.arange(size)] * np.hamming(size)
    power = (frames**2).sum(axis=1)
    frames = frames[power >= np.median(power)]
    poles = np.linalg.eigvals(_companions(linear_prediction(frames, rate // 1000)))
    frequency = np.angle(poles) * rate / (2 * np.pi)
    width = -np.log(np.maximum(np.abs(poles), 1e-9)) * rate / np.pi
    usable = (frequency > 180) & (frequency < rate / 2 - 200) & (width < _WIDEST)
    found = np.sort(np.where(usable, frequency, np.inf), axis=1)[:, :wanted]
    return found[np.isfinite(found).all(axis=1)]


def linear_prediction(frames: np.ndarray, order: int) -> np.ndarray:
    """Predictor coefficients of many frames at once, by Levinson's recursion.

    Args:
        frames: float64 (num_frames, num_samples), windowed.
        order: Number of coefficients.

    Returns:
        float64 (num_frames, order): `x[n]` is about the sum of `a[k] x[n - 1 - k]`.
    """
    size = frames.shape[1]
    power = np.abs(np.fft.rfft(frames, 2 * size)) ** 2
    lagged = np.fft.irfft(power, 2 * size)[:, : order + 1]
    lagged[:, 0] = lagged[:, 0] * 1.0001 + 1e-12  # keeps pure tones and silence solvable
    coefficients = np.zeros((len(frames), order))
    error = lagged[:, 0].copy()
    for step in range(order):
        past = coefficients[:, :step]
        reflection = (lagged[:, step + 1] - (past * lagged[:, step:0:-1]).sum(axis=1)) / error
        coefficients[:, :step] = past - reflection[:, None] * past[:, ::-1]
        coefficients[:, step] = reflection
        error *= 1 - reflection**2
    return coefficients


def _companions(coefficients: np.ndarray) -> np.ndarray:
    """Matrices (num_frames, order, order) whose eigenvalues are the poles of the predictors."""
    count, order = coefficients.shape
    matrices = np.zeros((count, order, order))
    matrices[:, 0] = coefficients
    matrices[:, np.arange(1, order), np.arange(order - 1)] = 1
    return matrices
