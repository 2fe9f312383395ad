"""Durable files: written whole under a temporary name, then put in place in one step."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from manifests.errors import UserError

TEMPORARY = ".tmp-"  # prefix of names that are not yet anything


def temporary(path: Path) -> Path:
    """A name beside `path` that no other process uses."""
    return path.parent / f"{TEMPORARY}{os.getpid()}-{time.monotonic_ns()}-{path.name}"


def fsync(path: Path) -> None:
    """Force a finished file to disk; of a folder, make its renames and links survive a power loss."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file by new content, or leave it as it was."""
    with writing(path):
        spare = temporary(path)
        try:
            _write_synced(spare, data)
            os.replace(spare, path)
        finally:
            spare.unlink(missing_ok=True)
        fsync(path.parent)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name to write a file under, which the caller syncs; then it is put in place, or it is removed."""
    spare = temporary(path)
    try:
        yield spare
        os.replace(spare, path)
    finally:
        spare.unlink(missing_ok=True)


def read_if_there(path: Path) -> bytes | None:
    """A file's bytes; None where there is no such file.

    Raises:
        UserError: It is there and cannot be read.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def write_exclusive(path: Path, data: bytes) -> bool:
    """Create a file whole; return False, changing nothing, when it is already there."""
    with writing(path):
        spare = temporary(path)
        try:
            _write_synced(spare, data)
            try:
                os.link(spare, path)
            except FileExistsError:
                return False
        finally:
            spare.unlink(missing_ok=True)
        fsync(path.parent)
        return True


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_checksums(digests: Mapping[str, str]) -> bytes:
    """The lines of a `checksums.sha256`, as `sha256sum -c` reads them: hex sha256 by name."""
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items()).encode()


def read_checksums(data: bytes) -> dict[str, str]:
    """Hex sha256 by name, from the lines of `write_checksums`.

    Raises:
        ValueError: They are not such lines, to the byte; or there are none: an emptied list, since each set has files.
    """
    lines = [line.partition("  ") for line in data.decode().splitlines()]
    digests = {name: digest for digest, _, name in lines}
    if not digests or not all(digests) or write_checksums(digests) != data:
        raise ValueError("it is no list of checksums, or a part of one")
    return digests


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full, read-only or forbidden disk into a sentence that names the path.

    Raises:
        UserError: The disk says no; nothing half-written is left under a final name.
    """
    try:
        yield
    except OSError as error:
        advice = {
            errno.ENOSPC: "the disk is full; free some space",
            errno.EDQUOT: "the disk quota is used up; free some space",
            errno.EROFS: "the file system is read-only; choose another --out",
            errno.EACCES: "permission is denied; choose another --out",
            errno.EPERM: "the operation is not permitted; choose another --out",
        }.get(error.errno or 0, f"{error.strerror or error}; mend that or choose another --out")
        raise UserError(f"cannot write {path}: {advice} and run the same command again, nothing is lost") from error


_OURS = re.compile(r"\.tmp-\d+-\d+-.+")


def is_temporary(name: str) -> bool:
    """Whether a name is of those that `temporary` gives."""
    return _OURS.fullmatch(name) is not None


def find_debris(folders: Iterable[Path], older_than_s: float) -> Iterator[Path]:
    """Temporary files and folders that no live worker can still be writing.

    Args:
        folders: Looked into, but not below; only names that `temporary` gives are found.
        older_than_s: Since the newest change to the file, or to anything in the folder.
    """
    for folder in folders:
        for path in sorted(folder.glob(f"{TEMPORARY}*")) if folder.is_dir() else ():
            with suppress(FileNotFoundError):
                if is_temporary(path.name) and time.time() - _changed(path) > older_than_s:
                    yield path


def _changed(path: Path) -> float:
    """When a file, or the newest thing of a folder, was last changed."""
    times = [path.lstat().st_mtime]
    for item in path.rglob("*") if path.is_dir() and not path.is_symlink() else ():
        with suppress(FileNotFoundError):
            times.append(item.lstat().st_mtime)
    return max(times)


def remove(path: Path) -> None:
    """Delete a file, a link or a whole folder; OSError if some of it stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_debris(folders: Iterable[Path], older_than_s: float) -> int:
    """Delete what `find_debris` finds, as far as the disk lets us; return how much went."""
    removed = 0
    for path in list(find_debris(folders, older_than_s)):
        with suppress(OSError):
            remove(path)
            removed += 1
    return removed
