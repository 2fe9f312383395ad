"""The state of a run's top-ups: what each round added to the plan. Small: counts, and numbers of rows, never rows.

    inputs/topup.json    {"format": 1, "rounds": [{"extra": {task: {label: count}},
                                                   "retries": {task: {label: [[number, attempt], ...]}},
                                                   "anew": the same of some of these retries}],
                          "hash": of format and rounds; a file of before has none}

It is replaced whole when a round is added, so a killed build either has the round or decides on it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from manifests.errors import UserError
from manifests.files import read_if_there, write_atomic, writing
from manifests.ids import canonical_json, content_hash

FORMAT = 1

Cell = tuple[str, str]
"""Task and label."""


@dataclass(frozen=True)
class Round:
    """One round: additional rows, and further attempts at rejected ones.

    Attributes:
        extra: Rows added per task and label.
        retries: (number, attempt) of the rows that are tried again, per task and label, sorted.
        anew: Those of them that leave their contrastive pair, of which no row was kept, for a new one of this round.
    """

    extra: Mapping[Cell, int] = field(default_factory=dict)
    retries: Mapping[Cell, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    anew: Mapping[Cell, tuple[tuple[int, int], ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(self.extra.values()) or any(self.retries.values())


@dataclass(frozen=True)
class TopUp:
    """The rounds of a run so far; no round for a run that was never topped up."""

    rounds: tuple[Round, ...] = ()

    def extra(self, cell: Cell) -> int:
        """Rows that all rounds added to a label."""
        return sum(item.extra.get(cell, 0) for item in self.rounds)

    @cached_property
    def _births(self) -> dict[tuple[Cell, int], dict[int, int]]:
        """By label and number of a row, the rounds of its attempts whose pair was made anew."""
        births: dict[tuple[Cell, int], dict[int, int]] = {}
        for number, item in enumerate(self.rounds, 1):
            for cell, rows in item.anew.items():
                for row, attempt in rows:
                    births.setdefault((cell, row), {}).setdefault(attempt, number)
        return births

    def born(self, cell: Cell, number: int, attempt: int) -> int:
        """The round in which the contrastive pair of an attempt at a row was made; 0 for that of the first plan."""
        births = self._births.get((cell, number), {})
        return next((births[earlier] for earlier in range(attempt, 0, -1) if earlier in births), 0)

    def bears(self, cell: Cell, number: int, born: int) -> bool:
        """Whether a row was tried again in the pair that was made in a round."""
        return born in self._births.get((cell, number), {}).values()

    def content_hash(self) -> str:
        """Of the rounds, for the plan's key."""
        return content_hash(_document(self))


NO_TOPUP = TopUp()


_Rows = dict[str, dict[str, tuple[tuple[int, PositiveInt], ...]]]


class _Round(BaseModel):
    model_config = ConfigDict(extra="forbid")
    extra: dict[str, dict[str, PositiveInt]]
    retries: _Rows
    anew: _Rows = {}


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    format: int
    rounds: tuple[_Round, ...]
    hash: str | None = None


def topup_path(run: Path) -> Path:
    """Where a run keeps its top-ups."""
    return run / "inputs" / "topup.json"


def read_topup(run: Path) -> TopUp:
    """The top-ups of a run folder; none when there is no such file.

    Raises:
        UserError: The file is damaged or of another format.
    """
    path = topup_path(run)
    text = read_if_there(path)
    if text is None:
        return TopUp()
    try:
        document = _File.model_validate_json(text)
        if document.format != FORMAT:
            raise ValueError(f"format {document.format}")
        topup = _topup(document)
        if document.hash not in (None, topup.content_hash()):
            raise ValueError("its hash is of other rounds")
    except (ValidationError, ValueError) as error:
        raise UserError(
            f"{path}: does not hold top-ups of format {FORMAT}; delete it and run build --top-up again, which plans"
            f" the same rounds anew"
        ) from error
    return topup


def _topup(document: _File) -> TopUp:
    return TopUp(
        tuple(
            Round(
                {(task, label): n for task, labels in item.extra.items() for label, n in labels.items()},
                *(
                    {(task, label): rows for task, labels in listed.items() for label, rows in labels.items()}
                    for listed in (item.retries, item.anew)
                ),
            )
            for item in document.rounds
        )
    )


def write_topup(run: Path, topup: TopUp) -> None:
    """Replace the top-ups of a run folder."""
    path = topup_path(run)
    with writing(path):
        path.parent.mkdir(exist_ok=True)
    write_atomic(path, canonical_json({**_document(topup), "hash": topup.content_hash()}))


def _document(topup: TopUp) -> dict[str, object]:
    rounds = []
    for item in topup.rounds:
        extra: dict[str, dict[str, int]] = {}
        for (task, label), count in item.extra.items():
            if count:
                extra.setdefault(task, {})[label] = count
        anew = _listed(item.anew)
        rounds.append({"extra": extra, "retries": _listed(item.retries), **({"anew": anew} if anew else {})})
    return {"format": FORMAT, "rounds": rounds}


def _listed(rows_of: Mapping[Cell, tuple[tuple[int, int], ...]]) -> dict[str, dict[str, list[list[int]]]]:
    listed: dict[str, dict[str, list[list[int]]]] = {}
    for (task, label), rows in rows_of.items():
        if rows:
            listed.setdefault(task, {})[label] = [list(row) for row in rows]
    return listed
