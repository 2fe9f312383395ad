"""FLAC PCM_16 in memory: audio is encoded once, when it is spoken, and passed on as bytes."""

from __future__ import annotations

import hashlib
import io

import numpy as np

from manifests.clock import CODEC, clock
from manifests.sound import open_sound, read_sound


def encode_flac(samples: np.ndarray, sample_rate: int) -> bytes:
    """Encode a mono waveform; see `encode_hashed`."""
    return encode_hashed(samples, sample_rate)[0]


def encode_hashed(samples: np.ndarray, sample_rate: int) -> tuple[bytes, str]:
    """Encode a mono waveform; also what `audio_hash` says of it, without decoding it again.

    Args:
        samples: float (num_samples,) in [-1, 1].
        sample_rate: In Hz.

    Raises:
        ValueError: Not mono, empty, not finite or beyond full scale; a level is a cue and is never changed here.
    """
    import soundfile

    samples = np.asarray(samples)
    if samples.ndim != 1 or samples.size == 0:
        raise ValueError(f"a waveform of shape {samples.shape} is not mono audio")
    bad = int(np.count_nonzero(~np.isfinite(samples)))
    if bad:
        raise ValueError(f"the waveform has {bad} samples of {samples.size} that are NaN or infinite")
    peak = float(np.max(np.abs(samples)))
    if peak > 1.0:
        raise ValueError(f"the waveform peaks at {peak:.3f}, beyond full scale")
    # To 16 bits as libsndfile does it: by a power of two, which is exact, and to the nearest even.
    pcm = np.clip(np.rint(samples * np.float32(32768)), -32768, 32767).astype(np.int16)
    stream = io.BytesIO()
    with clock(CODEC):
        soundfile.write(stream, pcm, sample_rate, format="FLAC", subtype="PCM_16")
    return stream.getvalue(), _pcm_hash(pcm, sample_rate)


def audio_hash(data: bytes) -> str:
    """sha256 of what a FLAC file holds (sample rate and 16-bit samples), whatever encoder wrote it."""
    return _pcm_hash(*read_sound(data, "int16"))


def _pcm_hash(pcm: np.ndarray, sample_rate: int) -> str:
    return hashlib.sha256(f"{sample_rate}:".encode() + pcm.astype("<i2").tobytes()).hexdigest()


def decode_flac(data: bytes) -> tuple[np.ndarray, int]:
    """Decode to float32 (num_samples,) in [-1, 1] and the sample rate in Hz."""
    with clock(CODEC):
        return read_sound(data)


def flac_info(data: bytes) -> tuple[int, int]:
    """Sample rate in Hz and number of samples of a FLAC file, from its header."""
    with open_sound(data) as file:
        return file.samplerate, file.frames


def without(samples: np.ndarray, sample_rate: int, start: float, end: float) -> np.ndarray:
    """The waveform (num_samples,) without the interval from `start` to `end`, in seconds; all of it when that is empty.

    A sound event is no word and says nothing of the voice's emotion, so what hears words or voices hears it cut out.
    """
    if end <= start:
        return samples
    return np.concatenate([samples[: round(start * sample_rate)], samples[round(end * sample_rate) :]])
