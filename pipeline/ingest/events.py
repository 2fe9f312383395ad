"""`echat ingest events`: recordings of vocal sound events, checked and brought into one form.

Three layouts are known: a table with the columns `filename` and `category` (ESC-50), files named
`<speaker>_<number>_<event>` (VocalSound), and a folder for each event. Everything from one original recording or
speaker goes to one split, so that no event of the training set is heard again in the test set.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manifests.errors import UserError
from manifests.files import temporary, write_atomic, writing
from manifests.ids import seed_of
from manifests.labels import NONE, SPLITS, canonical
from manifests.licences import may_publish
from manifests.sound import read_sound
from pipeline.audio import encode_flac
from pipeline.ingest.tables import csv_rows
from synthesis.event_bank import COLUMNS, INDEX, SAMPLE_RATE, Recording
from synthesis.events import active_dbfs, trimmed

REPORT = "report.json"
SECONDS = (0.1, 8.0)
"""Shortest and longest event, without the silence around it."""

_AUDIO = frozenset((".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff"))
_QUIETEST_DBFS = -60.0
_NOISE_DB = 35.0  # what is this far under the loudest moment is the room
_CLIPPED = 0.02  # share of samples at full scale that is too many
_SHARES = (80, 10, 10)  # of the splits, in percent
_NAMED = re.compile(r"(?P<speaker>[^_]+)_[^_]+_(?P<event>.+)")
_GENDERED = re.compile(r"(?P<gender>[fm])\d+")
_LISTED = 20  # names in the report for each reason


@dataclass(frozen=True)
class Item:
    """One file that may be an event: where it is, what it is called, whom it is from."""

    path: Path
    name: str
    event: str
    origin: str
    gender: str = NONE


class Rejected(ValueError):
    """Why a file is left out, in words that are the same for all files with the same fault."""


def ingest_events(
    source: Path, out: Path, licence: str, collection: str, consent: str, publish: bool | None = None
) -> dict[str, Any]:
    """Make a folder that `speak_query.events` can name.

    Args:
        source: Folder of recordings in one of the known layouts.
        out: Folder to make; it appears whole, or not at all.
        licence: Of the recordings, as their publisher states it.
        collection: Their name or address, kept with every recording; empty for the name of `source`.
        consent: What those who are heard have agreed to, kept in the report.
        publish: Whether the recordings may be passed on; None: if the licence is known to let anyone do so.

    Returns:
        What was kept by label and split, and what was left out by reason; written to `report.json` too.

    Raises:
        UserError: There are no recordings, none is usable, licence or consent is missing, or `out` is in the way.
    """
    if not licence.strip():
        raise UserError("--licence is empty: name the licence of the recordings, as their publisher states it")
    if not consent.strip():
        raise UserError("--consent is empty: say what those who are heard have agreed to, or who has asked them")
    if not source.is_dir():
        raise UserError(f"{source}: is not a folder; name the folder of the recordings")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is there already; name another --out or remove it")
    if out.resolve().is_relative_to(source.resolve()):
        raise UserError(f"{out}: is inside of {source}; name an --out elsewhere")
    items = list(_find(source))
    if not items:
        raise UserError(f"{source}: holds no recordings ({', '.join(sorted(_AUDIO))}); name the folder that does")
    spare = temporary(out.absolute())
    try:
        with writing(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            spare.mkdir()
            about = licence.strip(), consent.strip(), collection.strip() or source.resolve().name
            report = _write(items, spare, *about, may_publish(licence, about[2], publish))
            if not report["recordings"]:
                reasons = "; ".join(f"{reason} ({row['files']})" for reason, row in report["rejected"].items())
                raise UserError(f"{source}: none of {len(items)} recordings can be used: {reasons}")
            if out.exists():
                out.rmdir()
            spare.rename(out)
    finally:
        shutil.rmtree(spare, ignore_errors=True)
    return report


def split_of(origin: str) -> str:
    """The split of everything from one speaker or original recording."""
    place = seed_of("event recording", origin) % sum(_SHARES)
    for split, share in zip(SPLITS, _SHARES, strict=True):
        if place < share:
            return split
        place -= share
    raise AssertionError("the shares do not add up")


def _write(
    items: Iterable[Item], folder: Path, licence: str, consent: str, collection: str, publish: bool
) -> dict[str, Any]:
    """Write table, files and report of the usable items; the report."""
    recordings: dict[str, Recording] = {}
    reasons: dict[str, list[str]] = defaultdict(list)
    for item in sorted(items, key=lambda item: item.name):
        try:
            label = _label(item.event)
            wave = _clean(*_read(item.path))
            data = encode_flac(wave, SAMPLE_RATE)
            digest = hashlib.sha256(data).hexdigest()
            if digest in recordings:
                raise Rejected("the same sound as another file")
        except Rejected as error:
            reasons[str(error)].append(item.name)
            continue
        file = f"{label}-{digest[:16]}.flac"
        write_atomic(folder / file, data)
        recordings[digest] = Recording(
            file, label, split_of(item.origin), item.gender, item.origin, item.name,
            f"{len(wave) / SAMPLE_RATE:.3f}", digest, licence, collection, "yes" if publish else "no",
        )  # fmt: skip
    rows = sorted(recordings.values(), key=lambda row: row.file)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_atomic(folder / INDEX, text.getvalue().encode())
    report = {
        "source": collection,
        "licence": licence,
        "consent": consent,
        "publish": publish,
        "recordings": len(rows),
        "origins": len({row.origin for row in rows}),
        "kept": {
            label: {split: count[label, split] for split in SPLITS}
            for count in [Counter((row.label, row.split) for row in rows)]
            for label in sorted({row.label for row in rows})
        },
        "rejected": {
            reason: {"files": len(names), "first": names[:_LISTED]} for reason, names in sorted(reasons.items())
        },
    }
    write_atomic(folder / REPORT, (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())
    return report


def _find(source: Path) -> Iterator[Item]:
    """The recordings of a folder, in whichever layout it has."""
    tables = [table for table in sorted(source.rglob("*.csv")) if _columns(table)]
    if len(tables) > 1:
        raise UserError(f"{source}: has {len(tables)} tables with filename and category; leave the right one")
    if tables:
        yield from _listed(source, tables[0])
        return
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() not in _AUDIO or not path.is_file():
            continue
        name = path.relative_to(source).as_posix().encode("utf-8", "replace").decode()  # a name may be no text
        match = _NAMED.fullmatch(path.stem)
        if match and _known(match["event"]):
            gendered = _GENDERED.fullmatch(match["speaker"].lower())
            gender = canonical("gender", gendered["gender"]) if gendered else NONE
            yield Item(path, name, match["event"], match["speaker"], gender)
        elif path.parent != source:
            yield Item(path, name, path.parent.name, match["speaker"] if match else path.stem)
        else:
            yield Item(path, name, match["event"] if match else "", path.stem)


def _columns(table: Path) -> list[str]:
    """Columns of a CSV file that lists recordings; none for any other."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            columns = csv.DictReader(lines).fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    return list(columns) if {"filename", "category"} <= set(columns) else []


def _listed(source: Path, table: Path) -> Iterator[Item]:
    """The recordings that a table lists; those from one `speaker` or `src_file` belong together."""
    for row in csv_rows(table):
        name = row["filename"].strip()
        places = [folder / name for folder in (source, source / "audio", table.parent)]
        # A name that leads out of the folder is no name of a recording in it.
        inside = [place for place in places if "\0" not in name and place.resolve().is_relative_to(source.resolve())]
        path = next((place for place in inside if name and place.is_file()), source / "audio" / "missing")
        origin = (row.get("speaker") or row.get("src_file") or Path(name).stem).strip()
        try:
            gender = canonical("gender", row.get("gender") or "")
        except UserError:
            gender = NONE
        yield Item(path, name, row["category"], origin, gender)


def _known(event: str) -> bool:
    try:
        return canonical("event", event) != NONE
    except UserError:
        return False


def _label(event: str) -> str:
    if not _known(event):
        raise Rejected(f"{event!r} is not one of the events" if event else "nothing says which event it is")
    return canonical("event", event)


def _read(path: Path) -> tuple[np.ndarray, int]:
    """Samples (num_samples, num_channels) and rate of a file."""
    if not path.is_file():
        raise Rejected("the file is missing")
    try:
        samples, rate = read_sound(path, always_2d=True)
    except (RuntimeError, ValueError, OSError) as error:
        raise Rejected("the file cannot be read as audio") from error
    if not samples.size:
        raise Rejected("the file has no samples")
    if not np.isfinite(samples).all():
        raise Rejected("the file has samples that are NaN or infinite")
    return samples, rate


def _clean(samples: np.ndarray, rate: int) -> np.ndarray:
    """Mono at the bank's rate, without silence around it."""
    import soxr

    if rate < 8000:
        raise Rejected("the sample rate is under 8 kHz")
    if float(np.mean(np.abs(samples) >= 0.999)) > _CLIPPED:
        raise Rejected("it is clipped")
    mono = samples.mean(axis=1, dtype=np.float64)
    mono -= np.median(mono)  # the offset of a recorder; silence added later stays silence
    wave = mono if rate == SAMPLE_RATE else np.asarray(soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ"))
    level = active_dbfs(wave, SAMPLE_RATE)
    if level is None or level < _QUIETEST_DBFS:
        raise Rejected("it is silent")
    wave = trimmed(wave, SAMPLE_RATE, _NOISE_DB)
    seconds = len(wave) / SAMPLE_RATE
    if not SECONDS[0] <= seconds <= SECONDS[1]:
        raise Rejected(f"it is {'shorter' if seconds < SECONDS[0] else 'longer'} than an event can be")
    # The level within a dialogue is drawn when the event is used; here only overshoots are taken back.
    return (wave / max(1.0, float(np.abs(wave).max()))).astype(np.float32)
