"""Annotator of gender from pitch and vocal-tract length, in numpy alone.

Two numbers carry most of what listeners hear as the gender of an adult voice: its fundamental frequency and
the length of the vocal tract, which scales the formants (Fitch & Giedd 1999). Both move with emotion and age.
It errs on raised voices of men and on low, soft ones of women, and cannot tell boys from girls: their pitch
and formants hardly differ, so a boy is most often called female.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Literal

import numpy as np
import soxr

from annotators.audio import prepare
from annotators.base import Annotator, AnnotatorConfig, Label
from manifests import labels
from manifests.engine import Problem, Throughput
from manifests.errors import UserError

VERSION = 1  # of the code below: raise it when the same clip may get another label
SAMPLE_RATE = 16000  # Hz
HOP = 160  # samples between frames: 10 ms
F0_FLOOR, F0_CEILING = 60.0, 500.0  # Hz
_RULE = Path(__file__).parent / "data" / "gender_f0_formants.json"
_FRAME = 800  # samples: three periods of the lowest pitch
_FFT = 2048  # holds a frame and its longest lag without wrapping
_BLOCK = 1024  # frames at once, to bound memory for long clips
_BAND = (50.0, 1500.0)  # Hz that pitch is sought in: breath and hiss lie above
_OCTAVE_COST = 0.05  # per octave of lag, so that of nearly equal peaks the shortest period wins
_VOICING = 0.5  # least normalised autocorrelation of a voiced frame
_QUIET = 10**-3.5  # frames 35 dB below the loudest are not voiced
_FEWEST = 6  # frames: less than 60 ms of voice says nothing
_FEWEST_FORMANTS = 10  # frames
_LPC_SECONDS = 0.025
_WIDEST = 800.0  # Hz: poles that are broader shape the slope of the spectrum
_SPEED_OF_SOUND = 35000.0  # cm/s, in warm moist air


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
    count = -(-len(audio) // HOP)
    padded = np.pad(audio - audio.mean(), (_FRAME // 2, _FRAME // 2 + HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[: count * HOP : HOP]
    window = np.hanning(_FRAME).astype(np.float32)
    bins = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)
    mask = (bins >= _BAND[0]) & (bins <= _BAND[1])
    shape = np.fft.irfft(np.abs(np.fft.rfft(window, _FFT)) ** 2)
    lags = np.arange(int(SAMPLE_RATE / F0_CEILING) - 1, int(SAMPLE_RATE / F0_FLOOR) + 2)
    f0, energy = np.zeros(count), np.zeros(count)
    for start in range(0, count, _BLOCK):
        block = slice(start, start + _BLOCK)
        spectrum = np.abs(np.fft.rfft(frames[block] * window, _FFT)) ** 2 * mask
        correlation = np.fft.irfft(spectrum, axis=-1)
        energy[block] = correlation[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            normal = correlation[:, lags] / correlation[:, :1] / (shape[lags] / shape[0])
        f0[block] = _best_period(np.nan_to_num(normal), lags)
    f0[energy <= energy.max() * _QUIET] = 0
    voiced = f0[f0 > 0]
    if len(voiced):
        middle = np.median(voiced)
        f0[(f0 < 0.6 * middle) | (f0 > 1.7 * middle)] = 0
    return f0


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

    Formants are the poles of linear prediction on 25 ms frames, two poles for every kHz as adults have one
    formant each, of the louder half of the frames as breath masks the rest. A tube closed at one end
    resonates at odd multiples of c / 4L; L is fitted to F1 to F4 by least squares, to F1 to F3 when the clip
    has no band for a fourth.

    Args:
        audio: float32 (num_samples,) at 16 kHz.
        voiced: bool (num_frames,), as from `pitch_track(audio) > 0`.
        bandwidth: Highest frequency that the clip can hold, in Hz; half its original rate.

    Returns:
        In cm; NaN when fewer than 10 frames have their formants (less than about 0.4 s of voice): one vowel
        is no tube.
    """
    rate, wanted = (10000, 4) if bandwidth >= 5000 else (8000, 3)
    slow = soxr.resample(audio, SAMPLE_RATE, rate, quality="HQ")
    slow = np.append(slow[:1], slow[1:] - 0.97 * slow[:-1]).astype(np.float64)
    size = int(_LPC_SECONDS * rate)
    starts = np.flatnonzero(voiced)[::2] * HOP * rate // SAMPLE_RATE - size // 2
    starts = starts[(starts >= 0) & (starts + size <= len(slow))]
    if not len(starts):
        return math.nan
    frames = slow[starts[:, None] + np.arange(size)] * np.hamming(size)
    power = (frames**2).sum(axis=1)
    frames = frames[power >= np.median(power)]
    poles = np.linalg.eigvals(_companions(linear_prediction(frames, rate // 1000)))
    frequency = np.angle(poles) * rate / (2 * np.pi)
    width = -np.log(np.maximum(np.abs(poles), 1e-9)) * rate / np.pi
    usable = (frequency > 180) & (frequency < rate / 2 - 200) & (width < _WIDEST)
    formants = np.sort(np.where(usable, frequency, np.inf), axis=1)[:, :wanted]
    formants = formants[np.isfinite(formants).all(axis=1)]
    if len(formants) < _FEWEST_FORMANTS:
        return math.nan
    odd = np.arange(wanted) + 0.5
    spacing = float((odd * np.median(formants, axis=0)).sum() / (odd**2).sum())
    return _SPEED_OF_SOUND / (2 * spacing)


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


def measure(samples: np.ndarray, sample_rate: int) -> dict[str, float]:
    """The evidence: median pitch, length of the vocal tract and share of voiced frames.

    Args:
        samples: Shape (num_samples,), float32 in [-1, 1]; stereo is averaged.
        sample_rate: In Hz.

    Returns:
        `f0_hz` and `vtl_cm`, 0 where they cannot be measured, and `voiced_ratio`, 0 to 1.

    Raises:
        ValueError: The clip is empty or holds NaN or infinite samples.
    """
    audio = prepare(samples, sample_rate, SAMPLE_RATE)
    pitch = pitch_track(audio)
    voiced = pitch > 0
    if voiced.sum() < _FEWEST:
        return {"f0_hz": 0.0, "vtl_cm": 0.0, "voiced_ratio": float(voiced.mean())}
    length = vocal_tract_length(audio, voiced, min(sample_rate, SAMPLE_RATE) / 2)
    return {
        "f0_hz": float(np.median(pitch[voiced])),
        "vtl_cm": 0.0 if math.isnan(length) else length,
        "voiced_ratio": float(voiced.mean()),
    }


class F0FormantGender:
    """A logistic rule on the pitch in octaves and the length of the vocal tract."""

    def __init__(self, rule: dict[str, float]) -> None:
        """Keep the rule.

        Args:
            rule: `intercept`, `per_octave` and `per_cm` of the log odds of a female voice, and the point
                `f0_hz`, `vtl_cm` that they start from.
        """
        self._rule = rule

    def annotate(self, samples: np.ndarray, sample_rate: int) -> Label:
        """Label one clip; `none` at even odds without 60 ms of voice, or for audio that is no audio."""
        try:
            evidence = measure(samples, sample_rate)
        except ValueError:
            evidence = {"f0_hz": 0.0, "vtl_cm": 0.0, "voiced_ratio": 0.0}
        if evidence["f0_hz"] == 0:
            return Label(labels.NONE, dict.fromkeys(labels.GENDERS, 0.5), evidence)
        female = 1 / (1 + math.exp(-self._log_odds(evidence)))
        probabilities = {"female": female, "male": 1 - female}
        return Label(max(probabilities, key=lambda value: probabilities[value]), probabilities, evidence)

    def _log_odds(self, evidence: dict[str, float]) -> float:
        """Of a female voice; a length that could not be measured counts as neither's."""
        rule = self._rule
        octaves = math.log2(evidence["f0_hz"] / rule["f0_hz"])
        longer = evidence["vtl_cm"] - rule["vtl_cm"] if evidence["vtl_cm"] else 0.0
        return rule["intercept"] + rule["per_octave"] * octaves + rule["per_cm"] * longer


class F0FormantGenderConfig(AnnotatorConfig):
    """Gender by pitch and formants, with a rule fitted on synthetic voices (`annotators.train_gender`)."""

    role = "annotator.gender"
    licence = "as this package (code and coefficients)"
    throughput = Throughput(150.0, "core", "CPU time, sentences of 2 to 4 s, one thread")

    engine: Literal["f0_formants"] = "f0_formants"

    def revision(self) -> str:
        """Version of this code and the hash of its rule."""
        return f"f0_formants-v{VERSION}+rule-{hashlib.sha256(_RULE.read_bytes()).hexdigest()[:12]}"

    def problems(self) -> list[Problem]:
        """The rule's file is missing."""
        if _RULE.is_file():
            return []
        return [Problem(f"{_RULE} is missing", "pip install --force-reinstall echat-pipeline")]

    def open(self) -> Annotator:
        """Read the rule.

        Raises:
            UserError: Its file is missing.
        """
        for problem in self.problems():
            raise UserError(f"f0_formants cannot run: {problem.what}; {problem.fix}")
        return F0FormantGender(json.loads(_RULE.read_text(encoding="utf-8"))["rule"])
