"""Weights of an engine that does not ship them: a folder, a file, or a model of the Hugging Face hub.

A manifest names them as `PATH`, `OWNER/NAME` or `OWNER/NAME@COMMIT`. Nothing here reaches for the network: a model of
the hub is looked up in the hub's local cache (`HF_HOME`), and the command that fills it is told. A commit makes the
revision of an engine the same on every machine, also on one that only plans.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from manifests.engine import Problem
from manifests.errors import UserError

_HUB = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w.-]+))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PROSE = (".md", ".txt.license", ".gitattributes")  # files that decide no result


@dataclass(frozen=True)
class Weights:
    """Where the weights of one model are.

    Attributes:
        name: `PATH`, `OWNER/NAME` or `OWNER/NAME@REVISION`. What begins with `.`, `/` or `~`, or is there, is a path.
        needs: Files that must be in the folder; of several in a tuple, one.
    """

    name: str
    needs: tuple[str | tuple[str, ...], ...] = ()

    @property
    def hub(self) -> tuple[str, str] | None:
        """Repository and revision on the hub; None for a path."""
        match = _HUB.fullmatch(self.name)
        if match is None or self.name.startswith((".", "/", "~")) or Path(self.name).exists():
            return None
        return match[1], match[2] or "main"

    def place(self) -> Path | None:
        """The folder (or file) with the weights; None where they are not complete."""
        if self.hub is None:
            path = Path(self.name).expanduser()
            return path if path.exists() and not self._missing(path) else None
        for folder in self._snapshots():
            if not self._missing(folder):
                return folder
        return None

    @property
    def where(self) -> str:
        """`place`, for people."""
        return str(self.place() or "not found")

    def found(self) -> Path:
        """As `place`.

        Raises:
            UserError: The weights are not there; says what to do.
        """
        place = self.place()
        if place is None:
            problem = self.problems()[0]
            raise UserError(f"{problem.what}; {problem.fix}")
        return place

    def problems(self) -> list[Problem]:
        """That they are missing or not complete, and the command that fetches them; nothing is loaded."""
        if self.place() is not None:
            return []
        if self.hub is None:
            path = Path(self.name).expanduser()
            if not path.exists():
                return [Problem(f"{path} is not there", "name the folder with the weights, or a model of the hub")]
            files = ", ".join(self._missing(path))
            return [Problem(f"{path} has no {files}", "name a folder that is complete")]
        repository, revision = self.hub
        fix = f"hf download {repository}" + (f" --revision {revision}" if revision != "main" else "")
        partly = [self._missing(folder) for folder in self._snapshots()]
        what = f"has no {', '.join(partly[0])}" if partly else "is not"
        return [Problem(f"the model {self.name} {what} in the hub's cache {_cache()}", fix)]

    def revision(self) -> str:
        """Names the weights: their commit on the hub, else a hash of what is in the files; `missing` without them.

        A hash of gigabytes takes seconds, once a process and file.
        """
        if self.hub is not None:
            repository, revision = self.hub
            if _COMMIT.fullmatch(revision):
                return f"{repository}@{revision[:12]}"
            place = self.place()
            return f"{repository}@{place.name[:12] if place else f'{revision}-missing'}"
        place = self.place()
        return digest(_files(place)) if place is not None else "missing"

    def _missing(self, path: Path) -> list[str]:
        if path.is_file():
            return []
        wanted = [(need,) if isinstance(need, str) else need for need in self.needs]
        return [" or ".join(names) for names in wanted if not any((path / name).is_file() for name in names)]

    def _snapshots(self) -> list[Path]:
        """Folders of the cache that may hold the revision, at most one."""
        assert self.hub is not None
        repository, revision = self.hub
        home = _cache() / f"models--{repository.replace('/', '--')}"
        if not _COMMIT.fullmatch(revision):
            try:
                revision = (home / "refs" / revision).read_text(encoding="utf-8").strip()
            except OSError:
                return []
        folder = home / "snapshots" / revision
        return [folder] if folder.is_dir() else []


def digest(files: Iterable[Path]) -> str:
    """A hash of some files' names and contents."""
    whole = hashlib.sha256()
    for path in files:
        stat = path.stat()
        whole.update(path.name.encode() + b"\0" + _sha256(str(path.resolve()), stat.st_size, stat.st_mtime_ns))
    return f"sha256-{whole.hexdigest()[:12]}"


@lru_cache(maxsize=256)
def _sha256(path: str, size: int, changed: int) -> bytes:
    """Of a file's content, remembered until its size or time changes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    inside = (path for path in place.rglob("*") if path.is_file() and not path.name.lower().endswith(_PROSE))
    return sorted(path for path in inside if not any(part.startswith(".") for part in path.relative_to(place).parts))


def _cache() -> Path:
    """The hub's cache, as `huggingface_hub` places it, without importing that."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


WEIGHTS = ("model", "weights", "align")
"""Keys of an engine's section that name weights: a path, a name on a hub, or some of them by language."""


def with_weights(section: dict[str, Any], home: Path) -> dict[str, Any]:
    """An engine's section whose weights, where they are files below `home`, are found from any folder."""

    def found(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: found(inner) for key, inner in value.items()}
        is_path = isinstance(value, str) and value and (value.startswith(("./", "../")) or (home / value).exists())
        return str((home / value).resolve()) if is_path else value

    return {key: found(value) if key in WEIGHTS else value for key, value in section.items()}
