"""Where the weights of a model lie on this machine, and what names their content.

Nothing is ever downloaded while a run works: a model is fetched once, beforehand, to every machine that loads it
(`docs/cluster.md`), and a missing one is told with the command that fetches it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

MODELS_VARIABLE = "ECHAT_MODELS"
"""Names the folder that holds models by their id: `$ECHAT_MODELS/iic/CosyVoice2-0.5B`."""

_EDGE = 1 << 20  # bytes read at both ends of a large file


@dataclass(frozen=True)
class Weights:
    """A folder with a model; `how` says by which rule it was found."""

    folder: Path
    how: str

    def __str__(self) -> str:
        return f"{self.folder} ({self.how})"


def find_weights(model: str, needed: Sequence[str] = ()) -> Weights | None:
    """The folder of a model: a path, or an id looked up in the places where models are kept.

    Args:
        model: A folder, or an id as on the Hugging Face Hub or ModelScope (`iic/CosyVoice2-0.5B`).
        needed: Files that must be in it; a folder without them is passed over.
    """
    for folder, how in _places(model):
        if folder.is_dir() and all((folder / name).is_file() for name in needed):
            return Weights(folder, how)
    return None


def fetch_command(model: str) -> str:
    """The command that fetches a model to where `find_weights` looks first."""
    if looks_like_path(model):
        return f"put the model into {model}, or correct the path"
    return f'hf download {model} --local-dir "${MODELS_VARIABLE}/{model}"'


def looks_like_path(model: str) -> bool:
    """Whether a model is named by a path rather than by an id of a hub."""
    return model.startswith((".", "/", "~")) or model.count("/") != 1


def fingerprint(folder: Path, names: Sequence[str]) -> str:
    """Twelve digits that name the content of files: all of small ones; size, head and tail of large ones.

    The same on every machine. A checkpoint that was trained further differs in nearly every byte, so its ends tell.
    """
    digest = hashlib.sha256()
    for name in sorted(names):
        path = folder / name
        if path.is_file():
            state = path.stat()
            digest.update(f"{name}\0{_digest(path, state.st_size, state.st_mtime_ns)}\0".encode())
    return digest.hexdigest()[:12]


@lru_cache(maxsize=256)
def _digest(path: Path, size: int, _changed: int) -> str:
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        digest.update(stream.read(_EDGE))
        if size > 2 * _EDGE:
            stream.seek(-_EDGE, os.SEEK_END)
        digest.update(stream.read())
    return digest.hexdigest()


def _places(model: str) -> list[tuple[Path, str]]:
    """Folders to look into, in order."""
    places = [(Path(model).expanduser(), "the path in the manifest")]
    if looks_like_path(model):
        return places
    if root := os.environ.get(MODELS_VARIABLE):
        places.append((Path(root).expanduser() / model, f"${MODELS_VARIABLE}"))
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or "~/.cache/huggingface") / "hub")
    snapshots = hub.expanduser() / f"models--{model.replace('/', '--')}" / "snapshots"
    found = sorted(snapshots.glob("*"), key=lambda path: path.stat().st_mtime, reverse=True)
    places += [(path, "the Hugging Face cache") for path in found]
    scope = Path(os.environ.get("MODELSCOPE_CACHE") or "~/.cache/modelscope/hub").expanduser()
    return [*places, *((scope / part / model, "the ModelScope cache") for part in ("models", ""))]
