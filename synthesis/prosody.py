"""The numpy edits that put cues (`manifests.cues`) into a voice.

Three kinds of edit: on the timing and the contours that the model predicts before it vocodes (rate, pauses,
lengthening, pitch, energy, tremor, jitter), on the spectrum of the waveform after it (single formants, tilt),
and on the waveform (roughness, shimmer, breath, drive, level). All formants move without a vocoder: the
speech is made slower and lower by `alpha` and then resampled by `alpha`, which puts rate and pitch back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr
from scipy.fft import irfft, next_fast_len, rfft
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.signal import butter, lfilter, sosfilt

from manifests.cues import Cues
from synthesis.formants import move_formants

CONTOUR_RATE = 80.0
"""Frames a second of the F0 and energy contours, at the model's own speed; two of them are one model frame."""

REFERENCE_DBFS = -26.0
"""Level of active speech that `gain_db` is relative to, in dBFS RMS."""

CEILING = 0.98
"""Highest absolute sample value."""

_VOICED_HZ = 40.0  # the model writes less than this into unvoiced frames
_F0_LIMITS = (60.0, 600.0)
_LEAD_SECONDS, _TAIL_SECONDS = 0.03, 0.075  # silence kept around the speech
_STRESS = "ˈ"  # stands before a vowel with primary stress
_PAUSES = frozenset(';:,.!?—…()“”"')
_ACCENT_SECONDS = 0.14  # half the width of the bump of an accent
_ENERGY_PER_ST = 0.12  # of an accent, in the model's unit


@dataclass(frozen=True)
class Landmarks:
    """Where things happen in the model's frames (two contour frames each).

    Attributes:
        accents: Middle of every vowel with primary stress, in frames.
        pauses: (start, end) of every pause at punctuation between words.
        coda: (start, end) from the last stressed vowel to the end of the last word; equal when there is none.
    """

    accents: tuple[float, ...]
    pauses: tuple[tuple[int, int], ...]
    coda: tuple[int, int]


def landmarks(sounds: str, durations: np.ndarray) -> Landmarks:
    """Find the landmarks of an utterance.

    Args:
        sounds: Phonemes as `synthesis.kokoro.phonemes` gives them.
        durations: (len(sounds) + 2,) in frames, with the padding on both sides.
    """
    ends = np.cumsum(np.round(durations).astype(int))
    starts = np.concatenate([[0], ends[:-1]])
    spoken = [index for index, sound in enumerate(sounds) if sound.isalpha()]
    last = spoken[-1] if spoken else 0
    accents, pauses = [], []
    for index, sound in enumerate(sounds):
        at = index + 1  # the first token is padding
        if sound == _STRESS and index + 1 < len(sounds):
            accents.append((starts[at] + ends[at + 1]) / 2)
        if sound in _PAUSES and spoken and spoken[0] < index < last:
            # The space before a dash and after any mark belong to the pause.
            first = at - 1 if sounds[index - 1] == " " else at
            final = at + 1 if sounds[index + 1] == " " else at
            if pauses and starts[first] <= pauses[-1][1]:
                pauses[-1] = (pauses[-1][0], int(ends[final]))
            else:
                pauses.append((int(starts[first]), int(ends[final])))
    stressed = sounds.rfind(_STRESS)
    coda = (int(starts[stressed + 1]), int(ends[last + 1])) if stressed >= 0 else (0, 0)
    return Landmarks(tuple(float(accent) for accent in accents), tuple(pauses), coda)


def retime(marks: Landmarks, energy: np.ndarray, cues: Cues) -> np.ndarray:
    """The order in which frames are to be vocoded, such that pauses and the last syllable have their duration.

    A pause is stretched in its quietest frame alone: the others still hold the sounds beside it.

    Args:
        marks: Of the utterance.
        energy: (2 * num_frames,) energy contour.
        cues: `pause` and `lengthening` count here; the rate is the model's own.

    Returns:
        int (num_new_frames,), indices of frames in rising order.
    """
    num = len(energy) // 2
    weights = np.ones(num)
    for start, end in marks.pauses:
        if cues.pause >= 1:
            quietest = start + int(np.argmin(energy[: 2 * num].reshape(-1, 2).sum(axis=1)[start:end]))
            weights[quietest] += (cues.pause - 1) * (end - start)
        else:
            weights[start:end] = cues.pause
    weights[slice(*marks.coda)] *= cues.lengthening
    edges = np.cumsum(weights)
    # Half a frame's slack, such that weights of one give every frame once.
    return np.minimum(np.searchsorted(edges, np.arange(round(float(edges[-1]))) + 0.5), num - 1)


def rearrange(marks: Landmarks, order: np.ndarray) -> Landmarks:
    """The landmarks after `retime`."""

    def moved(frame: float) -> float:
        return float(np.searchsorted(order, frame))

    return Landmarks(
        tuple(moved(accent) for accent in marks.accents),
        tuple((int(moved(start)), int(moved(end))) for start, end in marks.pauses),
        (int(moved(marks.coda[0])), int(moved(marks.coda[1]))),
    )


def shape_contours(
    f0: np.ndarray, energy: np.ndarray, cues: Cues, rng: np.random.Generator, accents: tuple[float, ...] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Put the cues into the model's contours, which were predicted at the speed `cues.rate / cues.alpha`.

    Args:
        f0: (num_frames,) in Hz, at or under 40 in unvoiced frames.
        energy: (num_frames,) in the model's unit.
        cues: What to put in.
        rng: Draws tremor phase noise and jitter.
        accents: Stressed syllables, in model frames (two contour frames each).

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
    progress = (np.arange(num) - start) / max(end - start, 1)
    contour += cues.slope_st / 12 * (np.clip(progress, 0.0, 1.0) - 0.5)
    contour += cues.final_st / 12 * np.clip((progress - 0.7) / 0.3, 0.0, 1.0) ** 1.5
    bumps = _accents(num, accents, cues)
    contour += cues.accent_st / 12 * bumps
    if cues.tremor_st:
        seconds = np.arange(num) / (CONTOUR_RATE * cues.alpha)  # as heard, after resampling
        wander = 0.12 * np.cumsum(rng.standard_normal(num))
        contour += cues.tremor_st / 12 * np.sin(2 * np.pi * cues.tremor_hz * seconds + wander)
    if cues.jitter_st:
        contour += cues.jitter_st / 12 * np.asarray(lfilter([1.0], [1.0, -0.3], rng.standard_normal(num)))

    shaped = np.where(voiced, np.clip(2.0**contour, *_F0_LIMITS) / cues.alpha, f0)
    loud = energy.astype(np.float64)
    if cues.dynamics != 1.0:
        loud = np.where(voiced, (loud - loud[voiced].mean()) * cues.dynamics + loud[voiced].mean(), loud)
    loud += np.where(voiced, cues.energy, 0.5 * cues.energy) + _ENERGY_PER_ST * cues.accent_st * bumps
    return shaped.astype(np.float32), loud.astype(np.float32)


def _accents(num: int, accents: tuple[float, ...], cues: Cues) -> np.ndarray:
    """Height of the accents over contour frames (num,): 1 at the last, 0.5 at the others."""
    height = np.zeros(num)
    width = _ACCENT_SECONDS * CONTOUR_RATE * cues.alpha / cues.rate
    for index, accent in enumerate(accents):
        distance = np.clip((np.arange(num) - 2 * accent) / width, -1.0, 1.0)
        bump = 0.5 * (1 + np.cos(np.pi * distance))
        height = np.maximum(height, bump * (1.0 if index == len(accents) - 1 else 0.5))
    return height


def finish(
    samples: np.ndarray, sample_rate: int, cues: Cues, rng: np.random.Generator, f0: np.ndarray | None = None
) -> np.ndarray:
    """Turn the model's waveform into the rendering: formants, trimmed silence, timbre, level.

    The level is part of the cue (an angry voice is loud), so nothing may normalise it later.

    Args:
        samples: (num_samples,) as the model gave it.
        sample_rate: In Hz; kept.
        cues: What to put in.
        rng: Draws shimmer and breath.
        f0: The contour that the samples were made with, (num_frames,); creak needs it.

    Returns:
        float32 (num_output_samples,), at most `CEILING` in absolute value.

    Raises:
        ValueError: The model gave silence or numbers that are not finite.
    """
    wave = samples.astype(np.float64)
    if not np.isfinite(wave).all() or not np.any(np.abs(wave) > 1e-4):
        raise ValueError("the model gave no sound")
    if cues.creak and f0 is not None:
        wave = wave * _creak(len(wave), sample_rate, f0, cues.creak)
    if cues.alpha != 1.0:
        wave = np.asarray(soxr.resample(wave, sample_rate * cues.alpha, sample_rate, quality="HQ"))
    wave = _at_level(wave, REFERENCE_DBFS, 0.01)
    wave = _trim(wave, sample_rate)
    if cues.open != 1.0 or cues.smile != 1.0:
        wave = move_formants(wave, sample_rate, cues.open, cues.smile)
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


def _creak(num: int, sample_rate: int, f0: np.ndarray, depth: float) -> np.ndarray:
    """Gain over time, (num,), that weakens every other glottal pulse where the voice is voiced.

    Pulses of two sizes in turn are a subharmonic at half of F0, as in creaky and rough voices (Titze 1994).
    """
    frame = np.minimum(np.arange(num) * len(f0) // num, len(f0) - 1)
    voiced = (f0 > _VOICED_HZ).astype(np.float64)[frame]
    pitch = np.interp(np.arange(num), (np.arange(len(f0)) + 0.5) * num / len(f0), f0)
    phase = np.pi * np.cumsum(pitch * voiced) / sample_rate
    smooth = np.asarray(uniform_filter1d(voiced, int(0.02 * sample_rate)))
    return 1 - min(depth, 1.0) * smooth * (0.5 + 0.5 * np.cos(phase))


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
