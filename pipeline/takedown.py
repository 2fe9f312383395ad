"""`echat takedown`: dialogues are withdrawn: the next build rejects them, and the next release is without them."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.recipe import parse_recipe
from manifests.run import load_run
from manifests.voices import Voice
from manifests.withdrawn import SPEAKER_COLUMNS, Takedown, Withdrawn, read_withdrawn, write_withdrawn
from pipeline.dag import build_dag
from pipeline.events import Events
from pipeline.grid import Grid
from pipeline.join import by_dialogue, join_rows
from pipeline.lock import RunLock
from pipeline.topup import with_topup

_NAMED = 5  # names that an error names


@dataclass(frozen=True)
class Taken:
    """What was withdrawn.

    Attributes:
        dialogues: Of the plan as it stands.
        new: How many of them no earlier takedown named.
        names: All names of the speaker, and the voices made of him.
    """

    dialogues: tuple[str, ...]
    new: int
    names: tuple[str, ...]


def take_down(run: Path, speaker: str, dialogue: str, reason: str) -> Taken:
    """Withdraw the dialogues of a speaker or a single one.

    Args:
        speaker: A speaker or voice of the plan, the voice tables or the corpora; or "". Withdrawn with him are his
            names in other corpora and every voice that is made of his, by itself or in a blend.
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
        names = _names(grid, run, speaker) if speaker else ()
        found = _of_speakers(grid, names) if speaker else _of_id(grid, run, dialogue)
        earlier = read_withdrawn(run)
        known = {name for item in earlier.takedowns for name in item.dialogues}
        date = datetime.datetime.now(datetime.UTC).date().isoformat()
        item = Takedown(date, reason.strip(), speaker, found, names)
        write_withdrawn(run, Withdrawn((*earlier.takedowns, item)))
        new = len(set(found) - known)
        Events(run)("takedown", dialogues=len(found), new=new)  # events name nobody
    return Taken(found, new, names)


def _planned(grid: Grid) -> Iterator[list[dict[str, Any]]]:
    for cells in grid.all_cells.values():
        for turns, _ in by_dialogue(*join_rows(grid.ledger, [cells["plan"]], SPEAKER_COLUMNS)):
            yield turns


def _names(grid: Grid, run: Path, speaker: str) -> tuple[str, ...]:
    planner = grid.dag.planner
    people = planner.real.people
    voices = (*planner.voices.voices, *planner.reply_voices.voices)
    known = {*people, *(name for voice in voices for name in (voice.voice, *_made_of(voice)))}
    if speaker not in known and not _of_speakers(grid, (speaker,)):
        some = ", ".join(sorted(known)[:_NAMED])
        raise UserError(f"{run}: has no speaker or voice {speaker!r}; it has {some} ...")
    return all_names(speaker, people, voices)


def all_names(speaker: str, people: Mapping[str, str], voices: Iterable[Voice]) -> tuple[str, ...]:
    """The names that a speaker or voice goes by, and those of the voices that are made of it, sorted.

    Args:
        people: The name of the person behind each speaker of the corpora.
    """
    made_of = [(voice.voice, _made_of(voice)) for voice in voices]
    names, more = set[str](), {speaker}
    while more - names:
        names |= more
        persons = {people[name] for name in names if name in people}
        more = {name for name, person in people.items() if person in persons}
        more |= {voice for voice, parts in made_of if parts & names}
    return tuple(sorted(names))


def _made_of(voice: Voice) -> set[str]:
    """The speakers and stock voices behind a voice; a table names the speakers of a blend as `one+other`."""
    packs = parse_recipe(voice.recipe).packs if voice.recipe else ()
    return {voice.speaker, *voice.speaker.split("+"), *packs}


def _of_speakers(grid: Grid, names: Iterable[str]) -> tuple[str, ...]:
    wanted = set(names)
    planned = (
        turns[0]["id"]
        for turns in _planned(grid)
        if any(row[column] in wanted for row in turns for column in SPEAKER_COLUMNS)
    )
    return tuple(sorted(planned))


def _of_id(grid: Grid, run: Path, dialogue: str) -> tuple[str, ...]:
    found = [turns[0]["id"] for turns in _planned(grid) if turns[0]["id"].startswith(dialogue)]
    if len(found) != 1:
        what = "no dialogue has" if not found else f"{len(found):,} dialogues have"
        raise UserError(f"{run}: {what} an id that begins with {dialogue!r}; name one in full")
    return tuple(found)
