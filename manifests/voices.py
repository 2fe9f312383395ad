"""Voice tables: who speaks, with which labels, in which split, under which licence, and how the voice is made.

Columns beside the required ones describe a voice for people, but for two kinds: `blend` says which stock voices
of the speaker a voice is made of, and `set_<cue>` sets a cue of `manifests.cues` in place of its age's.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from manifests.cues import NAMES
from manifests.errors import UserError
from manifests.ids import content_hash
from manifests.labels import AGES, GENDERS, LANGUAGES, SPLITS
from manifests.recipe import Recipe, parse_blend, parse_setting

_COLUMNS = ("voice", "role", "split", "language", "gender", "age", "speaker", "licence")
_BLEND, _SET = "blend", "set_"


@dataclass(frozen=True)
class Voice:
    """One row of a voice table; `split` is empty for reply voices, which belong to the assistant.

    `recipe` is the text of a `manifests.recipe.Recipe`, or empty when the speaker knows the voice by its name. What is
    spoken in a voice with `publish` False (`no` in the table) may not be passed on.
    """

    voice: str
    role: str
    split: str
    language: str
    gender: str
    age: str
    speaker: str
    licence: str
    recipe: str = ""
    publish: bool = True


@dataclass(frozen=True)
class VoiceTable:
    """All voices of one engine, in the order of their names."""

    path: Path
    voices: tuple[Voice, ...]

    @classmethod
    def load(cls, name: str, path: Path | None = None) -> VoiceTable:
        """Read a shipped table by name, or a user's own by path.

        Raises:
            UserError: A missing file, column, label or split; the message names file, line and column.
        """
        file = path or Path(str(files("manifests") / "voices" / f"{name}.csv"))
        try:
            text = file.read_text(encoding="utf-8-sig")  # spreadsheets put a byte order mark before the header
        except OSError as error:
            raise UserError(f"{file}: the voice table cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{file}: the voice table is not UTF-8 text (byte {error.start})") from error
        except ValueError as error:
            raise UserError(f"{str(file)!r}: is not a path ({error})") from error
        reader = csv.DictReader(text.splitlines())
        _check_header(file, list(reader.fieldnames or ()))
        voices: list[Voice] = []
        names: set[str] = set()
        homes: dict[tuple[str, str], str] = {}
        for row in reader:
            where = f"{file}:{reader.line_num}"
            row = {column: (value or "").strip() for column, value in row.items() if isinstance(column, str)}
            recipe = _recipe(row, where)
            values = {column: row[column] for column in _COLUMNS}
            voice = Voice(**values, recipe=recipe.text if recipe else "", publish=_publish(row, where))
            _check(voice, where)
            if voice.voice in names:
                raise UserError(f"{where}: the voice {voice.voice!r} stands twice; names must be unique")
            _check_home(voice, recipe, homes, where)
            names.add(voice.voice)
            voices.append(voice)
        return cls(file, tuple(sorted(voices, key=lambda voice: voice.voice)))

    def queries(self, split: str, language: str, age: str | None, gender: str | None) -> list[Voice]:
        """Query voices of a split that carry the labels asked for (None: any)."""
        return [
            voice
            for voice in self.voices
            if voice.role == "query" and voice.split == split and voice.language == language
            and age in (None, voice.age) and gender in (None, voice.gender)
        ]  # fmt: skip

    def replies(self, language: str) -> list[Voice]:
        """The assistant's voices."""
        return [voice for voice in self.voices if voice.role == "reply" and voice.language == language]

    def as_replies(self) -> VoiceTable:
        """The same people as the assistant's voices; the table itself where it names such."""
        if any(voice.role == "reply" for voice in self.voices):
            return self
        return replace(self, voices=tuple(replace(voice, role="reply", split="") for voice in self.voices))

    def content_hash(self) -> str:
        """Changes when any voice does."""
        free = {"publish": True}  # a table that says nothing of it is the same as ever
        return content_hash([[v for k, v in vars(voice).items() if free.get(k) is not v] for voice in self.voices])


def _check_header(file: Path, header: list[str]) -> None:
    """Refuse missing and repeated columns, and settings of no cue."""
    missing = [column for column in _COLUMNS if column not in header]
    if missing:
        raise UserError(f"{file}: the voice table lacks the column(s) {', '.join(missing)}")
    for column in header:
        if header.count(column) > 1:
            raise UserError(f"{file}:1: the column {column!r} stands twice; keep one")
        if column.startswith(_SET) and column.removeprefix(_SET) not in NAMES:
            raise UserError(f"{file}:1: the column {column!r} sets no cue; use {_SET} and one of {', '.join(NAMES)}")


def _publish(row: dict[str, str], where: str) -> bool:
    stated = row.get("publish", "")
    if stated not in ("", "yes", "no"):
        raise UserError(f"{where}: publish is {stated!r}; write yes or no, or leave it empty for yes")
    return stated != "no"


def _recipe(row: dict[str, str], where: str) -> Recipe | None:
    """How a row's voice is made; None in a table, or of a row, that leaves it to the speaker."""
    settings: dict[str, float] = {}
    for column, value in row.items():
        if column.startswith(_SET) and value:
            name = column.removeprefix(_SET)
            try:
                settings[name] = parse_setting(name, value)
            except ValueError as error:
                raise UserError(f"{where}: {column}: {error}") from error
    if not row.get(_BLEND) and not settings:
        return None
    try:
        blend = parse_blend(row.get(_BLEND) or row["voice"])
    except ValueError as error:
        raise UserError(f"{where}: {_BLEND}: {error}") from error
    return Recipe(blend, tuple(sorted(settings.items())))


def _check_home(voice: Voice, recipe: Recipe | None, homes: dict[tuple[str, str], str], where: str) -> None:
    """Refuse a query voice whose speaker, or a stock voice in whose blend, is of another split in `homes`."""
    if voice.role != "query":
        return
    packs = recipe.packs if recipe else ()
    for kind, name in (("speaker", voice.speaker), *(("stock voice", pack) for pack in packs)):
        home = homes.setdefault((kind, name), voice.split)
        if home != voice.split:
            raise UserError(
                f"{where}: the {kind} {name!r} is in the splits {home} and {voice.split};"
                f" all voices of a {kind} belong to one split"
            )


def _check(voice: Voice, where: str) -> None:
    allowed = {"role": ("query", "reply"), "language": LANGUAGES, "gender": GENDERS, "age": AGES}
    if voice.role == "query":
        allowed["split"] = SPLITS
    for column, values in allowed.items():
        if getattr(voice, column) not in values:
            raise UserError(f"{where}: {column} is {getattr(voice, column)!r}; use one of {', '.join(values)}")
    if not voice.voice or not voice.speaker:
        raise UserError(f"{where}: voice and speaker must not be empty")
