"""Cue tables: how an emotion, an age and a gender change a voice, as numbers in `manifests/cues/`.

`emotion.csv` has a row per emotion, `age.csv` one per age and gender; both have the columns of `Cues`, of which
any may be left out or empty (no change), and each row names its `source`. Emotions are relative to the same
voice without edits.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

from manifests.errors import UserError
from manifests.ids import content_hash
from manifests.labels import AGES, EMOTIONS, GENDERS

FOLDER = Path(__file__).parent / "cues"
_EMOTION, _AGE = "emotion.csv", "age.csv"


@dataclass(frozen=True)
class Cues:
    """How a rendering differs from the stock voice; the defaults change nothing but the level.

    Attributes:
        f0: Factor on the median F0.
        spread: Factor on the F0 range around the median, on a log scale.
        slope_st: Rise of F0 from the first voiced sound to the last, in semitones; below 0 for declination.
        final_st: Rise over the last 30 % of the utterance, in semitones.
        accent_st: Rise of F0 at stressed syllables, in semitones: all of it at the last stressed word, half of
            it at the others. Energy rises with it.
        rate: Factor on the speech rate.
        pause: Factor on the duration of pauses at punctuation.
        lengthening: Factor on the duration of the last stressed syllable and what follows it.
        gain_db: Level of active speech relative to -26 dBFS RMS, in dB.
        energy: Added to the model's energy contour (its unit: about one natural log of amplitude).
        dynamics: Factor on the deviation of the energy contour from its mean over the speech.
        tilt: Spectral slope around 1 kHz, in dB per octave.
        alpha: Factor on all formants; above 1 for a shorter vocal tract.
        open: Factor on the formants under 1 kHz; above 1 for a wider jaw.
        smile: Factor on the formants over 1 kHz; above 1 for spread lips, below for rounded ones.
        tremor_st: Depth of slow F0 modulation, in semitones.
        tremor_hz: Its rate.
        jitter_st: Standard deviation of fast F0 noise, in semitones.
        shimmer_db: Depth of level modulation, in dB.
        creak: Depth of the modulation at half of F0 (0 to 1): roughness.
        breath: Level of the noise that follows the envelope (0 to about 0.02).
        drive: Amount of saturation (0 to about 2).
        f0_hz: Median F0 of the neutral voice in Hz, instead of the voice's own; None to keep it. Of ages only.
    """

    f0: float = 1.0
    spread: float = 1.0
    slope_st: float = 0.0
    final_st: float = 0.0
    accent_st: float = 0.0
    rate: float = 1.0
    pause: float = 1.0
    lengthening: float = 1.0
    gain_db: float = 0.0
    energy: float = 0.0
    dynamics: float = 1.0
    tilt: float = 0.0
    alpha: float = 1.0
    open: float = 1.0
    smile: float = 1.0
    tremor_st: float = 0.0
    tremor_hz: float = 0.0
    jitter_st: float = 0.0
    shimmer_db: float = 0.0
    creak: float = 0.0
    breath: float = 0.0
    drive: float = 0.0
    f0_hz: float | None = None


NAMES = tuple(field.name for field in fields(Cues))
FACTORS = frozenset(name for name in NAMES if getattr(Cues(), name) == 1.0)
"""Cues that multiply: 1 changes nothing, and they combine by products."""

_TREMOR = ("tremor_st", "tremor_hz")
RANGES: dict[str, tuple[float, float]] = {
    "f0": (0.5, 2.0), "spread": (0.0, 4.0), "slope_st": (-12, 12), "final_st": (-12, 12), "accent_st": (-12, 12),
    "rate": (0.4, 2.5), "pause": (0.2, 5.0), "lengthening": (0.5, 3.0), "gain_db": (-20, 20), "energy": (-3, 3),
    "dynamics": (0.0, 3.0), "tilt": (-9, 9), "alpha": (0.75, 1.35), "open": (0.7, 1.5), "smile": (0.7, 1.4),
    "tremor_st": (0, 3), "tremor_hz": (0, 15), "jitter_st": (0, 2), "shimmer_db": (0, 12), "creak": (0, 1),
    "breath": (0, 0.1), "drive": (0, 6), "f0_hz": (60, 500),
}  # fmt: skip
"""Smallest and largest value of each cue: outside of them the edits break the speech."""


@dataclass(frozen=True)
class CueTable:
    """The cues of every emotion, and of every (age, gender)."""

    emotions: Mapping[str, Cues]
    bodies: Mapping[tuple[str, str], Cues]

    def cues(self, emotion: str, intensity: float, age: str, gender: str) -> Cues:
        """The cues of an utterance.

        Args:
            emotion: A row of the table.
            intensity: 0 gives the neutral row, 1 the emotion's; between them factors grow as powers and
                the rest linearly.
            age: With `gender`, a row of the table.
            gender: `female` or `male`.
        """
        neutral, target = self.emotions["neutral"], self.emotions[emotion]
        body = self.bodies[age, gender]
        out: dict[str, float | None] = {}
        for name in NAMES:
            if name == "f0_hz" or name in _TREMOR:
                continue
            start, end, own = getattr(neutral, name), getattr(target, name), getattr(body, name)
            if name in FACTORS:
                out[name] = start * (end / start) ** intensity * own if start else end * intensity * own
            else:
                out[name] = start + (end - start) * intensity + own
        # Two tremors would beat against each other: the deeper one stays.
        depth = target.tremor_st * intensity
        feeling = (depth, target.tremor_hz if depth else 0.0)
        out["tremor_st"], out["tremor_hz"] = max(feeling, (body.tremor_st, body.tremor_hz))
        if body.f0_hz is not None:
            # `f0_hz` says what the neutral voice is, and the neutral row already has a factor of its own.
            out["f0_hz"], out["f0"] = body.f0_hz, float(out["f0"] or 1.0) / neutral.f0
        return Cues(**out)  # type: ignore[arg-type]

    def content_hash(self) -> str:
        """Changes when any number does, not when a source is reworded."""
        rows = [*sorted(self.emotions.items()), *sorted(self.bodies.items())]
        return content_hash([[key, list(vars(cues).values())] for key, cues in rows], 12)


def read_cues(folder: Path | None = None) -> CueTable:
    """Read the cue tables.

    Args:
        folder: A user's own `emotion.csv`, `age.csv` or both; a file that is not there is the shipped one.

    Raises:
        UserError: The folder has neither file, or a table is unreadable, incomplete, or has a column or value
            that is not allowed; the message names file, line, column and what is.
    """
    return _read(str(folder or FOLDER), _stamp(folder or FOLDER))


def _stamp(folder: Path) -> tuple[int, ...]:
    """Changes when a table is edited, so that what was read can be kept until then."""
    return tuple(path.stat().st_mtime_ns if (path := folder / name).is_file() else 0 for name in (_EMOTION, _AGE))


@lru_cache(maxsize=8)
def _read(name: str, stamp: tuple[int, ...]) -> CueTable:
    folder = Path(name)
    if not any(stamp):
        raise UserError(f"{folder}: has no cue table: put an {_EMOTION} or {_AGE} there, as in {FOLDER}")
    emotions, bodies = (folder if there else FOLDER for there in stamp)
    table = CueTable(
        {key[0]: cues for key, cues in _rows(emotions / _EMOTION, {"emotion": EMOTIONS}).items()},
        {(key[0], key[1]): cues for key, cues in _rows(bodies / _AGE, {"age": AGES, "gender": GENDERS}).items()},
    )
    if table.emotions["neutral"].tremor_st:
        raise UserError(f"{emotions / _EMOTION}: tremor_st of neutral must be 0: give it to an age or an emotion")
    return table


def _rows(path: Path, keys: Mapping[str, tuple[str, ...]]) -> dict[tuple[str, ...], Cues]:
    """The cues of each row of a table by its key columns, which must hold every combination of their values."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets put a byte order mark before the header
    except OSError as error:
        raise UserError(f"{path}: the cue table cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: the cue table is not UTF-8 text (byte {error.start})") from error
    reader = csv.DictReader(text.splitlines())
    header = list(reader.fieldnames or ())
    _check_header(path, header, keys)
    out: dict[tuple[str, ...], Cues] = {}
    for row in reader:
        where = f"{path}:{reader.line_num}"
        if None in row or None in row.values():
            raise UserError(f"{where}: has {'more' if None in row else 'fewer'} values than the header has columns")
        row = {column: value.strip() for column, value in row.items()}
        for column, values in keys.items():
            if row[column] not in values:
                raise UserError(f"{where}: {column} is {row[column]!r}; use one of {', '.join(values)}")
        if not row["source"]:
            raise UserError(f"{where}: source is empty; say where the row's numbers come from")
        key = tuple(row[column] for column in keys)
        if key in out:
            raise UserError(f"{where}: {' '.join(key)} stands twice; keep one row")
        out[key] = Cues(**{name: _number(row[name], name, where) for name in NAMES if row.get(name)})
    wanted = [(value,) for value in next(iter(keys.values()))]
    for values in list(keys.values())[1:]:
        wanted = [(*key, value) for key in wanted for value in values]
    missing = [" ".join(key) for key in wanted if key not in out]
    if missing:
        raise UserError(f"{path}: has no row for {', '.join(missing)}; every combination needs one")
    return out


def _check_header(path: Path, header: list[str], keys: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse missing, repeated and unknown columns."""
    cues = [name for name in NAMES if name != "f0_hz" or "age" in keys]
    missing = [column for column in (*keys, "source") if column not in header]
    if missing:
        raise UserError(f"{path}: the cue table lacks the column(s) {', '.join(missing)}")
    for column in header:
        if column not in (*keys, *cues, "source"):
            raise UserError(f"{path}:1: the column {column!r} is no cue; use {', '.join((*keys, *cues, 'source'))}")
        if header.count(column) > 1:
            raise UserError(f"{path}:1: the column {column!r} stands twice; keep one")


def _number(text: str, name: str, where: str) -> float:
    """A cue's value, checked to lie in its range."""
    low, high = RANGES[name]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise UserError(f"{where}: {name} is {text!r}; use a number from {low:g} to {high:g}")
    return value
