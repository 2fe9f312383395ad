"""One builder a run folder: an flock for this machine, a heartbeat for the others."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.files import writing

HEARTBEAT_S = 5.0
STALE_S = 60.0
WATCH_S = 3 * HEARTBEAT_S
"""How long a heartbeat that is not of now is watched, before its holder counts as dead."""
_RECORD = 512
"""Bytes of what is in the file, always: a reader sees the record before or the one after, never parts of both."""


def read_lock(run: Path) -> dict[str, Any] | None:
    """Who holds the folder, and since when it was heard of; None when nobody does."""
    try:
        holder = json.loads((run / "run.lock").read_bytes())
        return {"host": str(holder["host"]), "pid": int(holder["pid"]), "heartbeat": float(holder["heartbeat"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_held(run: Path) -> None:
    """Refuse to go on with a folder that another build has taken from this process.

    That happens where flock does not reach: when two begin at once, or this one could not be heard for too long.

    Raises:
        UserError: As said. What is committed is whole and stays, whoever made it.
    """
    if (other := _other_holder(run)) is not None:
        raise UserError(
            f"{run}: was taken over by process {other['pid']} on {other['host']} while it was being built here; wait"
            " for that one or stop it, then run the same command again, nothing is lost"
        )


def _other_holder(run: Path) -> dict[str, Any] | None:
    """Whose name stands in the folder, if it is not that of this process."""
    holder = read_lock(run)
    return holder if holder and (holder["host"], holder["pid"]) != (socket.gethostname(), os.getpid()) else None


class RunLock:
    """Context manager that holds a run folder, or refuses with the holder's name.

    The kernel drops the flock when its holder dies, however it dies, so a killed build blocks nobody. On a
    shared disk flock may not reach other machines; for them the file holds host, pid and a heartbeat. The last name
    that was written there holds the folder: who finds another's name instead of its own does not write again.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.path = run / "run.lock"
        self._stop = threading.Event()

    def __enter__(self) -> RunLock:
        with writing(self.path):
            self.run.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT)
        holder = read_lock(self.run)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._handle)
            raise UserError(self._refusal(holder)) from None
        if holder and holder["host"] != socket.gethostname() and self._beats(holder):
            os.close(self._handle)
            raise UserError(self._refusal(holder))
        try:
            self._beat()
            if (other := _other_holder(self.run)) is not None:
                raise UserError(self._refusal(other))
        except UserError:
            os.close(self._handle)
            raise
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)
        self._thread.start()
        return self

    def _beats(self, holder: dict[str, Any]) -> bool:
        """Whether a holder on another machine lives, whatever time its clock or ours says it is.

        A heartbeat of now is believed. One that is old, or of a time to come, is either of a dead holder or of another
        clock: a living one changes it before long.
        """
        if 0 <= time.time() - holder["heartbeat"] < STALE_S:
            return True
        end = time.monotonic() + WATCH_S
        while time.monotonic() < end:
            time.sleep(min(1.0, WATCH_S / 4))
            if (now := read_lock(self.run)) is not None and now["heartbeat"] != holder["heartbeat"]:
                return True
        return False

    def _refusal(self, holder: dict[str, Any] | None) -> str:
        who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
        return f"{self.run}: is being built by {who}; wait for it or stop it, then run the same command again"

    def _beat(self) -> None:
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "heartbeat": time.time()}
        with writing(self.path):
            os.pwrite(self._handle, json.dumps(holder).encode().ljust(_RECORD), 0)
            if os.fstat(self._handle).st_size > _RECORD:
                os.ftruncate(self._handle, _RECORD)
            os.fsync(self._handle)  # or a shared disk shows it to others when it likes

    def _keep_beating(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            if _other_holder(self.run) is not None:
                return  # `check_held` says so to the build
            with suppress(UserError):  # a disk that says no may say yes at the next beat
                self._beat()

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        if _other_holder(self.run) is None:
            with suppress(OSError):  # the name of a dead process blocks nobody
                os.ftruncate(self._handle, 0)
        os.close(self._handle)


@contextmanager
def releases_held(run: Path, alone: bool) -> Iterator[None]:
    """Hold the releases of a run: many publish them at once, or one removes some of them.

    Raises:
        UserError: Others hold them in a way that excludes this, or it is no run folder.
    """
    if not (run / "run.yaml").exists():
        raise UserError(f"{run}: is not a run folder (it has no run.yaml); name the folder given to build --out")
    path = run / "publish" / "releases.lock"
    with writing(path):
        path.parent.mkdir(exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        what = "a release of it is being published" if alone else "releases of it are being removed"
        raise UserError(f"{run}: {what} by another process; wait for that, then run the same command again") from None
    finally:
        os.close(handle)
