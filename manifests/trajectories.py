"""Trajectories: how the cues of a voice change from turn to turn, as weights in `manifests/cues/trajectories.csv`.

An emotion follows from that of the turn before; an event of a later turn is the first turn's again, or none. Age and
gender are the speaker's and stay.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path

from manifests.errors import UserError
from manifests.labels import CUES, NONE

FILE = Path(__file__).parent / "cues" / "trajectories.csv"
_COLUMNS = ["family", "label", "next", "weight", "why"]

Table = Mapping[tuple[str, str], Mapping[str, float]]
"""Weights of the next labels, by family and label."""


@lru_cache(maxsize=1)
def trajectories() -> Table:
    """The shipped table; see `read_trajectories`."""
    return read_trajectories(FILE)


def read_trajectories(file: Path) -> Table:
    """Read a table of trajectories.

    Raises:
        UserError: A label that is not known or is left out, or a weight that is no positive number; the message names
            file and line.
    """
    reader = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    if reader.fieldnames != _COLUMNS:
        raise UserError(f"{file}: has not the columns {', '.join(_COLUMNS)}")
    table: dict[tuple[str, str], dict[str, float]] = {}
    for row in reader:
        where = f"{file}:{reader.line_num}"
        family, label, following = row["family"], row["label"], row["next"]
        if family not in ("emotion", "event"):
            raise UserError(f"{where}: {family!r} does not change from turn to turn: use emotion or event")
        if label not in CUES[family]:
            raise UserError(f"{where}: {label!r} is not a label of {family}: use one of {', '.join(CUES[family])}")
        allowed = CUES[family] if family == "emotion" else (label, NONE)
        if following not in allowed:
            raise UserError(f"{where}: {following!r} cannot follow {label}: use one of {', '.join(allowed)}")
        try:
            weight = float(row["weight"])
        except ValueError:
            weight = 0.0
        if not 0 < weight < 1e9:
            raise UserError(f"{where}: weight is {row['weight']!r}: use a number above 0")
        if following in table.setdefault((family, label), {}):
            raise UserError(f"{where}: {label} to {following} stands twice: keep one")
        table[family, label][following] = weight
    missing = [f"{family} {label}" for family in ("emotion", "event") for label in CUES[family]
               if (family, label) not in table]  # fmt: skip
    if missing:
        raise UserError(f"{file}: has no row for {', '.join(missing)}")
    return table


def following(family: str, label: str, allowed: Collection[str], draw: float) -> str:
    """The label of the next turn.

    Args:
        family: emotion or event.
        label: That of the turn before; of events, that of the first turn.
        allowed: What the speaker renders; `label` itself always is.
        draw: From 0 up to, not including, 1.
    """
    weights = {name: weight for name, weight in trajectories()[family, label].items() if name in (*allowed, label)}
    left = draw * sum(weights.values())
    for name, weight in weights.items():
        left -= weight
        if left < 0:
            return name
    return label
