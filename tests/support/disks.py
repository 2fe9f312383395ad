"""Small disks of their own kind, where this machine lets a test mount them."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest


def _mount(folder: Path, *options: str) -> bool:
    try:
        made = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", folder], capture_output=True, check=False)
    except OSError:
        return False  # there is no such command
    return made.returncode == 0


@cache
def may_mount() -> bool:
    """Whether tests of full and read-only disks run here; they need privileges to mount."""
    with tempfile.TemporaryDirectory() as folder:
        made = _mount(Path(folder))
        if made:
            subprocess.run(["umount", folder], check=True)
    return made


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """A tmpfs with these options; skips where mounting is not allowed."""
    folder.mkdir()
    if not _mount(folder, *options):
        pytest.skip("mounting needs privileges that this machine does not give")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)
