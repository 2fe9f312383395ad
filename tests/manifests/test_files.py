"""Durable files: whole or not there, and a disk that says no becomes a sentence."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from manifests.errors import UserError
from manifests.files import (
    TEMPORARY,
    read_checksums,
    remove_debris,
    sha256,
    temporary,
    write_atomic,
    write_checksums,
    write_exclusive,
    writing,
)

REFUSALS = {
    errno.ENOSPC: "full",
    errno.EDQUOT: "quota",
    errno.EROFS: "read-only",
    errno.EACCES: "denied",
    errno.EPERM: "permitted",
}


def failing(number: int) -> Any:
    """A system call that fails."""

    def call(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


def aged(path: Path, seconds: float) -> Path:
    """Make a path look as if it was last written some time ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


@pytest.mark.parametrize("data", [b"", b"new", bytes(10**6)])
def test_atomic_writing_creates_and_replaces(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    for content in (data, b"between", data):
        write_atomic(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_failed_write_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    monkeypatch.setattr(os, call, failing(errno.EIO))
    with pytest.raises(UserError, match="Input/output"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_readers_never_see_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    seen = []
    replace = os.replace

    def spy(source: Path, target: Path) -> None:
        seen.append((path.read_bytes(), Path(source).read_bytes()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    write_atomic(path, b"new")
    assert seen == [(b"old", b"new")]


def test_exclusive_writing_creates_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert write_exclusive(path, b"first") is True
    assert write_exclusive(path, b"second") is False
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_one_of_many_exclusive_writers_wins(tmp_path: Path) -> None:
    path, start, won = tmp_path / "file", threading.Barrier(8), []

    def write(number: int) -> None:
        start.wait()
        if write_exclusive(path, str(number).encode() * 1000):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert path.read_bytes() == str(won[0]).encode() * 1000
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["link", "fsync"])
def test_a_failed_exclusive_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(errno.ENOSPC))
        with pytest.raises(UserError):
            write_exclusive(tmp_path / "file", b"data")
    assert list(tmp_path.iterdir()) == []
    assert write_exclusive(tmp_path / "file", b"data")


@pytest.mark.parametrize("number", REFUSALS, ids=errno.errorcode.get)
@pytest.mark.parametrize(("writer", "call"), [(write_atomic, "replace"), (write_exclusive, "link")])
def test_a_disk_that_says_no_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: Any, call: str, number: int
) -> None:
    monkeypatch.setattr(os, call, failing(number))
    with pytest.raises(UserError) as error:
        writer(tmp_path / "file", b"data")
    assert str(tmp_path / "file") in str(error.value)
    assert REFUSALS[number] in str(error.value)


def test_what_is_no_matter_of_the_disk_keeps_its_type(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        write_atomic(tmp_path / "no folder" / "file", b"data")
    with pytest.raises(ZeroDivisionError), writing(tmp_path):
        _ = 1 / 0


def test_temporary_names_are_beside_the_file_and_never_twice_the_same(tmp_path: Path) -> None:
    names = [temporary(tmp_path / "file") for _ in range(100)]
    assert len(set(names)) == 100
    assert all(name.parent == tmp_path and name.name.startswith(TEMPORARY) for name in names)


def test_old_debris_goes_and_all_else_stays(tmp_path: Path) -> None:
    deep = tmp_path / "stages" / "plan"
    deep.mkdir(parents=True)
    old = [temporary(folder / "a") for folder in (tmp_path, deep)]
    young = temporary(deep / "b")
    mine = deep / "part-0001.json"
    for path in (*old, young, mine):
        path.write_bytes(b"x")
    for path in (*old, mine):
        aged(path, 100)
    aged(young, 10)
    assert remove_debris([tmp_path], older_than_s=50) == 1, "it does not look below the folders that it is given"
    assert remove_debris([tmp_path, deep], older_than_s=50) == 1
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted([young, mine])
    assert remove_debris([tmp_path, deep, tmp_path / "none"], older_than_s=50) == 0


def test_an_old_temporary_folder_goes_whole_and_a_young_one_stays(tmp_path: Path) -> None:
    old, young = temporary(tmp_path / "old"), temporary(tmp_path / "young")
    for folder in (old, young):
        folder.mkdir()
        aged(folder, 0)
        (folder / f"{TEMPORARY}inner").write_bytes(b"x")
    aged(old / f"{TEMPORARY}inner", 100)
    aged(old, 100)
    remove_debris([tmp_path], older_than_s=50)
    assert list(tmp_path.iterdir()) == [young]


def test_a_digest_is_that_of_the_content(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    assert sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_what_others_named_alike_is_not_debris(tmp_path: Path) -> None:
    mine = tmp_path / f"{TEMPORARY}important"
    mine.mkdir()
    (mine / "thesis.tex").write_text("x")
    aged(mine, 100)
    assert remove_debris([tmp_path], older_than_s=50) == 0
    assert (mine / "thesis.tex").exists()


def test_a_list_of_checksums_reads_back_and_a_torn_or_empty_one_is_refused() -> None:
    digests = {"a": "0" * 64, "b/c": "f" * 64}
    data = write_checksums(digests)
    assert read_checksums(data) == digests
    for torn in (b"", b"\n", data[:-1], data[1:] + b" ", data[:66]):
        with pytest.raises(ValueError, match="no list of checksums, or a part of one"):
            read_checksums(torn)
