"""`echat gc`: what of a run folder nothing leans on any more, and removing it.

Kept are the cells of the manifest as it stands, the selection and the shards that `current` names, the releases and the
reports. Superseded are all other cells (of earlier settings, plans and replays), selections and sets of shards. A
folder whose build is not finished is refused, since rows of earlier cells may still be copied into those to be made.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from manifests.errors import UserError
from manifests.files import find_debris, fsync, remove, writing
from manifests.ledger import CellRecord
from pipeline.events import Events
from pipeline.grid import Grid
from pipeline.lock import RunLock, releases_held
from pipeline.select import load_statistics
from pipeline.verify import open_finished

_OURS = re.compile(r"(building-|damaged-)?[0-9a-f]{16}(-\d+)?")
CELLS, SELECTIONS, SHARDS, RELEASES, DEBRIS = "cells", "selections", "shards", "releases", "debris"
_KINDS = (CELLS, SELECTIONS, SHARDS, RELEASES, DEBRIS)


@dataclass(frozen=True)
class Waste:
    """A file or folder that nothing leans on.

    Attributes:
        kind: `cells`, `selections`, `shards`, `releases` or `debris`.
        size: Bytes of its files, those that it shares with others by hard links too.
    """

    path: Path
    kind: str
    size: int


@dataclass(frozen=True)
class Collected:
    """What was found, the bytes that removing it frees, and whether it was removed."""

    waste: tuple[Waste, ...]
    freed: int
    removed: bool

    def by_kind(self) -> list[tuple[str, int, int]]:
        """Kind, items and bytes."""
        items, sizes = Counter(item.kind for item in self.waste), Counter[str]()
        for item in self.waste:
            sizes[item.kind] += item.size
        return [
            (kind, items[kind], sizes[kind]) for kind in (CELLS, SELECTIONS, SHARDS, RELEASES, DEBRIS) if items[kind]
        ]


def debris_folders(run: Path) -> list[Path]:
    """Folders of a run in which killed processes leave temporary files."""
    fixed = [run / name for name in ("select", "shards", "release", "report", "review", "inputs")]
    deeper = ("stages/*", "shards/building-*", "inputs/*", "inputs/corpora/*")
    return [run, *fixed, *(path for pattern in deeper for path in run.glob(pattern) if path.is_dir())]


def collect(run: Path, sure: bool, releases: bool = False) -> Collected:
    """Find what nothing leans on, and remove it if `sure`.

    Args:
        run: A run folder whose build is finished.
        releases: Also releases of earlier sets of shards.

    Raises:
        UserError: The folder is being built, its build is not finished, a release of it is being published, or the disk
            lets something not be removed.
    """
    if not (run / "run.yaml").exists():
        raise UserError(f"{run}: is not a run folder (it has no run.yaml); name the folder given to build --out")
    with RunLock(run), releases_held(run, alone=True) if releases else nullcontext():
        grid = open_finished(run, "gc")
        waste = tuple(_waste(grid, run, releases))
        freed = _freed(item.path for item in waste)
        if sure and waste:
            for item in waste:  # records come before the data that they name, so that a kill leaves no empty promise
                with writing(item.path):
                    remove(item.path)
            for folder in {item.path.parent for item in waste if item.path.parent.is_dir()}:
                fsync(folder)
            Events(run)("collected", items=len(waste), bytes=freed)
    return Collected(waste, freed, sure)


def _waste(grid: Grid, run: Path, releases: bool) -> Iterator[Waste]:
    deadline = grid.dag.manifest.executor.deadline_s
    found = [
        *((path, CELLS) for path in _cells(grid, run, deadline)),
        *((path, SELECTIONS) for path in _others(run / "select")),
        *((path, SHARDS) for path in _others(run / "shards")),
        *((path, RELEASES) for path in (_old_releases(run) if releases else ())),
        *((path, DEBRIS) for path in find_debris(debris_folders(run), deadline)),
        *((path, DEBRIS) for path in sorted((run / "crumbs").glob("*.json"))),  # of workers that died; nobody builds
    ]
    for path, kind in found:
        yield Waste(path, kind, sum(item.lstat().st_size for item in _files(path)))


def _cells(grid: Grid, run: Path, deadline: float) -> Iterator[Path]:
    """Records that the grid does not read, and data that no record of it names; young data may yet get its record."""
    kept = _records(grid)
    records = {grid.ledger.record_path(record) for record in kept}
    data = {grid.ledger.data_path(record) for record in kept}
    for folder in sorted(path for path in (run / "stages").iterdir() if path.is_dir()):
        old, files = grid.ledger.files(folder.name)
        named = {record.data for record in grid.ledger.all_records(folder.name)}
        yield from (path for path in old if path not in records)
        for path in files:
            if path not in data and (path.name in named or time.time() - path.stat().st_mtime > deadline):
                yield path


def _records(grid: Grid) -> list[CellRecord]:
    """The cells that the manifest as it stands is made of."""
    records = [record for cells in grid.all_cells.values() for record in cells.values()]
    if grid.references is not None:
        records += [*grid.references.records.values(), *grid.references.take_records()]
    return records


def _others(root: Path) -> list[Path]:
    """Selections or sets of shards of ours, finished, begun or damaged, beside the one that `current` names."""
    current = (root / "current").resolve()
    return [path for path in sorted(root.iterdir()) if _OURS.fullmatch(path.name) and path.resolve() != current]


def _old_releases(run: Path) -> list[Path]:
    """Releases of other shards than the current ones."""
    dataset = (run / "shards" / "current" / "dataset.json").read_bytes()
    statistics = load_statistics(run / "select" / "current")
    old = []
    for path in sorted((run / "release").glob("*")):
        try:
            counted = json.loads((path / "statistics.json").read_bytes())
            counted.pop("published")  # what a release counts beside the selection's statistics
            same = (path / "dataset.json").read_bytes() == dataset and counted == statistics
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            same = False
        if _OURS.fullmatch(path.name) and not same:
            old.append(path)
    return old


def _files(path: Path) -> Iterable[Path]:
    if path.is_dir() and not path.is_symlink():
        return (item for item in path.rglob("*") if item.is_symlink() or not item.is_dir())
    return (path,)


def _freed(paths: Iterable[Path]) -> int:
    """Bytes that are given back: a file with other hard links stays."""
    links: Counter[tuple[int, int]] = Counter()
    sizes: dict[tuple[int, int], tuple[int, int]] = {}
    for path in paths:
        for item in _files(path):
            about = os.lstat(item)
            links[about.st_dev, about.st_ino] += 1
            sizes[about.st_dev, about.st_ino] = (about.st_nlink, about.st_size)
    return sum(size for inode, (total, size) in sizes.items() if links[inode] >= total)
