"""The seven vocal sound events, put together from a speaker's own vowels, breath and bursts.

Each recipe draws its numbers from a row of the table of events; what the row does not say (envelopes, how a sob
trembles) is the same for all and stands here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import soxr
from scipy.signal import butter, sosfilt

from synthesis.event_table import EventCues
from synthesis.event_voice import VoiceBody, Vowel, breath, envelope, faded

VERSION = 1  # part of the speaker's revision: raise it with any edit that changes a rendering

Points = list[tuple[float, float]]
_SWELL: Points = [(0, -18), (0.15, 0), (0.6, -2), (1, -22)]
_INHALE: Points = [(0, -30), (0.6, 0), (0.85, -3), (1, -30)]
_MAX_HZ = 1100.0  # of any pitch


def render(event: str, cues: EventCues, voice: Callable[[str], VoiceBody], rng: np.random.Generator) -> np.ndarray:
    """Render one event in a speaker's voice.

    Args:
        event: A value of `manifests.labels.EVENTS`.
        cues: What to draw from.
        voice: Gives the speaker with a take of the phonemes asked for.
        rng: Every draw is from it.

    Returns:
        float64 (num_samples,) at the voice's sample rate; its level means nothing.

    Raises:
        ValueError: The voice does not give the material.
    """
    sounds = cues.sounds[int(rng.integers(len(cues.sounds)))]
    body = voice(sounds)
    wave = _RECIPES[event](_Throat(cues, body, rng))
    if body.alpha != 1.0:
        # Everything was made lower and slower by alpha, so that the formants alone are moved here.
        wave = np.asarray(soxr.resample(wave, body.sample_rate * body.alpha, body.sample_rate, quality="HQ"))
    return wave


def vowel_of(sounds: str) -> str:
    """The vowel of a phoneme string of the table: its last sound that is neither `h` nor a mark."""
    return [sound for sound in sounds if sound not in "hˈˌː ,.!?"][-1]


class _Throat:
    """The tools of one event: a voice, a row of the table and the random draws."""

    def __init__(self, cues: EventCues, body: VoiceBody, rng: np.random.Generator) -> None:
        self.cues, self.body, self.rng = cues, body, rng
        self.vowel = Vowel(body.take, vowel_of(body.take.sounds), body.sample_rate)
        self.count = cues.count.draw_count(rng)
        self.f0 = (cues.f0_start.draw(rng), cues.f0_end.draw(rng))
        self.noise = cues.noise.draw(rng)

    def seconds(self) -> float:
        return self.cues.seconds.draw(self.rng)

    def samples(self, seconds: float) -> int:
        return round(seconds * self.body.alpha * self.body.sample_rate)

    def gap(self) -> np.ndarray:
        return np.zeros(self.samples(self.cues.gap.draw(self.rng)))

    def step(self, index: int) -> float:
        """The pitch factor of a bout: from the first of them to the last, on a log scale."""
        share = index / (self.count - 1) if self.count > 1 else 0.0
        return float(self.f0[0] * (self.f0[1] / self.f0[0]) ** share)

    def pitch(self, num: int, factors: Points, jitter_st: float, tremor_st: float, tremor_hz: float) -> np.ndarray:
        """F0 at every sample, in Hz, through (share of the length, factor on the speaker's own) points."""
        places, values = zip(*factors, strict=True)
        octaves = np.interp(np.linspace(0, 1, num), places, np.log2(values))
        at = np.arange(num) / (self.body.sample_rate * self.body.alpha)
        depth, rate = max((tremor_st, tremor_hz), (self.body.tremor_st, self.body.tremor_hz))
        octaves += depth / 12 * np.sin(2 * np.pi * (rate * at + self.rng.uniform()))
        knots = np.arange(0, num + 241, 240)
        octaves += jitter_st / 12 * np.interp(np.arange(num), knots, self.rng.standard_normal(len(knots)))
        return np.clip(self.body.f0_hz * 2.0**octaves, 40.0, _MAX_HZ) / self.body.alpha

    def voiced(
        self,
        seconds: float,
        factors: Points,
        shape: Points,
        noise: float | None = None,
        jitter_st: float = 0.3,
        tremor: tuple[float, float] = (0.0, 5.0),
    ) -> np.ndarray:
        """A voiced sound with breath in it, under an envelope."""
        num = self.samples(seconds)
        share = self.noise if noise is None else noise
        tone = self.vowel.sing(self.pitch(num, factors, jitter_st, *tremor), self.rng)
        air = breath(self.vowel.filter, num, self.rng, self.body.sample_rate)
        return faded((np.sqrt(1 - share) * tone + np.sqrt(share) * air) * envelope(num, shape), self.body.sample_rate)

    def air(self, seconds: float, shape: Points, low: float = 300.0, high: float = 9000.0) -> np.ndarray:
        """Breath alone, under an envelope."""
        num = self.samples(seconds)
        noise = breath(self.vowel.filter, num, self.rng, self.body.sample_rate, low, high)
        return faded(noise * envelope(num, shape), self.body.sample_rate)

    def inhale(self, seconds: float, level_db: float) -> np.ndarray:
        """A breath drawn in: brighter than one let out, and swelling."""
        return 10 ** (level_db / 20) * self.air(seconds, _INHALE, 700.0, 7000.0)

    def rough(self, wave: np.ndarray, hz: float, depth: float) -> np.ndarray:
        """Amplitude modulation with a wandering rate, which is heard as roughness."""
        wander = 1 + 0.15 * np.interp(
            np.arange(len(wave)), np.arange(0, len(wave) + 961, 960), self.rng.standard_normal(len(wave) // 960 + 2)
        )
        phase = 2 * np.pi * np.cumsum(hz * wander / (self.body.sample_rate * self.body.alpha))
        return wave * (1 - depth * (0.5 + 0.5 * np.sin(phase)))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.uniform() < probability)


def _laugh(throat: _Throat) -> np.ndarray:
    """Calls of a breath and a vowel, four or five a second, that sink in pitch and level; then often air again."""
    parts, fall = [], throat.rng.uniform(5, 13)
    for index in range(throat.count):
        pitch, seconds = throat.step(index), throat.seconds()
        loud = 10 ** (-fall * max(index - 1, 0) / throat.count / 20)
        parts.append(loud * 0.35 * throat.air(0.35 * seconds, [(0, -14), (0.6, 0), (1, -3)]))
        shape: Points = [(0, -10), (0.2, 0), (0.6, -3), (1, -20)]
        factors: Points = [(0, 0.95 * pitch), (0.3, 1.06 * pitch), (1, 0.84 * pitch)]
        parts.append(loud * throat.voiced(0.65 * seconds, factors, shape))
        parts.append(throat.gap())
    if throat.chance(0.4):
        parts.append(throat.inhale(throat.rng.uniform(0.2, 0.4), -14))
    return np.concatenate(parts)


def _cough(throat: _Throat) -> np.ndarray:
    """A burst as the glottis opens, noise that dies away, and often a voiced end."""
    parts = [throat.inhale(throat.rng.uniform(0.15, 0.3), -22)] if throat.chance(0.4) else []
    for index in range(throat.count):
        seconds = throat.seconds()
        burst = throat.air(0.035, [(0, -6), (0.12, 0), (1, -10)], 400.0, 10500.0)
        noise = 0.5 * throat.air(0.55 * seconds, [(0, -2), (0.3, -4), (1, -16)], 350.0, 8000.0)
        factor = throat.step(index)
        body = throat.voiced(
            0.6 * seconds, [(0, 1.1 * factor), (1, 0.7 * factor)], [(0, -14), (0.3, -6), (1, -28)], jitter_st=1.0
        )
        bout = _mixed(burst, (throat.samples(0.012), noise), (throat.samples(0.3 * seconds), 0.7 * body))
        parts += [bout * 10 ** (-throat.rng.uniform(0, 5) * index / 20), throat.gap()]
    return np.concatenate(parts[:-1])


def _cry(throat: _Throat) -> np.ndarray:
    """Sobs: a gasp in two or three jerks, then a trembling wail that breaks and falls."""
    parts = []
    for index in range(throat.count):
        for _ in range(int(throat.rng.integers(1, 4))):
            parts += [throat.inhale(throat.rng.uniform(0.07, 0.14), -13), np.zeros(throat.samples(0.02))]
        factor, seconds = throat.step(index), throat.seconds()
        tremor = (throat.rng.uniform(0.6, 1.2), throat.rng.uniform(5.0, 8.0))
        factors: Points = [(0, 0.85 * factor), (0.2, 1.08 * factor), (0.6, factor), (1, 0.72 * factor)]
        wail = throat.voiced(seconds, factors, [(0, -16), (0.15, 0), (0.7, -4), (1, -20)], tremor=tremor)
        # The diaphragm beats against the breath: level and pitch tremble together.
        parts += [throat.rough(wail, tremor[1], throat.rng.uniform(0.45, 0.75)), throat.gap()]
    if throat.chance(0.5):
        parts.append(throat.inhale(throat.rng.uniform(0.2, 0.35), -12))
    return np.concatenate(parts)


def _scream(throat: _Throat) -> np.ndarray:
    """One long vowel far above the speaking pitch, rough, bright and loud to its end."""
    start, end = throat.f0
    factors: Points = [(0, 0.55 * start), (0.1, start), (0.7, max(start, end)), (1, 0.75 * end)]
    wave = throat.voiced(
        throat.seconds(), factors, [(0, -12), (0.08, 0), (0.8, -1), (1, -18)], jitter_st=0.25, tremor=(0.3, 7.0)
    )
    wave = throat.rough(wave, throat.rng.uniform(40, 90), throat.rng.uniform(0.25, 0.6))
    bright = wave + 0.9 * _high(wave, throat.body.sample_rate, 1800.0)
    return np.tanh(1.3 * bright)


def _sigh(throat: _Throat) -> np.ndarray:
    """A breath in, and a longer one out that sinks, with a little voice or none."""
    out = throat.seconds()
    factors: Points = [(0, throat.f0[0]), (0.2, throat.f0[0]), (1, throat.f0[1])]
    breath_out = throat.voiced(out, factors, [(0, -20), (0.12, 0), (0.4, -5), (1, -34)])
    parts = [throat.inhale(throat.rng.uniform(0.3, 0.7), -6), throat.gap()] if throat.chance(0.75) else []
    return np.concatenate([*parts, breath_out])


def _throat_clear(throat: _Throat) -> np.ndarray:
    """Grunts of a pressed, creaking voice behind a nearly closed mouth."""
    parts = []
    for index in range(throat.count):
        factor, seconds = throat.step(index), throat.seconds()
        factors: Points = [(0, factor), (0.4, 1.1 * factor), (1, 0.8 * factor)]
        grunt = throat.voiced(seconds, factors, [(0, -6), (0.1, 0), (0.6, -3), (1, -20)], jitter_st=1.6)
        grunt = throat.rough(grunt, throat.rng.uniform(24, 45), throat.rng.uniform(0.5, 0.8))
        onset = 0.8 * throat.air(0.03, [(0, -4), (0.15, 0), (1, -14)], 300.0, 5000.0)
        parts += [
            _mixed(onset, (0, _low(grunt, throat.body.sample_rate, throat.rng.uniform(1800, 3200)))),
            throat.gap(),
        ]
    return np.concatenate(parts[:-1])


def _sneeze(throat: _Throat) -> np.ndarray:
    """One or two halting breaths in with a rising voice, a closure, and the burst."""
    parts = []
    for index in range(throat.count):
        seconds, rise = throat.rng.uniform(0.22, 0.45), throat.f0[0] * (1 + 0.15 * index)
        shape: Points = [(0, -24), (0.5, -6), (0.85, -3), (1, -24)]
        gasp = throat.voiced(seconds, [(0, 0.75 * rise), (1, 1.1 * rise)], shape, noise=0.55, jitter_st=0.8)
        parts += [0.3 * gasp, throat.gap()]
    seconds = throat.seconds()
    burst = throat.air(0.6 * seconds, [(0, -8), (0.06, 0), (0.5, -5), (1, -22)], 1500.0, 10500.0)
    thud = 0.8 * throat.air(0.04, [(0, -3), (0.2, 0), (1, -14)], 300.0, 8000.0)
    end = throat.f0[1]
    tail = throat.voiced(0.8 * seconds, [(0, 1.3 * end), (1, 0.75 * end)], [(0, -16), (0.25, -5), (1, -26)])
    return np.concatenate([*parts, _mixed(thud, (0, burst), (throat.samples(0.35 * seconds), 0.8 * tail))])


_RECIPES: dict[str, Callable[[_Throat], np.ndarray]] = {
    "laugh": _laugh,
    "cough": _cough,
    "cry": _cry,
    "scream": _scream,
    "sigh": _sigh,
    "throat_clear": _throat_clear,
    "sneeze": _sneeze,
}


def _mixed(first: np.ndarray, *others: tuple[int, np.ndarray]) -> np.ndarray:
    """`first` with other sounds added, each from its own sample on."""
    out = np.zeros(max(len(first), *(start + len(sound) for start, sound in others)))
    out[: len(first)] = first
    for start, sound in others:
        out[start : start + len(sound)] += sound
    return out


def _high(wave: np.ndarray, sample_rate: int, hz: float) -> np.ndarray:
    return np.asarray(sosfilt(butter(1, hz, "hp", fs=sample_rate, output="sos"), wave))


def _low(wave: np.ndarray, sample_rate: int, hz: float) -> np.ndarray:
    return np.asarray(sosfilt(butter(3, hz, "lp", fs=sample_rate, output="sos"), wave))
