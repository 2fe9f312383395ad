"""Files that an export is made of: tars of fixed bytes, tables sorted on disk, sound at 16 kHz."""

from __future__ import annotations

import errno
import io
import os
import sqlite3
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unicodedata import category

import numpy as np

from manifests.sound import read_sound

RATE = 16_000
"""Hz, of OSUM's and Kaldi's audio."""
_BREAKS = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories: control characters, surrogates, and what ends a line or paragraph."""


class TarFile:
    """A tar with fixed owners, modes and times."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("xb")
        self._tar = tarfile.open(fileobj=self._stream, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115

    def add(self, name: str, data: bytes) -> None:
        """Append a member."""
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._tar.addfile(info, io.BytesIO(data))

    def close(self) -> None:
        """Write the end of the tar."""
        self._tar.close()
        self._stream.close()


class DiskTable:
    """Rows in the order of their first column, byte by byte as `LC_ALL=C sort` has them, whatever their number.

    Args:
        path: A file that is gone after `close`.
        columns: Names; the first is the key.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path = path
        self._marks = ", ".join("?" * len(columns))
        self._key = columns[0]
        self._database = sqlite3.connect(path)
        self._database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -8000;")
        others = "".join(f", {column}" for column in columns[1:])
        self._database.execute(f"CREATE TABLE t ({columns[0]} PRIMARY KEY{others}) WITHOUT ROWID")

    def add(self, *values: Any) -> bool:
        """Add a row; False, changing nothing, if there is one with its key."""
        try:
            return bool(self._database.execute(f"INSERT OR IGNORE INTO t VALUES ({self._marks})", values).rowcount)
        except sqlite3.OperationalError as error:  # as files say it
            raise OSError(errno.ENOSPC if "full" in str(error) else errno.EIO, str(error)) from error

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """All rows, sorted."""
        return iter(self._database.execute(f"SELECT * FROM t ORDER BY {self._key}"))

    def close(self) -> None:
        """Forget the rows."""
        self._database.close()
        self._path.unlink(missing_ok=True)


def wav16k(flac: bytes) -> tuple[bytes, float]:
    """A FLAC file as a WAV file, mono PCM_16 at 16 kHz, and its seconds. Samples that are at 16 kHz stay as they are.

    Raises:
        ValueError: It cannot be decoded, is not mono or holds nothing.
    """
    import soundfile
    import soxr

    try:
        samples, rate = read_sound(flac, "int16")
    except (RuntimeError, ValueError, OSError) as error:
        raise ValueError(f"its audio cannot be decoded ({error})") from error
    if samples.ndim != 1 or not samples.size:
        raise ValueError("its audio is not mono or holds no samples")
    if rate != RATE:
        wave = soxr.resample(samples.astype(np.float32), rate, RATE, quality="HQ")
        samples = np.clip(np.rint(wave), -32768, 32767).astype(np.int16)
    stream = io.BytesIO()
    soundfile.write(stream, samples, RATE, format="WAV", subtype="PCM_16")
    return stream.getvalue(), round(len(samples) / RATE, 4)


def write_new(path: Path, data: bytes) -> None:
    """Write a file that is not there, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as stream:
        stream.write(data)


def files_of(folder: Path) -> Iterator[str]:
    """Relative names of all files under a folder, in a fixed order; one folder's names are in memory at a time."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            yield os.path.relpath(os.path.join(root, name), folder)


def one_line(text: str) -> str:
    """A text without line breaks, control characters and doubled blanks, for formats of lines."""
    return " ".join("".join(" " if category(char) in _BREAKS else char for char in text).split())
