"""Voice tables: who speaks, with which labels, in which split, under which licence."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from manifests.errors import UserError
from manifests.ids import content_hash
from manifests.labels import AGES, GENDERS, LANGUAGES, SPLITS

_COLUMNS = ("voice", "role", "split", "language", "gender", "age", "speaker", "licence")


@dataclass(frozen=True)
class Voice:
    """One row of a voice table; `split` is empty for reply voices, which belong to the assistant."""

    voice: str
    role: str
    split: str
    language: str
    gender: str
    age: str
    speaker: str
    licence: str


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
        missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise UserError(f"{file}: the voice table lacks the column(s) {', '.join(missing)}")
        voices: list[Voice] = []
        names: set[str] = set()
        homes: dict[str, str] = {}
        for row in reader:
            voice = Voice(**{column: (row[column] or "").strip() for column in _COLUMNS})
            where = f"{file}:{reader.line_num}"
            _check(voice, where)
            if voice.voice in names:
                raise UserError(f"{where}: the voice {voice.voice!r} stands twice; names must be unique")
            if voice.role == "query" and homes.setdefault(voice.speaker, voice.split) != voice.split:
                raise UserError(
                    f"{where}: the speaker {voice.speaker!r} is in the splits {homes[voice.speaker]} and"
                    f" {voice.split}; all voices of a speaker belong to one split"
                )
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

    def content_hash(self) -> str:
        """Changes when any voice does."""
        return content_hash([list(vars(voice).values()) for voice in self.voices])


def _check(voice: Voice, where: str) -> None:
    allowed = {"role": ("query", "reply"), "language": LANGUAGES, "gender": GENDERS, "age": AGES}
    if voice.role == "query":
        allowed["split"] = SPLITS
    for column, values in allowed.items():
        if getattr(voice, column) not in values:
            raise UserError(f"{where}: {column} is {getattr(voice, column)!r}; use one of {', '.join(values)}")
    if not voice.voice or not voice.speaker:
        raise UserError(f"{where}: voice and speaker must not be empty")
