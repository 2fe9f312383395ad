"""Decoding of recordings: the header is believed only as far as memory allows."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

MAX_SAMPLES = 1 << 26
"""Most samples of a recording, all channels together: 70 minutes at 16 kHz. A kilobyte of FLAC can claim, and some
kilobytes can truly hold, more than fits into memory."""


def open_sound(source: bytes | Path) -> Any:
    """A `soundfile.SoundFile` whose header is one that may be decoded; to be closed.

    Raises:
        RuntimeError: It is no audio.
        ValueError: It holds, or claims to hold, more than `MAX_SAMPLES`.
    """
    import soundfile

    file = soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source)
    samples = file.frames * file.channels
    if not 0 <= samples <= MAX_SAMPLES:
        file.close()
        raise ValueError(f"the audio claims {samples:,} samples; {MAX_SAMPLES:,} are the most that is decoded")
    return file


def read_sound(source: bytes | Path, dtype: str = "float32", always_2d: bool = False) -> tuple[Any, int]:
    """Samples (num_samples,), or (num_samples, channels), and the sample rate in Hz; raises as `open_sound`."""
    with open_sound(source) as file:
        return file.read(dtype=dtype, always_2d=always_2d), file.samplerate


def read_tokens(data: bytes) -> Any:
    """Speech tokens (num_tokens,) from the bytes of a `.npy`, whose header must be true of what follows it.

    Raises:
        ValueError: It is no such file, or claims other than it holds; objects, which are pickles, are refused.
    """
    import numpy as np

    stream = io.BytesIO(data)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("it is of another version than 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # numpy parses it as Python: a TokenError, a SyntaxError, whatever comes
        raise ValueError(f"its header cannot be read ({error})") from error
    left = data[stream.tell() :]
    if len(shape) != 1 or fortran or dtype.kind != "i" or shape[0] < 0 or shape[0] * dtype.itemsize != len(left):
        raise ValueError(f"{len(left)} bytes are no array of shape {shape} and type {dtype}")
    return np.frombuffer(left, dtype).copy()
