"""Cues as numbers, and the numpy edits that put them into a voice.

Two kinds of edit: on the contours that the model predicts before it vocodes (pitch, range, rate, energy,
tremor, jitter), and on the waveform after it (formants, tilt, shimmer, breath, drive, level). Formants move
without a vocoder: the speech is made slower and lower by `alpha` and then resampled by `alpha`, which puts
rate and pitch back and leaves the formants scaled.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import soxr
from scipy.fft import irfft, next_fast_len, rfft
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.signal import butter, lfilter, sosfilt

CONTOUR_RATE = 80.0
"""Frames a second of the F0 and energy contours, at the model's own speed."""

REFERENCE_DBFS = -26.0
"""Level of active speech that `gain_db` is relative to, in dBFS RMS."""

CEILING = 0.98
"""Highest absolute sample value."""

_VOICED_HZ = 40.0  # the model writes less than this into unvoiced frames
_F0_LIMITS = (60.0, 600.0)
_LEAD_SECONDS, _TAIL_SECONDS = 0.03, 0.075  # silence kept around the speech
_MULTIPLIERS = ("f0", "spread", "rate", "alpha")
_TREMOR = ("tremor_st", "tremor_hz")


@dataclass(frozen=True)
class Cues:
    """How a rendering differs from the stock voice; the defaults change nothing but the level.

    Attributes:
        f0: Factor on the median F0.
        spread: Factor on the F0 range around the median, on a log scale.
        rate: Factor on the speech rate.
        gain_db: Level of active speech relative to `REFERENCE_DBFS`, in dB.
        tilt: Spectral slope around 1 kHz, in dB per octave.
        energy: Added to the model's energy contour (its unit: about one natural log of amplitude).
        final_st: Rise over the last 30 % of the utterance, in semitones.
        alpha: Factor on the formants; above 1 for a shorter vocal tract.
        tremor_st: Depth of slow F0 modulation, in semitones.
        tremor_hz: Its rate.
        jitter_st: Standard deviation of fast F0 noise, in semitones.
        shimmer_db: Depth of level modulation, in dB.
        breath: Level of the noise that follows the envelope (0 to about 0.02).
        drive: Amount of saturation (0 to about 2).
        f0_hz: Median F0 of the neutral voice in Hz, instead of the voice's own; None to keep it.
    """

    f0: float = 1.0
    spread: float = 1.0
    rate: float = 1.0
    gain_db: float = 0.0
    tilt: float = 0.0
    energy: float = 0.0
    final_st: float = 0.0
    alpha: float = 1.0
    tremor_st: float = 0.0
    tremor_hz: float = 0.0
    jitter_st: float = 0.0
    shimmer_db: float = 0.0
    breath: float = 0.0
    drive: float = 0.0
    f0_hz: float | None = None


@dataclass(frozen=True)
class CueTable:
    """The cues of every emotion, and of every (age, gender)."""

    emotions: Mapping[str, Cues]
    bodies: Mapping[tuple[str, str], Cues]

    def cues(self, emotion: str, intensity: float, age: str, gender: str) -> Cues:
        """The cues of an utterance.

        Args:
            emotion: A row of the table.
            intensity: 0 gives the neutral row, 1 the emotion's; between them factors grow as powers and
                the rest linearly.
            age: With `gender`, a row of the table.
            gender: `female` or `male`.
        """
        neutral, target = self.emotions["neutral"], self.emotions[emotion]
        body = self.bodies[age, gender]
        out: dict[str, float | None] = {}
        for field in fields(Cues):
            name = field.name
            if name == "f0_hz" or name in _TREMOR:
                continue
            start, end, own = getattr(neutral, name), getattr(target, name), getattr(body, name)
            if name in _MULTIPLIERS:
                out[name] = start * (end / start) ** intensity * own
            else:
                out[name] = start + (end - start) * intensity + own
        # Two tremors would beat against each other: the deeper one stays.
        feeling = (target.tremor_st * intensity, target.tremor_hz)
        out["tremor_st"], out["tremor_hz"] = max(feeling, (body.tremor_st, body.tremor_hz))
        if body.f0_hz is not None:
            # `f0_hz` says what the neutral voice is, and the neutral row already has a factor of its own.
            out["f0_hz"], out["f0"] = body.f0_hz, float(out["f0"] or 1.0) / neutral.f0
        return Cues(**out)  # type: ignore[arg-type]


def read_cues(path: Path) -> CueTable:
    """Read a cue table.

    Args:
        path: CSV with columns `kind` (`emotion` or `age`), `name`, `gender`, those of `Cues`, `source`.
    """
    names = [field.name for field in fields(Cues)]
    emotions: dict[str, Cues] = {}
    bodies: dict[tuple[str, str], Cues] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            cues = Cues(**{name: float(row[name]) for name in names if row[name]})
            if row["kind"] == "emotion":
                emotions[row["name"]] = cues
            else:
                bodies[row["name"], row["gender"]] = cues
    return CueTable(emotions, bodies)


def shape_contours(
    f0: np.ndarray, energy: np.ndarray, cues: Cues, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Put the cues into the model's contours, which were predicted at the speed `cues.rate / cues.alpha`.

    Args:
        f0: (num_frames,) in Hz, at or under 40 in unvoiced frames.
        energy: (num_frames,) in the model's unit.
        cues: What to put in.
        rng: Draws tremor phase noise and jitter.

    Returns:
        New f0 and energy, float32, of the same shape.

    Raises:
        ValueError: No frame is voiced.
    """
    voiced = f0 > _VOICED_HZ
    if not voiced.any():
        raise ValueError("the text gives no voiced sound")
    num = len(f0)
    octaves = np.log2(np.maximum(f0.astype(np.float64), 1.0))
    median = float(np.median(octaves[voiced]))
    shift = np.log2(cues.f0) + (np.log2(cues.f0_hz) - median if cues.f0_hz else 0.0)
    contour = (octaves - median) * cues.spread + median + shift

    where = np.flatnonzero(voiced)
    start, end = int(where[0]), int(where[-1])
    length = max(end - start, 1)
    ramp = np.clip((np.arange(num) - (end - 0.3 * length)) / (0.3 * length), 0.0, 1.0) ** 1.5
    contour += cues.final_st / 12 * ramp
    if cues.tremor_st:
        seconds = np.arange(num) / (CONTOUR_RATE * cues.alpha)  # as heard, after resampling
        wander = 0.12 * np.cumsum(rng.standard_normal(num))
        contour += cues.tremor_st / 12 * np.sin(2 * np.pi * cues.tremor_hz * seconds + wander)
    if cues.jitter_st:
        contour += cues.jitter_st / 12 * np.asarray(lfilter([1.0], [1.0, -0.3], rng.standard_normal(num)))

    shaped = np.where(voiced, np.clip(2.0**contour, *_F0_LIMITS) / cues.alpha, f0)
    lifted = energy + np.where(voiced, cues.energy, 0.5 * cues.energy)
    return shaped.astype(np.float32), lifted.astype(np.float32)


def finish(samples: np.ndarray, sample_rate: int, cues: Cues, rng: np.random.Generator) -> np.ndarray:
    """Turn the model's waveform into the rendering: formants, trimmed silence, timbre, level.

    The level is part of the cue (an angry voice is loud), so nothing may normalise it later.

    Args:
        samples: (num_samples,) as the model gave it.
        sample_rate: In Hz; kept.
        cues: What to put in.
        rng: Draws shimmer and breath.

    Returns:
        float32 (num_output_samples,), at most `CEILING` in absolute value.

    Raises:
        ValueError: The model gave silence or numbers that are not finite.
    """
    wave = samples.astype(np.float64)
    if not np.isfinite(wave).all() or not np.any(np.abs(wave) > 1e-4):
        raise ValueError("the model gave no sound")
    if cues.alpha != 1.0:
        wave = np.asarray(soxr.resample(wave, sample_rate * cues.alpha, sample_rate, quality="HQ"))
    wave = _at_level(wave, REFERENCE_DBFS, 0.01)
    wave = _trim(wave, sample_rate)
    if cues.tilt:
        wave = _tilt(wave, sample_rate, cues.tilt)
    if cues.shimmer_db:
        wave = wave * _shimmer(len(wave), sample_rate, cues, rng)
    if cues.breath:
        envelope = np.sqrt(_moving_mean(wave**2, int(0.02 * sample_rate)))
        noise = sosfilt(butter(2, 1500, "hp", fs=sample_rate, output="sos"), rng.standard_normal(len(wave)))
        wave = wave + cues.breath * np.asarray(noise) * np.clip(envelope / 0.05, 0.0, 1.5)
    if cues.drive:
        wave = wave + 0.15 * cues.drive * np.tanh(8 * wave) * np.abs(wave) / np.abs(wave).max()
    wave = _at_level(wave, REFERENCE_DBFS + cues.gain_db, 0.003)
    return _limit(wave, sample_rate).astype(np.float32)


def active_dbfs(samples: np.ndarray, gate: float = 0.003) -> float:
    """Level of the samples whose absolute value exceeds `gate`, in dBFS RMS; -120 when there are none."""
    active = samples[np.abs(samples) > gate].astype(np.float64)
    return 10 * float(np.log10(np.mean(active**2))) if len(active) else -120.0


def _at_level(wave: np.ndarray, dbfs: float, gate: float) -> np.ndarray:
    """`wave` scaled such that its active samples have the level `dbfs`."""
    now = active_dbfs(wave, gate)
    if now == -120.0:  # all under the gate
        now = active_dbfs(wave, 0.0)
    return wave * 10 ** ((dbfs - now) / 20)


def _trim(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """Without the model's silence before and after the speech, but for a short margin."""
    loud = np.flatnonzero(np.abs(wave) > 0.01)
    if not len(loud):
        return wave
    start = max(0, int(loud[0]) - int(_LEAD_SECONDS * sample_rate))
    return wave[start : int(loud[-1]) + int(_TAIL_SECONDS * sample_rate)]


def _tilt(wave: np.ndarray, sample_rate: int, tilt: float) -> np.ndarray:
    """Slope of `tilt` dB per octave, flat under 125 Hz and over 6 kHz lest rumble and hiss run away."""
    size = int(next_fast_len(len(wave), real=True) or len(wave))
    spectrum = np.asarray(rfft(wave, size))
    octaves = np.log2(np.maximum(np.fft.rfftfreq(size, 1 / sample_rate), 62.0) / 1000.0)
    spectrum *= 10 ** (tilt * np.clip(octaves, -3.0, 2.6) / 20)
    return np.asarray(irfft(spectrum, size))[: len(wave)]


def _limit(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """Turn the gain down around peaks over `CEILING` only.

    Scaling all of a loud utterance down would take up to 6 dB from an angry voice, and with them its cue.
    """
    magnitude = np.abs(wave)
    if magnitude.max() <= CEILING:
        return wave
    width = 2 * int(0.005 * sample_rate) + 1
    # Every gain in the window of a peak is at most what that peak needs, so their mean is too.
    gain = minimum_filter1d(np.minimum(1.0, CEILING / np.maximum(magnitude, CEILING)), width, mode="nearest")
    return np.clip(wave * np.asarray(uniform_filter1d(gain, width, mode="nearest")), -CEILING, CEILING)


def _shimmer(num: int, sample_rate: int, cues: Cues, rng: np.random.Generator) -> np.ndarray:
    """Gain over time, (num,): a modulation at the tremor's rate and noise at 50 Hz."""
    seconds = np.arange(num) / sample_rate
    knots = np.arange(0.0, num / sample_rate + 0.04, 0.02)
    slow = 0.7 * np.sin(2 * np.pi * (cues.tremor_hz or 5.5) * seconds)
    fast = 0.5 * np.interp(seconds, knots, rng.standard_normal(len(knots)))
    return 10 ** (cues.shimmer_db * (slow + fast) / 20)


def _moving_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Centred mean over `width` samples, zeros beyond the ends."""
    total = np.concatenate([[0.0], np.cumsum(np.pad(values, (width // 2, width - width // 2)))])
    return np.maximum(total[width:] - total[:-width], 0.0)[: len(values)] / width
