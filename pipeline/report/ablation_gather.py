"""What the page takes from an ablation's trainings: how they learned and what they answered, one training at a time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.labels import CUES
from model.ablation.job import Job, done, read_lines
from pipeline.report.figures import Matrix

_KEY = re.compile(r"[0-9a-f]{8,64}")
_ITEMS = re.compile(r"items-([a-z0-9][a-z0-9_.-]{0,63})\.jsonl")

Band = list[tuple[int, float, float, float]]
"""Total step, mean, least and most over the seeds."""
Confusion = dict[str, dict[str, int]]
"""How often each label was said of each true one."""


@dataclass
class Trained:
    """What the trainings of a variant left behind.

    Attributes:
        losses: Of the training, and of the validation data where there is some.
        confusions: Answers of all seeds in sum, by evaluation set and family.
        missing: Trainings without a whole result.
    """

    losses: dict[str, Band] = field(default_factory=dict)
    confusions: dict[tuple[str, str], Confusion] = field(default_factory=dict)
    missing: int = 0


def trained(folder: Path, keys: Sequence[str]) -> Trained:
    """Read the trainings of a variant.

    Raises:
        UserError: A key is none.
    """
    found = Trained()
    curves: dict[str, list[dict[int, float]]] = {"loss": [], "validation loss": []}
    for key in keys:
        if not _KEY.fullmatch(str(key)):
            raise UserError(f"{folder}: {str(key)[:80]!r} is no key of a training: run echat ablate again")
        job = Job(key, {})
        result = done(job, folder)
        if result is None:
            found.missing += 1
            continue
        for place, name in enumerate(curves, 1):
            # A training that went on from a checkpoint may tell of a step twice: the last time counts.
            values = {int(line[0]): line[place] for line in result["curve"]}
            curves[name].append({step: value for step, value in values.items() if _is_number(value)})
        for name in sorted(result["files"]):
            if match := _ITEMS.fullmatch(name):
                _count(found.confusions, match[1], read_lines(job.folder(folder) / name))
    found.losses = {name: band for name, of_seeds in curves.items() if (band := _band(of_seeds))}
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _band(of_seeds: Sequence[Mapping[int, float]]) -> Band:
    steps = sorted({step for values in of_seeds for step in values})
    band = []
    for step in steps:
        there = [values[step] for values in of_seeds if step in values]
        band.append((step, sum(there) / len(there), min(there), max(there)))
    return band


def _count(confusions: dict[tuple[str, str], Confusion], where: str, records: Iterable[Mapping[str, Any]]) -> None:
    for record in records:
        for family, said in record["said"].items():
            truth = record["labels"].get(family)
            if truth is not None:
                row = confusions.setdefault((where, family), {}).setdefault(truth, {})
                row[said] = row.get(said, 0) + 1


def matrix_of(title: str, family: str, counts: Confusion) -> Matrix:
    """True labels in rows, what was said in columns, in the order of the taxonomy."""
    known = list(CUES.get(family, ()))
    said = {label for row in counts.values() for label in row}
    order = [*known, *sorted((said | set(counts)) - set(known))]
    columns = tuple(label for label in order if label in said or label in counts)
    rows = []
    for label in (label for label in order if label in counts):
        whole = sum(counts[label].values())
        cells = tuple((counts[label].get(name, 0), counts[label].get(name, 0) / whole) for name in columns)
        rows.append((label, cells))
    right = sum(row.get(label, 0) for label, row in counts.items())
    total = sum(sum(row.values()) for row in counts.values())
    return Matrix(title, columns, tuple(rows), right / total if total else 0.0)
