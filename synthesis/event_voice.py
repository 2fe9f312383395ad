"""A voice as the maker of vocal sounds: its vowels at any pitch and length, its breath, its bursts.

The neural model only speaks, and stops following a pitch contour above about 300 Hz. So it is asked for a few
sounds in the speaker's voice, and these are rearranged: voiced sounds by overlapping single periods at a new pitch
(TD-PSOLA, Moulines & Charpentier 1990), breath by noise through the linear-prediction filter of the speaker's own
vowel (Makhoul 1975), which is the vocal tract that real breath would pass through.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_toeplitz
from scipy.signal import butter, lfilter, sosfilt

FRAME_RATE = 80.0
"""Frames a second of a take's F0 contour."""

_ORDER = 28  # of linear prediction at 24 kHz: about a pole per kHz and a few for the slope
_VOICED_HZ = 40.0
_EDGE_SECONDS = 0.004  # fades against clicks
_WIDEN = 0.975  # per coefficient: breath flows through an open glottis, which broadens the formants by some 200 Hz
_FEWEST_PERIODS = 6  # fewer make a buzz
_SOLID = 0.25  # of the loudest period: quieter ones are on-glides and do not stand for the vowel


@dataclass(frozen=True)
class Take:
    """What the model said when asked for a few sounds.

    Attributes:
        samples: float32 (num_samples,).
        f0: (num_frames,) in Hz at `FRAME_RATE`, at or under 40 where unvoiced.
        bounds: (num_sounds + 1,) sample indices between the sounds, in their order.
        sounds: The phonemes, one character each.
    """

    samples: np.ndarray
    f0: np.ndarray
    bounds: np.ndarray
    sounds: str


@dataclass(frozen=True)
class VoiceBody:
    """What sounds need to know of the speaker.

    Attributes:
        take: Sounds of this voice, without any cue.
        sample_rate: Of the take, in Hz.
        f0_hz: Median F0 of this speaker's neutral speech, age and gender included.
        alpha: Factor on the formants that the speaker's age asks for.
        tremor_st: Depth of the age's slow F0 modulation, in semitones.
        tremor_hz: Its rate.
    """

    take: Take
    sample_rate: int
    f0_hz: float
    alpha: float = 1.0
    tremor_st: float = 0.0
    tremor_hz: float = 5.0


def voiced_median(f0: np.ndarray) -> float:
    """Median of the voiced frames of a contour, in Hz.

    Raises:
        ValueError: None is voiced.
    """
    voiced = f0[f0 > _VOICED_HZ]
    if not len(voiced):
        raise ValueError("the voice gives no voiced sound to make an event of")
    return float(np.median(voiced))


class Vowel:
    """One voiced sound of a take, cut into periods that can be put together anew."""

    def __init__(self, take: Take, sound: str, sample_rate: int) -> None:
        """Find the sound in the take and its periods.

        Args:
            take: Holds the sound at least once, maybe with length marks after it; the longest is used.
            sound: One phoneme.
            sample_rate: Of the take, in Hz.

        Raises:
            ValueError: The take has no such sound, or nothing in it is voiced.
        """
        places = [_stretch(take, place) for place, name in enumerate(take.sounds) if name == sound]
        if not places:
            raise ValueError(f"the take {take.sounds!r} has no {sound!r}")
        self.sample_rate = sample_rate
        self._wave = take.samples.astype(np.float64)
        longest = max(places, key=lambda place: place[1] - place[0])
        # Where the model puts its boundaries is not always where it sounds: then all that is voiced must do.
        for start, end in (longest, (0, len(take.samples))):
            self._marks, self._periods = _pitch_marks(self._wave, take.f0, start, end, sample_rate)
            if len(self._marks) >= _FEWEST_PERIODS:
                break
        else:
            raise ValueError(f"the sound {sound!r} is not voiced in {take.sounds!r}")
        self.filter = _vocal_tract(self._wave[self._marks[0] : self._marks[-1]])
        """Linear-prediction coefficients of the vocal tract in this sound, (order + 1,), the first of them 1."""

    def sing(self, f0: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The sound with a new pitch contour.

        Args:
            f0: (num_samples,) in Hz, the pitch at every sample of the result.
            rng: Picks among neighbouring periods, so that a long vowel does not buzz.

        Returns:
            (num_samples,), RMS 1 where it sounds.
        """
        out = np.zeros(len(f0))
        if not len(f0):
            return out
        phase = np.cumsum(f0 / self.sample_rate)
        targets = np.searchsorted(phase, np.arange(0.5, phase[-1], 1.0))
        wobble = rng.integers(-2, 3, len(targets))
        for target, step in zip(targets, wobble, strict=True):
            share = target / len(f0)
            index = int(np.clip(round(share * (len(self._marks) - 1)) + step, 0, len(self._marks) - 1))
            _overlay(out, self._grain(index), int(target))
        return _unit(out)

    def _grain(self, index: int) -> np.ndarray:
        """Two periods around a mark, faded at both ends, of unit energy."""
        period, mark = int(self._periods[index]), int(self._marks[index])
        grain = self._wave[max(mark - period, 0) : mark + period]
        grain = grain * np.hanning(2 * period + 1)[period - min(mark, period) :][: len(grain)]
        energy = float(np.sqrt((grain**2).sum()))
        return grain / energy if energy > 0 else grain


def breath(
    tract: np.ndarray, num: int, rng: np.random.Generator, sample_rate: int, low: float = 300.0, high: float = 9000.0
) -> np.ndarray:
    """Noise through the speaker's vocal tract.

    Args:
        tract: `Vowel.filter`.
        num: Number of samples.
        rng: Draws the noise.
        sample_rate: In Hz.
        low: Edges of the band, in Hz; a closed mouth or a narrow throat pass less.
        high: Likewise.

    Returns:
        (num,), RMS 1.
    """
    noise = rng.standard_normal(num + 2000)
    # The vowel's filter also holds the fall of the glottal pulse, 12 dB an octave less 6 of radiation, which turbulent
    # air has not: one difference takes it out.
    coloured = np.diff(lfilter([1.0], tract, noise))[-num:] if num else np.zeros(0)
    band = butter(2, [low, min(high, 0.45 * sample_rate)], "bp", fs=sample_rate, output="sos")
    return _unit(np.asarray(sosfilt(band, coloured)))


def envelope(num: int, points: list[tuple[float, float]]) -> np.ndarray:
    """A gain over time, (num,), through (share of the length, level in dB) points, with click-free ends."""
    places, levels = zip(*points, strict=True)
    return 10 ** (np.interp(np.linspace(0, 1, num), places, levels) / 20)


def faded(wave: np.ndarray, sample_rate: int, seconds: float = _EDGE_SECONDS) -> np.ndarray:
    """`wave` with short fades at both ends."""
    num = min(int(seconds * sample_rate), len(wave) // 2)
    if num < 1:
        return wave
    out = wave.copy()
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(num) + 0.5) / num)
    out[:num] *= ramp
    out[-num:] *= ramp[::-1]
    return out


def _stretch(take: Take, place: int) -> tuple[int, int]:
    """First and last sample of a sound and the length marks after it."""
    end = place + 1
    while end < len(take.sounds) and take.sounds[end] == "ː":
        end += 1
    return int(take.bounds[place]), int(take.bounds[end])


def _unit(wave: np.ndarray) -> np.ndarray:
    level = float(np.sqrt(np.mean(wave**2))) if len(wave) else 0.0
    return wave / level if level > 0 else wave


def _overlay(out: np.ndarray, grain: np.ndarray, centre: int) -> None:
    """Add a grain to `out` around a sample, cut at the ends."""
    start = centre - len(grain) // 2
    first, last = max(start, 0), min(start + len(grain), len(out))
    if first < last:
        out[first:last] += grain[first - start : last - start]


def _pitch_marks(
    wave: np.ndarray, f0: np.ndarray, start: int, end: int, sample_rate: int
) -> tuple[np.ndarray, np.ndarray]:
    """Samples of the main peak of each period between `start` and `end`, and the periods' lengths in samples."""
    pitch = np.interp(np.arange(start, end) / sample_rate, (np.arange(len(f0)) + 0.5) / FRAME_RATE, f0)
    voiced = np.flatnonzero(pitch > _VOICED_HZ)
    if not len(voiced):
        return np.zeros(0, int), np.zeros(0, int)
    smooth = np.convolve(wave[start:end], np.hanning(9) / np.hanning(9).sum(), "same")
    sign = 1.0 if smooth.max() > -smooth.min() else -1.0
    smooth = sign * smooth
    marks, periods = [], []
    position = int(voiced[0]) + int(np.argmax(smooth[voiced[0] : voiced[0] + int(sample_rate / pitch[voiced[0]])]))
    while position < min(int(voiced[-1]), len(smooth)):
        period = sample_rate / max(float(pitch[position]), _VOICED_HZ)
        marks.append(start + position)
        periods.append(round(period))
        first = position + int(0.8 * period)
        window = smooth[first : position + int(1.2 * period) + 1]
        if not len(window):
            break
        position = first + int(np.argmax(window))
    levels = np.array([float(np.abs(wave[mark - 2 : mark + 3]).max()) for mark in marks])
    solid = levels >= _SOLID * levels.max() if len(levels) else np.zeros(0, bool)
    return np.array(marks, int)[solid], np.array(periods, int)[solid]


def _vocal_tract(wave: np.ndarray) -> np.ndarray:
    """Linear-prediction coefficients (order + 1,) of a stretch of speech, by autocorrelation."""
    windowed = wave * np.hanning(len(wave))
    size = 1 << (2 * len(wave) - 1).bit_length()
    lags = np.fft.irfft(np.abs(np.fft.rfft(windowed, size)) ** 2)[: _ORDER + 1]
    lags[0] = lags[0] * 1.001 + 1e-12  # white noise 30 dB down keeps the filter from ringing
    return np.concatenate([[1.0], -solve_toeplitz(lags[:-1], lags[1:])]) * _WIDEN ** np.arange(_ORDER + 1)
