"""Optional packages of engines: which are missing, which are there, found without importing them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterable

from manifests.engine import Problem

FIX = "make engines"
"""Installs every engine of docs/engines.md that is not embedded."""


def missing(modules: Iterable[str]) -> list[Problem]:
    """The packages that are not installed, by the names of their modules, as one problem; none where all are."""
    absent = [name for name in modules if not _there(name)]
    if not absent:
        return []
    what = f"the package {absent[0]} is" if len(absent) == 1 else f"the packages {', '.join(absent)} are"
    return [Problem(f"{what} not installed", FIX)]


def version(package: str) -> str:
    """Of an installed package, else `missing`."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a dotted name whose parent is not there
        return False


def device_of(asked: str) -> str:
    """The torch device that an engine runs on: `auto` takes a GPU that is there."""
    if asked != "auto":
        return asked
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
