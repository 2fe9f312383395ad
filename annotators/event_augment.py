"""Changes to training clips that leave the event what it is: rooms, microphones, noise, bandwidth, speed."""

from __future__ import annotations

import numpy as np
import soxr
from scipy.signal import fftconvolve, firwin2

from annotators.event_features import SAMPLE_RATE


def augment(
    audio: np.ndarray, span: tuple[float, float] | None, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """One random version of a clip.

    Args:
        audio: float32 (num_samples,), mono at 16 kHz.
        span: Its event in seconds, or None.
        rng: Draws what is done.

    Returns:
        The version, and where its event is.
    """
    if rng.uniform() < 0.4:
        speed = float(rng.uniform(0.88, 1.14))
        audio = soxr.resample(audio, SAMPLE_RATE * speed, SAMPLE_RATE)
        span = (span[0] / speed, span[1] / speed) if span else None
    if rng.uniform() < 0.6:
        audio = _microphone(audio, rng)
    if rng.uniform() < 0.5:
        audio = _room(audio, rng)
    if rng.uniform() < 0.25:
        narrow = soxr.resample(audio, SAMPLE_RATE, 8000)
        audio = np.resize(soxr.resample(narrow, 8000, SAMPLE_RATE), len(audio))
    if rng.uniform() < 0.7:
        audio = audio + noise(len(audio), rng) * audio.std() * 10 ** (-rng.uniform(12, 45) / 20)
    if rng.uniform() < 0.1:
        peak = float(np.abs(audio).max())
        audio = np.clip(audio, -0.5 * peak, 0.5 * peak)
    return audio.astype(np.float32), span


def unfinished(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Speech without an event as it is found in corpora: cut off, with silence or a faint breath beside it.

    Args:
        audio: float32 (num_samples,), mono at 16 kHz.
        rng: Draws what is done.
    """
    if rng.uniform() < 0.5:
        num = min(int(rng.uniform(0.6, 3.0) * SAMPLE_RATE), len(audio))
        start = int(rng.integers(0, len(audio) - num + 1))
        audio = audio[start : start + num]
    level = float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))) + 1e-6
    parts = [audio]
    for first in (True, False):
        beside = []
        if rng.uniform() < 0.3:
            breath = noise(int(rng.uniform(0.15, 0.5) * SAMPLE_RATE), rng) * 10 ** (-rng.uniform(24, 42) / 20)
            beside.append(level * breath * np.hanning(len(breath)))
        if rng.uniform() < 0.4:
            floor = noise(int(rng.uniform(0.05, 0.7) * SAMPLE_RATE), rng)
            beside.append(level * floor * 10 ** (-rng.uniform(45, 90) / 20))
        parts = [*beside, *parts] if first else [*parts, *beside]
    return np.concatenate(parts).astype(np.float32)


def noise(num: int, rng: np.random.Generator) -> np.ndarray:
    """Noise with a random spectral slope, (num,), of RMS 1."""
    spectrum = np.fft.rfft(rng.standard_normal(max(num, 2)))
    spectrum /= np.maximum(np.arange(len(spectrum)), 20) ** rng.uniform(0.0, 1.0)
    wave = np.fft.irfft(spectrum, max(num, 2))[:num]
    return wave / max(float(wave.std()), 1e-9)


def odd_sounds(rng: np.random.Generator) -> np.ndarray:
    """Something without a voice: noise, chords, clicks or hum, float32 (num_samples,)."""
    num = int(rng.uniform(0.5, 4) * SAMPLE_RATE)
    at = np.arange(num) / SAMPLE_RATE
    kind = int(rng.integers(4))
    if kind == 0:
        wave = noise(num, rng)
    elif kind == 1:
        root = rng.uniform(100, 400)
        wave = np.zeros(num)
        for step in (0, 4, 7, 12):
            for harmonic in range(1, 6):
                wave += np.sin(2 * np.pi * root * 2 ** (step / 12) * harmonic * at + rng.uniform(0, 6)) / harmonic
        wave *= np.exp(-((at * rng.uniform(0.5, 3)) % 1.0) * rng.uniform(0, 4))
    elif kind == 2:
        wave = np.zeros(num)
        wave[rng.integers(0, num, int(rng.integers(1, 12)))] = 1.0
        wave = fftconvolve(wave, rng.standard_normal(400) * np.exp(-np.arange(400) / 60), "full")[:num]
    else:
        wave = np.sign(np.sin(2 * np.pi * rng.uniform(50, 900) * at))
    wave = wave / max(float(np.abs(wave).max()), 1e-9) * 10 ** (-rng.uniform(3, 40) / 20)
    return (wave + 1e-4 * rng.standard_normal(num)).astype(np.float32)


def _microphone(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random smooth frequency response within 8 dB."""
    places = [0.0, 0.02, 0.06, 0.15, 0.35, 0.7, 1.0]
    taps = firwin2(255, places, 10 ** (rng.uniform(-8, 8, len(places)) / 20))
    return fftconvolve(audio, taps, "same")


def _room(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Reverberation: a tail of noise that dies away."""
    seconds = rng.uniform(0.1, 0.6)
    tail = rng.standard_normal(int(seconds * SAMPLE_RATE)) * 10 ** (-3 * np.linspace(0, 1, int(seconds * SAMPLE_RATE)))
    tail *= 10 ** (-rng.uniform(2, 15) / 20) / np.sqrt((tail**2).sum())
    response = np.concatenate([[1.0], np.zeros(int(0.002 * SAMPLE_RATE)), tail])
    return fftconvolve(audio, response)[: len(audio)]
