"""The lock: one builder a folder, named to the others; a dead one blocks nobody."""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from manifests.errors import UserError
from pipeline import lock
from pipeline.lock import STALE_S, RunLock, check_held, read_lock

HOLDER = """
import sys
from pathlib import Path
from pipeline.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(run: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a folder until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def note(run: Path, **changes: Any) -> Path:
    """A lock file of another host, as a machine that flock does not reach would leave it."""
    run.mkdir(exist_ok=True)
    path = run / "run.lock"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 4711, "heartbeat": time.time(), **changes}))
    return path


def take(run: Path) -> dict[str, Any] | None:
    """Take a folder, see who holds it, and give it back."""
    with RunLock(run):
        return read_lock(run)


def test_a_holder_says_who_it_is_and_leaves_no_name_behind(tmp_path: Path) -> None:
    run = tmp_path / "new" / "run"
    held = take(run)
    assert held is not None
    assert (held["host"], held["pid"]) == (socket.gethostname(), os.getpid())
    assert abs(held["heartbeat"] - time.time()) < STALE_S
    assert read_lock(run) is None
    assert take(run)


def test_a_folder_that_nobody_holds_has_no_holder(tmp_path: Path) -> None:
    assert read_lock(tmp_path) is None
    assert read_lock(tmp_path / "none") is None


def test_a_second_process_is_refused_with_the_pid_of_the_first_until_it_ends(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        with pytest.raises(UserError) as error:
            take(tmp_path)
        assert f"process {first.pid} on {socket.gethostname()}" in str(error.value)
        assert str(tmp_path) in str(error.value)
        with pytest.raises(UserError, match=str(first.pid)):
            take(tmp_path)
        first.communicate("")
        assert first.returncode == 0
        assert take(tmp_path)


def test_a_killed_holder_blocks_nobody(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
        left = read_lock(tmp_path)
        assert left is not None
        assert left["pid"] == first.pid, "it could not take its name away"
        held = take(tmp_path)
        assert held is not None
        assert held["pid"] == os.getpid()


def test_a_folder_is_held_once_in_a_process_too(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        with pytest.raises(UserError, match=str(os.getpid())):
            take(tmp_path)
        assert read_lock(tmp_path)
    assert take(tmp_path)


def test_folders_are_held_apart(tmp_path: Path) -> None:
    with RunLock(tmp_path / "a"):
        assert take(tmp_path / "b")


def test_an_error_inside_gives_the_folder_back(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), RunLock(tmp_path):
        _ = 1 / 0
    assert take(tmp_path)


def test_a_living_holder_on_another_host_refuses(tmp_path: Path) -> None:
    path = note(tmp_path)
    before = path.read_text()
    for _ in range(2):
        with pytest.raises(UserError, match="process 4711 on elsewhere"):
            take(tmp_path)
    assert path.read_text() == before


def test_a_silent_holder_on_another_host_is_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "WATCH_S", 0.2)
    note(tmp_path, heartbeat=time.time() - STALE_S - 5)
    held = take(tmp_path)
    assert held is not None
    assert held["pid"] == os.getpid()


def test_a_name_of_this_host_without_its_process_is_dead_however_fresh(tmp_path: Path) -> None:
    note(tmp_path, host=socket.gethostname())
    assert take(tmp_path)


def test_a_longer_name_leaves_nothing_of_itself(tmp_path: Path) -> None:
    note(tmp_path, host=socket.gethostname(), pid="9" * 500)
    held = take(tmp_path)
    assert held is not None
    assert held["pid"] == os.getpid()


def test_a_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.01)
    with RunLock(tmp_path):
        beats = set()
        while len(beats) < 3:
            held = read_lock(tmp_path)
            beats.add(held["heartbeat"] if held else 0)


@pytest.mark.parametrize(
    "left",
    [
        b"",
        bytes(90),
        b'{"host": "elsewh',
        b"\xff\xfe",
        b"[1]",
        b'{"pid": 1}',
    ],
)
def test_garbage_in_the_lock_file_blocks_nobody(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "run.lock").write_bytes(left)
    assert read_lock(tmp_path) is None
    assert take(tmp_path)


def test_a_place_where_nothing_can_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UserError, match="read-only") as error:
        take(tmp_path)
    assert str(tmp_path / "run.lock") in str(error.value)


def test_a_full_disk_does_not_leave_the_folder_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(UserError, match="disk is full"):
            take(tmp_path)
    assert take(tmp_path)


def test_a_heart_beats_again_after_a_disk_that_said_no(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.01)
    refused, write = [errno.EIO, errno.ENOSPC, errno.ENOSPC], os.pwrite
    with RunLock(tmp_path):
        before = read_lock(tmp_path)

        def sick(handle: int, data: bytes, place: int) -> int:
            if refused:
                raise OSError(refused.pop(), "no")
            return write(handle, data, place)

        monkeypatch.setattr(os, "pwrite", sick)
        end = time.monotonic() + 20
        while refused or read_lock(tmp_path) == before:
            assert time.monotonic() < end, "it beats no more"


def test_no_reader_sees_a_half_written_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.01)
    times = itertools.cycle([time.time(), 1e9, float(2**53)])  # numbers of different lengths
    write, seen = os.pwrite, list[dict[str, Any] | None]()

    def watched(handle: int, data: bytes, place: int) -> int:
        done = write(handle, data, place)
        seen.append(read_lock(tmp_path))
        return done

    monkeypatch.setattr(os, "pwrite", watched)
    monkeypatch.setattr(time, "time", lambda: next(times))
    with RunLock(tmp_path):
        while len(seen) < 6:
            time.sleep(0.01)
    assert None not in seen


def test_of_two_starts_at_once_the_first_name_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine, which saw no holder either, writes its name just after this one."""
    write = os.pwrite

    def overtaken(handle: int, data: bytes, place: int) -> int:
        done = write(handle, data, place)
        note(tmp_path)
        return done

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", overtaken)
        with pytest.raises(UserError, match="process 4711 on elsewhere"):
            take(tmp_path)
    held = read_lock(tmp_path)
    assert held and held["pid"] == 4711, "the other one holds it"
    note(tmp_path, heartbeat=time.time() - STALE_S - 5)
    monkeypatch.setattr(lock, "WATCH_S", 0.2)
    assert take(tmp_path), "nothing of the refused one is left in its way"


def test_a_folder_that_another_machine_took_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.3)
    with RunLock(tmp_path):
        check_held(tmp_path)
        text = note(tmp_path).read_text()
        time.sleep(1.0)  # beats that would write over it
        with pytest.raises(UserError, match=r"was taken over by process 4711 on elsewhere.*run the same command again"):
            check_held(tmp_path)
    assert (tmp_path / "run.lock").read_text() == text


def test_a_folder_that_nobody_holds_is_taken_from_nobody(tmp_path: Path) -> None:
    check_held(tmp_path)
