"""Reading one recording and saying what is wrong with it; its loudness is a cue and is never changed."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SECONDS = (0.2, 30.0)
"""Shortest and longest recording; a speech encoder takes 30 s at most."""
CLIPPED = 0.01
"""Most samples at full scale."""
SILENT_DBFS = -60.0
"""Level that the loudest 100 ms must reach."""
RATES = (8000, 192000)
"""Lowest and highest sample rate, in Hz: below there is no telephone speech any more, above no recorder."""

_FULL_SCALE = 0.999
_LOUD_SECONDS = 0.1


class Rejected(ValueError):
    """Why a recording is left out, in words that are the same for all with the same fault."""


@dataclass(frozen=True)
class Sound:
    """A recording as it is kept.

    Attributes:
        pcm: int16 (num_samples,).
        notes: What was changed, in words; empty for the very samples of the source.
    """

    pcm: np.ndarray
    sample_rate: int
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return len(self.pcm) / self.sample_rate

    def flac(self) -> bytes:
        """As a FLAC file, mono PCM_16.

        Raises:
            Rejected: FLAC does not know the sample rate.
        """
        import soundfile

        stream = io.BytesIO()
        try:
            soundfile.write(stream, self.pcm, self.sample_rate, format="FLAC", subtype="PCM_16")
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise Rejected("FLAC knows no such sample rate (--rate resamples)") from error
        return stream.getvalue()


def place(source: Path, file: str) -> Path:
    """The file that a corpus names.

    Raises:
        Rejected: The name is absolute, leads out of the folder (by `..` or a link), or names no file.
    """
    name = Path(file)
    if not file.strip() or "\x00" in file:
        raise Rejected("it names no file")
    if name.is_absolute() or ".." in name.parts:
        raise Rejected("its path is absolute or leads out of the folder")
    path = source / name
    try:
        inside, there = path.resolve().is_relative_to(source.resolve()), path.is_file()
    except (OSError, ValueError) as error:  # the latter for what no file system can name
        raise Rejected("the file is missing") from error
    if not inside:
        raise Rejected("its path is a link that leads out of the folder")
    if not there:
        raise Rejected("the file is missing")
    return path


def read_sound(path: Path, start: float = 0.0, end: float | None = None, rate: int | None = None) -> Sound:
    """Read a recording or a part of one, check it, and bring it to mono PCM_16.

    Args:
        start: Of the part, in seconds.
        end: Of the part, or None for all of the rest.
        rate: In Hz, to resample to (soxr HQ); None keeps the file's own.

    Returns:
        Mono 16-bit samples that are the file's own, unless `notes` say what was changed.

    Raises:
        Rejected: It cannot be read or fails a check.
    """
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            own, channels, subtype = file.samplerate, file.channels, file.subtype
            first = round(start * own)
            last = file.frames if end is None else min(round(end * own), file.frames)
            if own < RATES[0]:
                raise Rejected(f"the sample rate is under {RATES[0]} Hz")
            if own > RATES[1]:
                raise Rejected(f"the sample rate is above {RATES[1]} Hz")
            _check_seconds((last - first) / own)
            exact = subtype == "PCM_16" and channels == 1
            file.seek(first)
            samples = file.read(last - first, dtype="int16" if exact else "float64", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, OSError, ValueError, TypeError) as error:
        if isinstance(error, Rejected):
            raise
        raise Rejected("the file cannot be read as audio") from error
    _check_seconds(len(samples) / own)
    if exact:
        wave, notes = samples[:, 0].astype(np.float64) / 32768, []
    else:
        wave, notes = _mono(samples, subtype)
    _check_wave(wave, own)
    if rate is not None and rate != own:
        import soxr

        wave = np.asarray(soxr.resample(wave, own, rate, quality="HQ"))
        notes.append(f"resampled from {own} to {rate} Hz (soxr HQ)")
        exact = False
    pcm = samples[:, 0] if exact else np.clip(np.round(wave * 32768), -32768, 32767).astype(np.int16)
    return Sound(np.ascontiguousarray(pcm), rate or own, tuple(notes))


def _mono(samples: np.ndarray, subtype: str) -> tuple[np.ndarray, list[str]]:
    """float64 (num_samples,), and what was changed."""
    if not np.isfinite(samples).all():
        raise Rejected("it has samples that are NaN or infinite")
    channels = samples.shape[1]
    notes = [f"average of {channels} channels"] if channels > 1 else []
    if subtype != "PCM_16":
        notes.append(f"converted from {subtype} to PCM_16")
    return samples.mean(axis=1), notes


def _check_seconds(seconds: float) -> None:
    if seconds < SECONDS[0]:
        raise Rejected(f"it is shorter than {SECONDS[0]:g} s")
    if seconds > SECONDS[1]:
        raise Rejected(f"it is longer than {SECONDS[1]:g} s")


def _check_wave(wave: np.ndarray, rate: int) -> None:
    """Refuse silence and clipping."""
    if float(np.mean(np.abs(wave) >= _FULL_SCALE)) > CLIPPED:
        raise Rejected(f"more than {CLIPPED:.0%} of it is clipped")
    size = max(1, round(_LOUD_SECONDS * rate))
    power = np.add.reduceat(wave**2, np.arange(0, len(wave), size)) / size
    if float(power.max()) < 10 ** (SILENT_DBFS / 10):
        raise Rejected("it is silent")
