"""`echat takedown`: dialogues are withdrawn: the next build rejects them, and the next release is without them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.run import load_run
from manifests.withdrawn import SPEAKER_COLUMNS, Takedown, Withdrawn, read_withdrawn, write_withdrawn
from pipeline.dag import build_dag
from pipeline.events import Events
from pipeline.grid import Grid
from pipeline.join import by_dialogue, join_rows
from pipeline.lock import RunLock
from pipeline.topup import with_topup

_NAMED = 5  # speakers that an error names


@dataclass(frozen=True)
class Taken:
    """What was withdrawn: dialogues of the plan, and how many of them no earlier takedown named."""

    dialogues: tuple[str, ...]
    new: int


def take_down(run: Path, speaker: str, dialogue: str, reason: str) -> Taken:
    """Withdraw the dialogues of a speaker or a single one.

    Args:
        speaker: A query's speaker or voice, or a reply's voice, as the shards name it; or "".
        dialogue: An id, or the beginning of one that no other id has; or "".
        reason: For whoever keeps the run; never published.

    Raises:
        UserError: The folder is no run or is being built, or nothing of it is meant.
    """
    if not (run / "run.yaml").exists():
        raise UserError(f"{run}: is not a run folder (it has no run.yaml); name the folder given to build --out")
    if bool(speaker) == bool(dialogue):
        raise UserError("takedown: name either --speaker or --id")
    if not reason.strip():
        raise UserError("--reason: is empty; say why, for those who keep the run (it is not published)")
    with RunLock(run):
        file = run / "run.yaml"
        grid = Grid.open(with_topup(build_dag(load_run(file), file), run), run)
        found = _of_speaker(grid, run, speaker) if speaker else _of_id(grid, run, dialogue)
        earlier = read_withdrawn(run)
        known = {name for item in earlier.takedowns for name in item.dialogues}
        date = datetime.datetime.now(datetime.UTC).date().isoformat()
        item = Takedown(date, reason.strip(), speaker, found)
        write_withdrawn(run, Withdrawn((*earlier.takedowns, item)))
        new = len(set(found) - known)
        Events(run)("takedown", dialogues=len(found), new=new)  # events name nobody
    return Taken(found, new)


def _planned(grid: Grid) -> Iterator[list[dict[str, Any]]]:
    for cells in grid.all_cells.values():
        for turns, _ in by_dialogue(*join_rows(grid.ledger, [cells["plan"]], SPEAKER_COLUMNS)):
            yield turns


def _of_speaker(grid: Grid, run: Path, speaker: str) -> tuple[str, ...]:
    found, names = [], set()
    for turns in _planned(grid):
        said = {row[column] for row in turns for column in SPEAKER_COLUMNS} - {""}
        names |= said
        if speaker in said:
            found.append(turns[0]["id"])
    if not found:
        some = ", ".join(sorted(names)[:_NAMED])
        raise UserError(f"{run}: nothing is planned with the speaker {speaker!r}; speakers are {some} ...")
    return tuple(sorted(found))


def _of_id(grid: Grid, run: Path, dialogue: str) -> tuple[str, ...]:
    found = [turns[0]["id"] for turns in _planned(grid) if turns[0]["id"].startswith(dialogue)]
    if len(found) != 1:
        what = "no dialogue has" if not found else f"{len(found):,} dialogues have"
        raise UserError(f"{run}: {what} an id that begins with {dialogue!r}; name one in full")
    return tuple(found)
