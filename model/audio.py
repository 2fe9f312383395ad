"""Encoded audio to log-mel features, and the masks that training hides parts of them with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from manifests.sound import read_sound
from model.features import N_FFT, SAMPLE_RATE, log_mel, num_frames

_DB = 40.0  # decibels in one unit of a log-mel feature
_KNEE = (6.0, 20.0)  # mels
_TILT_DB = 4.0  # of the lowest and the highest mel at most, one up and the other down
_SUBSTITUTED, _BAND = 30, 10  # greatest sizes, frames and mels


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


@dataclass(frozen=True)
class Augmentation:
    """How far training changes a recording.

    Attributes:
        gain_db: Greatest change of the level, either way.
        bass_db: Likewise of the level of the lowest mels alone, below a knee of 6 to 20 of them (some 260 to 780 Hz).
        shift: Mels by which all is moved up or down at most. It blurs the pitch.
        floor_db: Noise that fills what is quieter: how far below the loudest mel it begins, most and least; none at 0.
        bend: Frames by which a place of the middle moves at most, the rest drawn along (SpecAugment's time warp).
        stretch: Share by which the mels are drawn apart or together at most, as another throat would (vocal tract
            length perturbation, Jaitly & Hinton 2013).
        substitutions: Stretches of up to 30 frames that are overwritten by earlier ones, as many as this at most.
        hidden: Stretches set to the mean, and their greatest length in frames.
        bands: Bands of up to 10 mels set to the mean.
    """

    bend: int
    stretch: float
    substitutions: int
    hidden: tuple[int, int]
    bands: int
    gain_db: float = 4.0
    bass_db: float = 0.0
    shift: int = 2
    floor_db: tuple[float, float] = (0.0, 0.0)


_TRANSFER = Augmentation(
    bend=40, stretch=0.05, substitutions=0, hidden=(1, 30), bands=1, gain_db=12.0, shift=0, floor_db=(80.0, 30.0)
)
AUGMENTATIONS = {
    "light": Augmentation(bend=40, stretch=0.05, substitutions=0, hidden=(1, 30), bands=1),
    "release": Augmentation(bend=0, stretch=0.0, substitutions=3, hidden=(2, 50), bands=2),
    "transfer": _TRANSFER,
    "speaker": replace(_TRANSFER, bass_db=25.0),
}  # fmt: skip
"""`release` is that of the OSUM-EChat release (SpecAugment, Park et al. 2019, and spec-substitution): it hides much, as
befits large encoders and much speech. `light` hides little and bends more: for models that hear little speech.
`transfer` is `light` with levels and noise floors of any recording, and with the pitch as it is: for speech that was
recorded otherwise than the training's, as people are who are heard by a model of synthetic voices. `speaker` also draws
the level of the low end: for who speaks and not how. How strong the first harmonics are tells effort and microphone,
and in synthetic voices the gender; a model that listens there takes every sad woman for a man."""


def augment(mel_TM: Tensor, how: Augmentation, rng: np.random.Generator) -> Tensor:
    """A recording as another speaker and another microphone might have made it, with parts of it hidden."""
    if how.bend:
        mel_TM = bent(mel_TM, how.bend, rng)
    if how.stretch:
        mel_TM = stretched(mel_TM, how.stretch, rng)
    mel_TM = recoloured(mel_TM, how, rng)
    if how.floor_db[0]:
        mel_TM = floored(mel_TM, how.floor_db, rng)
    return masked(mel_TM, how, rng)


def bent(mel_TM: Tensor, most: int, rng: np.random.Generator) -> Tensor:
    """As long as before, said faster before and slower behind a place of the middle, or the other way round.

    The place moves by up to `most` frames, and by a fifth of the recording.
    """
    frames = mel_TM.shape[0]
    most = min(most, frames // 5)
    place = rng.uniform(2 * most, frames - 1 - 2 * most)
    moved = place + rng.uniform(-most, most)
    return _between(mel_TM, np.interp(np.arange(frames), [0, moved, frames - 1], [0, place, frames - 1]))


def stretched(mel_TM: Tensor, most: float, rng: np.random.Generator) -> Tensor:
    """All resonances higher or lower by up to a share of their mels; the uppermost mel fills what is left empty."""
    mels = mel_TM.shape[1]
    taken = np.arange(mels) * (1 + rng.uniform(-most, most))
    return _between(mel_TM.T, np.minimum(taken, mels - 1)).T.contiguous()


def _between(rows_NC: Tensor, taken_K: np.ndarray) -> Tensor:
    """Rows at places between the rows, linear (K, C)."""
    low_K = np.floor(taken_K).astype(np.int64)
    high_K = np.minimum(low_K + 1, len(rows_NC) - 1)
    share_K1 = torch.from_numpy(taken_K - low_K).to(rows_NC.dtype)[:, None]
    return torch.lerp(rows_NC[low_K], rows_NC[high_K], share_K1)


def recoloured(mel_TM: Tensor, how: Augmentation, rng: np.random.Generator) -> Tensor:
    """Another gain and tilt, and all of it some mels higher or lower."""
    mels = mel_TM.shape[1]
    gain, tilt = rng.uniform(-1, 1, 2) * (how.gain_db, _TILT_DB) / _DB
    colour_M = gain + tilt * np.linspace(-1, 1, mels)
    if how.bass_db:
        bass, knee = rng.uniform(-how.bass_db, how.bass_db) / _DB, rng.uniform(*_KNEE)
        colour_M += bass / (1 + np.exp((np.arange(mels) - knee) / 2))
    return (mel_TM + torch.from_numpy(colour_M).float()).roll(int(rng.integers(-how.shift, how.shift + 1)), dims=1)


def floored(mel_TM: Tensor, floor_db: tuple[float, float], rng: np.random.Generator) -> Tensor:
    """Steady noise under a recording, of a level and a tilt of its own."""
    below, tilt = rng.uniform(min(floor_db), max(floor_db)), rng.uniform(-10, 10)
    floor_M = mel_TM.max() - torch.from_numpy(below + tilt * np.linspace(-1, 1, mel_TM.shape[1])).float() / _DB
    return torch.maximum(mel_TM, floor_M + 0.05 * torch.from_numpy(rng.standard_normal(mel_TM.shape)).float())


def masked(mel_TM: Tensor, how: Augmentation, rng: np.random.Generator) -> Tensor:
    """Hide parts of a recording; short ones lose a quarter of their frames to each stretch at most."""
    mel_TM = mel_TM.clone()
    frames, mels = mel_TM.shape
    for _ in range(how.substitutions):
        size = int(rng.integers(0, min(_SUBSTITUTED, frames // 4) + 1))
        end = int(rng.integers(size, frames + 1))
        start = end - size
        back = int(rng.integers(0, start + 1))
        mel_TM[start:end] = mel_TM[start - back : end - back].clone()
    mean = mel_TM.mean()
    stretches, longest = how.hidden
    for number in range(max(stretches, how.bands)):
        if number < stretches:
            size = int(rng.integers(0, min(longest, frames // 4) + 1))
            start = int(rng.integers(0, frames - size + 1))
            mel_TM[start : start + size] = mean
        if number < how.bands:
            band = int(rng.integers(0, _BAND + 1))
            low = int(rng.integers(0, mels - band + 1))
            mel_TM[:, low : low + band] = mean
    return mel_TM
