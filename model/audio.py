"""Encoded audio to log-mel features, and the masks that training hides parts of them with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from manifests.sound import read_sound
from model.features import N_FFT, SAMPLE_RATE, log_mel, num_frames

_COLOUR_DB = 4.0
_DB = 40.0  # decibels in one unit of a log-mel feature


def waveform(data: bytes) -> Tensor:
    """Mono float32 (num_samples,) at 16 kHz of an encoded recording; levels are not changed.

    Raises:
        ValueError: Not audio, or shorter than one analysis window of 25 ms.
    """
    try:
        samples, rate = read_sound(data, always_2d=True)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"cannot be read as audio ({error})") from error
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if rate != SAMPLE_RATE:
        import soxr

        mono = soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ")
    if len(mono) < N_FFT:
        raise ValueError(f"has {len(mono)} samples at 16 kHz; {N_FFT} are the least")
    return torch.from_numpy(np.ascontiguousarray(mono, np.float32))


def mel_of(data: bytes) -> Tensor:
    """Log-mel (frames, 80) of an encoded recording."""
    return log_mel(waveform(data))


def frames_of(seconds: float) -> int:
    """Mel frames of a recording of so many seconds, to within one."""
    return num_frames(round(seconds * SAMPLE_RATE))


def augment(mel_TM: Tensor, rng: np.random.Generator) -> Tensor:
    """A recording as another microphone might have taken it, with parts of it hidden."""
    return masked(recoloured(mel_TM, rng), rng)


def recoloured(mel_TM: Tensor, rng: np.random.Generator) -> Tensor:
    """Another gain and tilt, of up to 4 dB each, and all of it up to two mels higher or lower."""
    gain, tilt = rng.uniform(-_COLOUR_DB, _COLOUR_DB, 2) / _DB
    colour_M = torch.from_numpy(gain + tilt * np.linspace(-1, 1, mel_TM.shape[1])).float()
    return (mel_TM + colour_M).roll(int(rng.integers(-2, 3)), dims=1)


def masked(mel_TM: Tensor, rng: np.random.Generator) -> Tensor:
    """Hide parts of a recording: SpecAugment (Park et al. 2019) and spec-substitution, as in the release.

    Two bands of up to 10 mels and two stretches of up to 50 frames are set to the mean; up to three stretches of up to
    30 frames are overwritten by earlier ones. Short recordings lose a quarter of their frames to each at most.
    """
    mel_TM = mel_TM.clone()
    frames, mels = mel_TM.shape
    for _ in range(3):
        size = int(rng.integers(0, min(30, frames // 4) + 1))
        end = int(rng.integers(size, frames + 1))
        start = end - size
        back = int(rng.integers(0, start + 1))
        mel_TM[start:end] = mel_TM[start - back : end - back].clone()
    mean = mel_TM.mean()
    for _ in range(2):
        size = int(rng.integers(0, min(50, frames // 4) + 1))
        start = int(rng.integers(0, frames - size + 1))
        mel_TM[start : start + size] = mean
        band = int(rng.integers(0, 11))
        low = int(rng.integers(0, mels - band + 1))
        mel_TM[:, low : low + band] = mean
    return mel_TM
