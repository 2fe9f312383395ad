"""What people withdrew from a run: state of its folder, which every build reads.

    inputs/withdrawn.json    {"format": 1, "takedowns": [{"date", "reason", "speaker", "dialogues": [id, ...],
                              "names": [name, ...]}]}

`speaker` is empty where single dialogues are withdrawn; `names` are all names that he goes by in the run and of
the voices made of his. The file holds names and reasons and is never published; a release lists dates and ids alone,
which are hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from manifests.errors import UserError
from manifests.files import read_if_there, write_atomic, writing
from manifests.ids import canonical_json

FORMAT = 1
NAME = "withdrawn.json"
SPEAKER_COLUMNS = ("plan.query_speaker", "plan.query_voice", "plan.reply_voice")
"""Where a speaker may be named: a real speaker, a base voice, or a voice made of it."""


_REASON = "withdrawn on "


def reason_on(date: str) -> str:
    """The reason of a verdict on a withdrawn dialogue."""
    return f"{_REASON}{date}"


def is_withdrawn(reasons: Iterable[str]) -> bool:
    """Whether one of a verdict's reasons is a withdrawal: its sound is for nobody any more."""
    return any(reason.startswith(_REASON) for reason in reasons)


@dataclass(frozen=True)
class Takedown:
    """One withdrawal.

    Attributes:
        date: ISO 8601, UTC.
        speaker: Whose dialogues, or "".
        dialogues: Ids: the withdrawn ones, or those of the speaker as planned on that day.
        names: Of the speaker, and of the voices made of him; his name alone if empty.
    """

    date: str
    reason: str
    speaker: str
    dialogues: tuple[str, ...]
    names: tuple[str, ...] = ()

    @property
    def speakers(self) -> tuple[str, ...]:
        """All speakers and voices that it withdraws."""
        return self.names or ((self.speaker,) if self.speaker else ())


@dataclass(frozen=True)
class Withdrawn:
    """All withdrawals of a run, in order."""

    takedowns: tuple[Takedown, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.takedowns)

    @cached_property
    def _dates(self) -> dict[tuple[str, str], str]:
        """First date by kind and name."""
        found: dict[tuple[str, str], str] = {}
        for item in self.takedowns:
            for name in [*(("id", name) for name in item.dialogues), *(("speaker", name) for name in item.speakers)]:
                found.setdefault(name, item.date)
        return found

    def date(self, turns: Iterable[Mapping[str, Any]]) -> str:
        """When a dialogue was withdrawn, by its id or a speaker of one of its turns; "" if it was not."""
        for row in turns:
            names = [("id", row["id"]), *(("speaker", row[column]) for column in SPEAKER_COLUMNS)]
            for name in names:
                if name in self._dates:
                    return self._dates[name]
        return ""

    def identity(self) -> list[Any]:
        """What verdicts depend on, for the key of the selection."""
        return sorted([kind, name, date] for (kind, name), date in self._dates.items())

    def published(self) -> list[dict[str, Any]]:
        """What a release says of them: no names, no reasons."""
        return [
            {"date": item.date, "kind": "speaker" if item.speaker else "dialogue", "dialogues": list(item.dialogues)}
            for item in self.takedowns
        ]


NOBODY = Withdrawn()


class _Takedown(BaseModel):
    model_config = ConfigDict(extra="forbid")
    date: str
    reason: str
    speaker: str
    dialogues: tuple[str, ...]
    names: tuple[str, ...] = ()


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    format: int
    takedowns: tuple[_Takedown, ...]


def withdrawn_path(run: Path) -> Path:
    """Where a run keeps its withdrawals."""
    return run / "inputs" / NAME


def read_withdrawn(run: Path) -> Withdrawn:
    """The withdrawals of a run folder; none when there is no such file.

    Raises:
        UserError: The file is damaged or of another format: nothing is built or published then.
    """
    path = withdrawn_path(run)
    text = read_if_there(path)
    if text is None:
        return NOBODY
    try:
        document = _File.model_validate_json(text)
        if document.format != FORMAT:
            raise ValueError(f"format {document.format}")
    except (ValidationError, ValueError) as error:
        raise UserError(
            f"{path}: does not hold takedowns of format {FORMAT}; restore it, or what was withdrawn would be published"
        ) from error
    return Withdrawn(tuple(Takedown(**item.model_dump()) for item in document.takedowns))


def write_withdrawn(run: Path, withdrawn: Withdrawn) -> None:
    """Replace the withdrawals of a run folder."""
    path = withdrawn_path(run)
    with writing(path):
        path.parent.mkdir(exist_ok=True)
    write_atomic(path, canonical_json({"format": FORMAT, "takedowns": [asdict(item) for item in withdrawn.takedowns]}))
