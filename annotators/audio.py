"""The one way in for samples: every engine here hears float32 mono at its own rate."""

from __future__ import annotations

import numpy as np
import soxr


def checked(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Check one clip and bring it to float32, with its rate and channels as they are.

    Args:
        samples: Shape (num_samples,), (num_samples, 1) or (num_samples, 2), any real dtype; floats are
            taken to be in [-1, 1], integers are scaled by the full scale of their type.
        sample_rate: Rate of `samples`, in Hz.

    Returns:
        float32 array of the same shape. Values beyond full scale stay.

    Raises:
        ValueError: The array is empty, has another shape or dtype, or holds NaN or infinite samples; or the
            rate is not positive.
    """
    audio = np.asarray(samples)
    if sample_rate <= 0:
        raise ValueError(f"the sample rate must be positive, got {sample_rate} Hz")
    if audio.ndim not in (1, 2) or (audio.ndim == 2 and audio.shape[1] not in (1, 2)):
        raise ValueError(f"audio must have shape (n,), (n, 1) or (n, 2), got {audio.shape}")
    if audio.size == 0:
        raise ValueError("audio is empty: it has no samples")
    if audio.dtype.kind == "i":
        audio = audio / -float(np.iinfo(audio.dtype).min)
    elif audio.dtype.kind != "f":
        raise ValueError(f"audio must be of a float or signed integer type, got {audio.dtype}")
    bad = audio.size - int(np.count_nonzero(np.isfinite(audio)))
    if bad:
        raise ValueError(f"{bad} of {audio.size} samples are NaN or infinite")
    return audio.astype(np.float32)


def prepare(samples: np.ndarray, sample_rate: int, target: int = 16000) -> np.ndarray:
    """Check one clip and bring it to mono float32 at the rate that an engine wants.

    Args:
        samples: As for `checked`.
        sample_rate: Rate of `samples`, in Hz.
        target: Rate of the result, in Hz.

    Returns:
        float32 array of shape (num_samples * target / sample_rate,), stereo averaged to mono.

    Raises:
        ValueError: As `checked`.
    """
    audio = checked(samples, sample_rate)
    mono = audio if audio.ndim == 1 else audio.mean(axis=1, dtype=np.float32)
    if sample_rate != target:
        mono = soxr.resample(mono, sample_rate, target, quality="HQ")
    return np.ascontiguousarray(mono, dtype=np.float32)
