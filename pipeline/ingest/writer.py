"""Items to a folder of checked recordings, in the one form that runs and calibration read (`pipeline/corpus.py`).

    labels.csv     a row a recording: file, sha256, labels in our words and in the corpus' own, text, speaker
    corpus.yaml    name, licence, consent and whether it may be published
    audio/*.flac   mono PCM_16, named by the sha256 of the file
    report.json    what was kept, what was left out and why

Rows are written as they come; of each recording only the hash of its samples is kept in memory.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from manifests.errors import UserError
from manifests.files import fsync, sha256, temporary, write_atomic, writing
from manifests.labels import HEARD, NONE, SPLITS, canonical
from manifests.licences import may_publish
from pipeline.corpus import ABOUT, AUDIO, COLUMNS, FORMAT, LABELS
from pipeline.ingest.base import FASTEST, Adapter, Item, Left, Unread, letters, our_label
from pipeline.ingest.sound import Rejected, Sound, place, read_sound

REPORT = "report.json"
ADAPTERS = {
    "csv": "pipeline.ingest.lists:CSV",
    "emodb": "pipeline.ingest.acted:EMODB",
    "ravdess": "pipeline.ingest.acted:RAVDESS",
    "cremad": "pipeline.ingest.acted:CREMAD",
    "esd": "pipeline.ingest.acted:ESD",
    "commonvoice": "pipeline.ingest.crowd:COMMONVOICE",
    "vocalsound": "pipeline.ingest.crowd:VOCALSOUND",
    "esc50": "pipeline.ingest.crowd:ESC50",
    "lhotse": "pipeline.ingest.lists:LHOTSE",
    "osum": "pipeline.ingest.lists:OSUM",
}
_LISTED = 20  # names in the report for each reason
_LONGEST_TEXT, _LONGEST_LABEL = 2000, 200  # characters
_UNREAD = 100  # columns of a table in the report
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_LANGUAGE = re.compile(r"[a-z]{2,3}")


@dataclass(frozen=True)
class Request:
    """What the user states.

    Attributes:
        name: Of the corpus; empty for the adapter's, or else that of the folder.
        language: Of rows that do not say theirs.
        rate: In Hz, to resample to; None keeps each file's own.
        publish: Whether the recordings may be published; None: if the licence is known to let anyone do so. Neither
            overrules a licence or a publisher who forbids it.
    """

    source: Path
    out: Path
    licence: str
    consent: str
    name: str = ""
    language: str = ""
    rate: int | None = None
    publish: bool | None = None


def adapter_of(name: str) -> Adapter:
    """An adapter by its name.

    Raises:
        UserError: There is none.
    """
    if name not in ADAPTERS:
        raise UserError(f"{name!r} is not an adapter: use one of {', '.join(ADAPTERS)}")
    module, _, attribute = ADAPTERS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def ingest(adapter: Adapter, request: Request) -> dict[str, Any]:
    """Make a corpus folder; it appears whole, or not at all.

    Returns:
        What was kept and what was left out, as it is written to `report.json`.

    Raises:
        UserError: A statement is missing, `source` is not as the adapter knows it, nothing of it can be used, a
            speaker is in two splits, or `out` is in the way.
    """
    name = check_request(adapter, request)
    with new_folder(request.out, AUDIO) as folder:
        return _write(adapter, request, name, folder)


@contextmanager
def new_folder(out: Path, audio: str) -> Iterator[Path]:
    """A spare folder that becomes `out` when all went well, and is gone otherwise.

    Args:
        audio: Name of a folder to make in it.
    """
    spare = temporary(out.absolute())
    try:
        with writing(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            (spare / audio).mkdir(parents=True)
        yield spare
        with writing(out):
            fsync(spare / audio)
            if out.exists():
                out.rmdir()
            spare.rename(out)
            fsync(out.absolute().parent)
    finally:
        shutil.rmtree(spare, ignore_errors=True)


def check_request(adapter: Adapter, request: Request) -> str:
    """Check what the user states; the name of the corpus."""
    hint = f" (its publisher states {adapter.licence!r})" if adapter.licence else ""
    if not request.licence.strip():
        raise UserError(f"--licence is empty: name the licence of the recordings{hint}")
    if not request.consent.strip():
        raise UserError("--consent is empty: say what the speakers have agreed to, or who has asked them")
    if request.language and not _LANGUAGE.fullmatch(request.language):
        raise UserError(f"--language {request.language!r} is not a code of two or three small letters, as de")
    if request.rate is not None and not 8000 <= request.rate <= 192000:
        raise UserError(f"--rate {request.rate} is not a sample rate from 8000 to 192000 Hz")
    check_folders(request.source, request.out)
    name = request.name.strip() or adapter.title or re.sub(r"[^a-z0-9_.-]+", "-", request.source.resolve().name.lower())
    if not _NAME.fullmatch(name):
        raise UserError(f"--name {name!r} must be of small letters, digits, dots, dashes and underscores")
    return name


def check_folders(source: Path, out: Path) -> None:
    """Refuse a source that is no folder, and an output that is in the way."""
    if not source.is_dir():
        raise UserError(f"{source}: is not a folder; name the folder of the recordings")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is there already; name another --out or remove it")
    if out.resolve().is_relative_to(source.resolve()):
        raise UserError(f"{out}: is inside of {source}; name an --out elsewhere")


@dataclass
class Counts:
    """What has been seen so far."""

    recordings: int = 0
    seconds: float = 0.0
    without_text: int = 0
    hurried: int = 0
    speakers: Counter[str] = field(default_factory=Counter)
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    mapped: dict[str, dict[str, str]] = field(default_factory=dict)
    unmapped: dict[str, Counter[str]] = field(default_factory=dict)
    languages: Counter[str] = field(default_factory=Counter)
    splits: dict[str, str] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[str]] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    def reject(self, file: str, reason: str) -> None:
        """Count a row that is left out."""
        self.rejected[reason] += 1
        names = self.first.setdefault(reason, [])
        if len(names) < _LISTED:
            names.append(_plain(file)[:200])

    def keep(self, row: dict[str, str], sound: Sound) -> None:
        """Count a row that is kept."""
        self.recordings += 1
        self.seconds += sound.seconds
        self.without_text += not row["text"]
        self.hurried += letters(row["text"]) > FASTEST * sound.seconds
        self.speakers[row["speaker"]] += 1
        self.languages[row["language"]] += 1
        self.notes.update(sound.notes)
        for family in HEARD:
            if row[family]:
                self.labels.setdefault(family, Counter())[row[family]] += 1
            spelled = row[f"original_{family}"]
            if spelled and row[family]:
                self.mapped.setdefault(family, {})[spelled] = row[family]
            elif spelled:
                self.unmapped.setdefault(family, Counter())[spelled] += 1

    def document(self) -> dict[str, Any]:
        """For the report."""
        return {
            "recordings": self.recordings,
            "seconds": round(self.seconds, 3),
            "without_text": self.without_text,
            "more_text_than_time": self.hurried,
            "labels": {family: dict(sorted(counts.items())) for family, counts in self.labels.items()},
            "mapped": {family: dict(sorted(spelled.items())) for family, spelled in self.mapped.items()},
            "unmapped": {family: dict(sorted(counts.items())) for family, counts in self.unmapped.items()},
            "languages": dict(sorted(self.languages.items())),
            "splits": dict(sorted(Counter(self.splits[who] for who in self.speakers if who in self.splits).items())),
            "changed": dict(sorted(self.notes.items())),
            "unread_columns": self.unread,
            "rejected": {
                reason: {"rows": count, "first": self.first[reason]} for reason, count in sorted(self.rejected.items())
            },
            "speakers": dict(sorted(self.speakers.items())),
        }


def _write(adapter: Adapter, request: Request, name: str, folder: Path) -> dict[str, Any]:
    """Write all files; the report."""
    counts, seen = Counts(), set()
    table = folder / LABELS
    with table.open("w", encoding="utf-8", newline="") as lines:
        writer: csv.DictWriter[str] = csv.DictWriter(lines, list(COLUMNS), lineterminator="\n")
        writer.writeheader()
        for item in adapter.items(request.source):
            if isinstance(item, Left):
                counts.reject(item.file, item.reason)
                continue
            if isinstance(item, Unread):
                counts.unread += [_plain(name)[:_LONGEST_LABEL] for name in item.columns]
                del counts.unread[_UNREAD:]
                continue
            try:
                row = row_of(item, request.language or adapter.language)
                sound = read_sound(place(request.source, item.file), item.start, item.end, request.rate)
                digest = hashlib.sha256(f"{sound.sample_rate} ".encode() + sound.pcm.tobytes()).digest()[:16]
                if digest in seen:
                    raise Rejected("the same sound as another recording")
                data = sound.flac()
            except Rejected as error:
                counts.reject(item.file, str(error))
                continue
            seen.add(digest)
            _check_split(counts, row, request.source)
            with writing(request.out):
                row |= _file(folder, sound, data)
                writer.writerow(row)
            counts.keep(row, sound)
    if not counts.recordings:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in counts.rejected.most_common())
        total = sum(counts.rejected.values())
        raise UserError(f"{request.source}: none of {total} recordings can be used: {reasons or 'it is empty'}")
    fsync(table)
    about = _about(adapter, request, name, counts)
    report = {**about, **counts.document(), "table_sha256": sha256(table)}
    with writing(request.out):
        write_atomic(folder / ABOUT, yaml.safe_dump(about, sort_keys=False, allow_unicode=True).encode())
        write_atomic(folder / REPORT, (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())
    return report


def _about(adapter: Adapter, request: Request, name: str, counts: Counts) -> dict[str, Any]:
    return {
        "name": name,
        "version": FORMAT,
        "adapter": adapter.name,
        "licence": request.licence.strip(),
        "consent": request.consent.strip(),
        "publish": adapter.publish and may_publish(request.licence, name, request.publish),
        "note": adapter.note,
        "source": adapter.source or request.source.resolve().name,
        "citation": adapter.citation,
        "recordings": counts.recordings,
        "seconds": round(counts.seconds, 3),
    }


def row_of(item: Item, language: str) -> dict[str, str]:
    """A row of `labels.csv`, but for what the sound says.

    Raises:
        Rejected: Nobody is named as speaker, there is neither a word nor a label, or the text is no text.
    """
    speaker = _plain(item.speaker)
    if not speaker:
        raise Rejected("nobody is named as its speaker")
    text = _plain(item.text)
    if len(text) > _LONGEST_TEXT or len(item.translation) > _LONGEST_TEXT:
        raise Rejected(f"its text is longer than {_LONGEST_TEXT} characters")
    if max(map(len, (speaker, *item.labels.values()))) > _LONGEST_LABEL:
        raise Rejected(f"its speaker or a label is longer than {_LONGEST_LABEL} characters")
    row = {"speaker": speaker, "text": text, "translation": _plain(item.translation)}
    spoken = (item.language.strip() or language).lower().replace("_", "-").partition("-")[0]
    row["language"] = spoken if _LANGUAGE.fullmatch(spoken) else ""
    if text and not row["language"]:
        raise Rejected("nothing says in which language its text is (--language)")
    for family in HEARD:
        spelled = _plain(item.labels.get(family, ""))
        row[f"original_{family}"] = spelled
        row[family] = item.ours.get(family) or _label(family, spelled)
    if not text and not any(row[family] for family in HEARD):
        raise Rejected("it has neither a text nor a label of ours")
    row["split"] = _split(item.split)
    part = f"#t={item.start:g},{'' if item.end is None else f'{item.end:g}'}" if item.start or item.end else ""
    row["source_file"] = _plain(item.file) + part
    return row


def _label(family: str, spelled: str) -> str:
    """Our label, or an empty cell; of events, `none` is one too."""
    if family == "speakers":
        return spelled.lower() if spelled.lower() in HEARD[family] else ""
    ours = our_label(family, spelled)
    return "" if ours is None or (ours == NONE and not (family == "event" and spelled)) else ours


def _split(spelled: str) -> str:
    try:
        split = canonical("split", spelled)
    except UserError:
        raise Rejected(f"its split {spelled[:40]!r} is none of {', '.join(SPLITS)}") from None
    return "" if split == NONE else split


def _plain(text: str) -> str:
    """One line without control characters, which have no place in a table."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _check_split(counts: Counts, row: dict[str, str], source: Path) -> None:
    """Refuse a speaker in two splits: what a test measures must not have been heard in training."""
    home = counts.splits.setdefault(row["speaker"], row["split"])
    if home != row["split"]:
        both = " and ".join(split or "none" for split in sorted((home, row["split"])))
        who = row["speaker"]
        raise UserError(f"{source}: the speaker {who!r} is in the splits {both}: give him one, or drop the column")


def _file(folder: Path, sound: Sound, data: bytes) -> dict[str, str]:
    """Write a recording, and what its row says of it."""
    digest = hashlib.sha256(data).hexdigest()
    path = folder / AUDIO / f"{digest}.flac"
    path.write_bytes(data)
    fsync(path)
    return {
        "file": f"{AUDIO}/{path.name}",
        "sha256": digest,
        "seconds": f"{sound.seconds:.4f}",
        "sample_rate": str(sound.sample_rate),
        "changed": "; ".join(sound.notes),
    }
