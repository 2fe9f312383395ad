"""The table of vocal sound events: from which ranges each is drawn. It is data: `manifests/cues/events.csv`."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from manifests.errors import UserError
from manifests.ids import content_hash
from manifests.labels import EVENTS

TABLE = Path(__file__).parent.parent / "manifests" / "cues" / "events.csv"
POSITIONS = ("before", "within", "after")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> float:
        """One of them, evenly."""
        return float(rng.uniform(self.low, self.high))

    def draw_count(self, rng: np.random.Generator) -> int:
        """A whole one of them, evenly."""
        return int(rng.integers(round(self.low), round(self.high) + 1))


@dataclass(frozen=True)
class EventCues:
    """From what an event is drawn.

    Attributes:
        sounds: Phoneme strings, one of which the speaker's voice gives as material.
        count: Bouts: syllables of a laugh, coughs of a fit, sobs.
        seconds: Duration of a bout (of the breath out, in a sigh).
        gap: Silence between bouts, in seconds.
        f0_start: Pitch of the first bout over the speaker's own, a factor.
        f0_end: Pitch of the last, or at the end of a single one.
        noise: Share of breath in the power of the voiced part, 0 to 1.
        level_db: Level over that of the words, both while active.
        weights: How often it stands at each of `POSITIONS`, relative to the others; 0 for never.
        source: Where the numbers come from.
    """

    sounds: tuple[str, ...]
    count: Range
    seconds: Range
    gap: Range
    f0_start: Range
    f0_end: Range
    noise: Range
    level_db: Range
    weights: tuple[float, float, float]
    source: str


_RANGES = tuple(field.name for field in fields(EventCues) if field.type == "Range")
_COLUMNS = ("event", "sounds", *_RANGES, *POSITIONS, "source")
_BOUNDS = {
    "count": (1, 20), "seconds": (0.02, 5), "gap": (0, 2), "f0_start": (0.2, 5), "f0_end": (0.2, 5),
    "noise": (0, 1), "level_db": (-40, 20),
}  # fmt: skip


def read_events(path: Path | None = None) -> Mapping[str, EventCues]:
    """Read the shipped table or another of its form: a row for each event that can be rendered.

    Args:
        path: CSV; ranges are written `low..high`.

    Raises:
        UserError: It cannot be read, or a column, label, range or weight is wrong; names file, line and column.
    """
    file = path or TABLE
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: the table of events cannot be read ({error}); name another or remove it") from error
    reader = csv.DictReader(lines)
    missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise UserError(f"{file}: lacks the column(s) {', '.join(missing)}")
    table: dict[str, EventCues] = {}
    for row in reader:
        where = f"{file}:{reader.line_num}"
        label = (row["event"] or "").strip()
        if label not in EVENTS:
            raise UserError(f"{where}: event is {label!r}; use one of {', '.join(EVENTS)}")
        if label in table:
            raise UserError(f"{where}: {label} stands twice; keep one row of it")
        table[label] = _row(row, where)
    return table


def table_hash(table: Mapping[str, EventCues]) -> str:
    """Changes with any number of a table."""
    return content_hash({
        label: [
            list(cues.sounds),
            [[getattr(cues, name).low, getattr(cues, name).high] for name in _RANGES],
            list(cues.weights),
        ]
        for label, cues in table.items()
    })  # fmt: skip


def _row(row: Mapping[str, str | None], where: str) -> EventCues:
    sounds = tuple(sound.strip() for sound in (row["sounds"] or "").split("|"))
    if not all(sounds):
        raise UserError(f"{where}: sounds is {row['sounds']!r}; write phonemes, alternatives with | between them")
    before, within, after = (_number(row[name], f"{where}: {name}", (0, 1000)) for name in POSITIONS)
    if not before + within + after:
        raise UserError(f"{where}: before, within and after are all 0; give one of them a weight")
    ranges = {name: _range(row[name], f"{where}: {name}", _BOUNDS[name]) for name in _RANGES}
    return EventCues(sounds=sounds, weights=(before, within, after), source=(row["source"] or "").strip(), **ranges)


def _range(text: str | None, where: str, bounds: tuple[float, float]) -> Range:
    low, dots, high = (text or "").partition("..")
    if not dots:
        raise UserError(f"{where} is {text!r}; write a range as low..high")
    found = Range(_number(low, where, bounds), _number(high, where, bounds))
    if found.low > found.high:
        raise UserError(f"{where} is {text!r}; write the lower end first")
    return found


def _number(text: str | None, where: str, bounds: tuple[float, float]) -> float:
    try:
        value = float(text or "")
    except ValueError:
        raise UserError(f"{where} is {text!r}; write a number") from None
    if not math.isfinite(value) or not bounds[0] <= value <= bounds[1]:
        raise UserError(f"{where} is {text!r}; write a number from {bounds[0]:g} to {bounds[1]:g}")
    return value
