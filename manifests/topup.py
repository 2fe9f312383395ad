"""The state of a run's top-ups: what each round added to the plan. Small: counts, and numbers of rows, never rows.

    inputs/topup.json    {"format": 1, "rounds": [{"extra": {task: {label: count}},
                                                   "retries": {task: {label: [[number, attempt], ...]}}}]}

It is replaced whole when a round is added, so a killed build either has the round or decides on it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from manifests.errors import UserError
from manifests.files import write_atomic, writing
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
    """

    extra: Mapping[Cell, int] = field(default_factory=dict)
    retries: Mapping[Cell, tuple[tuple[int, int], ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(self.extra.values()) or any(self.retries.values())


@dataclass(frozen=True)
class TopUp:
    """The rounds of a run so far; no round for a run that was never topped up."""

    rounds: tuple[Round, ...] = ()

    def extra(self, cell: Cell) -> int:
        """Rows that all rounds added to a label."""
        return sum(item.extra.get(cell, 0) for item in self.rounds)

    def content_hash(self) -> str:
        """Of the rounds, for the plan's key."""
        return content_hash(_document(self))


NO_TOPUP = TopUp()


class _Round(BaseModel):
    model_config = ConfigDict(extra="forbid")
    extra: dict[str, dict[str, PositiveInt]]
    retries: dict[str, dict[str, tuple[tuple[int, PositiveInt], ...]]]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    format: int
    rounds: tuple[_Round, ...]


def topup_path(run: Path) -> Path:
    """Where a run keeps its top-ups."""
    return run / "inputs" / "topup.json"


def read_topup(run: Path) -> TopUp:
    """The top-ups of a run folder; none when there is no such file.

    Raises:
        UserError: The file is damaged or of another format.
    """
    path = topup_path(run)
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return TopUp()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        document = _File.model_validate_json(text)
        if document.format != FORMAT:
            raise ValueError(f"format {document.format}")
    except (ValidationError, ValueError) as error:
        raise UserError(
            f"{path}: does not hold top-ups of format {FORMAT}; delete it and run build --top-up again, which plans"
            f" the same rounds anew"
        ) from error
    return TopUp(
        tuple(
            Round(
                {(task, label): n for task, labels in item.extra.items() for label, n in labels.items()},
                {(task, label): rows for task, labels in item.retries.items() for label, rows in labels.items()},
            )
            for item in document.rounds
        )
    )


def write_topup(run: Path, topup: TopUp) -> None:
    """Replace the top-ups of a run folder."""
    path = topup_path(run)
    with writing(path):
        path.parent.mkdir(exist_ok=True)
    write_atomic(path, canonical_json(_document(topup)))


def _document(topup: TopUp) -> dict[str, object]:
    rounds = []
    for item in topup.rounds:
        extra: dict[str, dict[str, int]] = {}
        retries: dict[str, dict[str, list[list[int]]]] = {}
        for (task, label), count in item.extra.items():
            if count:
                extra.setdefault(task, {})[label] = count
        for (task, label), rows in item.retries.items():
            if rows:
                retries.setdefault(task, {})[label] = [list(row) for row in rows]
        rounds.append({"extra": extra, "retries": retries})
    return {"format": FORMAT, "rounds": rounds}
