"""Sounds that tests make: vowels of a given pitch and tract, and audio that is no speech."""

import numpy as np
from scipy.signal import lfilter

SAMPLE_RATE = 16000


def pulses(hertz: float | np.ndarray, seconds: float = 1.0) -> np.ndarray:
    """A train of band-limited pulses with a falling spectrum, float32 (num_samples,) at 16 kHz."""
    count = int(seconds * SAMPLE_RATE)
    pitch = np.broadcast_to(hertz, count)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    train = np.zeros(count)
    for harmonic in range(1, int(7500 / pitch.max()) + 1):
        train += np.cos(harmonic * phase) / harmonic
    return (train + 0.001 * np.random.default_rng(0).normal(size=count)).astype(np.float32)


def vowel(hertz: float | np.ndarray, length_cm: float, seconds: float = 1.0) -> np.ndarray:
    """A neutral vowel of a tube of this length: pulses through its first five resonances, peak 0.5."""
    sound = pulses(hertz, seconds)
    for number in range(5):
        formant, width = (2 * number + 1) * 35000 / (4 * length_cm), 60 + 40 * number
        radius = np.exp(-np.pi * width / SAMPLE_RATE)
        poles = [1, -2 * radius * np.cos(2 * np.pi * formant / SAMPLE_RATE), radius**2]
        sound = lfilter([sum(poles)], poles, sound)
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def syllables(hertz: float, length_cm: float, seconds: float = 2.0) -> np.ndarray:
    """A vowel that swells four times a second, at a pitch that moves by a tenth."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = hertz * (1 + 0.1 * np.sin(2 * np.pi * 0.8 * time))
    return (vowel(pitch, length_cm, seconds) * np.sin(np.pi * 4 * time) ** 2).astype(np.float32)


def chords(seconds: float = 2.0) -> np.ndarray:
    """Three tones at a time, another triad every half second."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    roots = np.array([262.0, 220.0, 349.0, 392.0])[(time * 2).astype(int) % 4]
    tones = sum(np.sin(2 * np.pi * np.cumsum(roots * ratio) / SAMPLE_RATE) for ratio in (1, 1.26, 1.5))
    return (0.2 * tones).astype(np.float32)


def odd_audio() -> dict[str, tuple[np.ndarray, int]]:
    """Audio that no annotator may fail at, as (samples, sample rate) by name."""
    voice = syllables(120, 17)
    noise = np.random.default_rng(3).normal(size=SAMPLE_RATE).astype(np.float32)
    return {
        "silence": (np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE),
        "one sample": (np.full(1, 0.5, np.float32), SAMPLE_RATE),
        "50 ms": (voice[2000:2800], SAMPLE_RATE),
        "60 s": (np.tile(voice, 30), SAMPLE_RATE),
        "clipped": (np.clip(voice * 50, -1, 1), SAMPLE_RATE),
        "8 kHz": (voice[::2], 8000),
        "stereo": (np.stack([voice, voice], axis=1), SAMPLE_RATE),
        "noise": (np.clip(0.2 * noise, -1, 1), SAMPLE_RATE),
        "constant": (np.full(SAMPLE_RATE, 0.3, np.float32), SAMPLE_RATE),
        "music": (chords(), SAMPLE_RATE),
    }


VOICELESS = ("silence", "one sample", "constant")
"""Of `odd_audio`, those in which no annotator of voices may hear anything."""
