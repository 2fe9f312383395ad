"""Labelled recordings of people: a folder with `labels.csv`, as calibration reads it.

`labels.csv` is UTF-8 with a header. `file` names the audio file of each clip, relative to the folder; `speaker`, who
speaks; `age`, `gender`, `emotion`, `event` and `speakers` (`one`, `several`) hold labels in the spelling of any
known corpus. Every column but `file` may be missing, and others are ignored. A `corpus.yaml` beside it may give the
corpus its `name`.

`echat ingest` writes such folders (`pipeline/ingest/writer.py`) with all of `COLUMNS`, checked, and with licence and
consent in `corpus.yaml`; runs take their real queries from those alone.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from manifests.errors import UserError, from_pydantic
from manifests.ids import seed_of
from manifests.labels import HEARD, NONE, SPLITS, canonical
from manifests.sound import read_sound

LABELS, ABOUT, AUDIO = "labels.csv", "corpus.yaml", "audio"
FORMAT = 1
"""Of the folders that `echat ingest` writes."""
COLUMNS = (
    "file", "sha256", "speaker", "gender", "age", "emotion", "event", "speakers", "text", "translation", "language",
    "seconds", "sample_rate", "original_gender", "original_age", "original_emotion", "original_event",
    "original_speakers", "split", "source_file", "changed",
)  # fmt: skip
"""Of the `labels.csv` that it writes: our labels and the corpus' own, and what was changed in the sound."""


_KEPT = ("text", "translation", "language", "split", "sha256", "source_file")


class About(BaseModel):
    """The `corpus.yaml` of a folder that `echat ingest` made."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    version: int
    licence: str
    consent: str
    publish: bool
    note: str = ""
    source: str = ""
    citation: str = ""
    recordings: int
    audio: str = ""
    """Folder of the corpus where this file is a copy that a run keeps; else the one that it is in."""


@dataclass(frozen=True)
class CorpusClip:
    """One line of `labels.csv`.

    Attributes:
        file: As it is written there.
        speaker: Empty when it is not known.
        labels: By family, canonical; a family whose label is empty or none of ours has no key.
        unknown: By family, labels that are none of ours, as they are spelled there.
        text: What is said, or empty.
        translation: The same in English, or empty.
        language: Of the text, or empty.
        split: Of the corpus itself, or empty.
        sha256: Of the file, where `echat ingest` wrote it.
        source_file: Likewise, its name in the corpus as published.
        seconds: Likewise; 0 where it is not known.
    """

    file: str
    path: Path
    speaker: str
    labels: dict[str, str]
    unknown: dict[str, str] = field(default_factory=dict)
    text: str = ""
    translation: str = ""
    language: str = ""
    split: str = ""
    sha256: str = ""
    source_file: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Corpus:
    """The clips of a folder.

    Attributes:
        families: That the clips have labels of.
    """

    folder: Path
    name: str
    clips: tuple[CorpusClip, ...]

    @property
    def families(self) -> tuple[str, ...]:
        return tuple(family for family in HEARD if any(family in clip.labels for clip in self.clips))

    @property
    def speakers(self) -> tuple[str, ...]:
        """Sorted; without the clips whose speaker is not known."""
        return tuple(sorted({clip.speaker for clip in self.clips} - {""}))

    def unknown(self) -> dict[str, dict[str, int]]:
        """By family, the labels that are none of ours and their number of clips."""
        counts = Counter((family, label) for clip in self.clips for family, label in clip.unknown.items())
        out: dict[str, dict[str, int]] = {}
        for (family, label), number in sorted(counts.items()):
            out.setdefault(family, {})[label] = number
        return out

    def of(self, speaker: str) -> tuple[CorpusClip, ...]:
        """The clips of one speaker."""
        return tuple(clip for clip in self.clips if clip.speaker == speaker)


def read_corpus(folder: Path, name: str | None = None, speakers: Iterable[str] | None = None) -> Corpus:
    """Read the labels of a folder; no audio is read.

    Args:
        folder: Holds `labels.csv`.
        name: Of the corpus; else that of its `corpus.yaml`, else that of the folder.
        speakers: Keep the clips of these alone.

    Raises:
        UserError: `labels.csv` is missing, not UTF-8, has no column `file` or no row, names a file twice or outside
            the folder, or has no such speaker.
    """
    table = folder / LABELS
    if not table.is_file():
        raise UserError(f"{table} is missing: it must list the file, and the labels, of each clip")
    clips = tuple(_rows(table))
    if not clips:
        raise UserError(f"{table}: lists no clip: add a row for each")
    if speakers is not None:
        wanted, known = set(speakers), {clip.speaker for clip in clips}
        for speaker in sorted(wanted - known):
            have = ", ".join(sorted(known - {""})) or "none: add a column speaker"
            raise UserError(f"{table}: has no speaker {speaker!r}; it has {have}")
        clips = tuple(clip for clip in clips if clip.speaker in wanted)
    return Corpus(folder, name or _stated_name(folder) or folder.resolve().name, clips)


def read_about(folder: Path) -> About:
    """What a folder that `echat ingest` made says of itself.

    Raises:
        UserError: The folder is none, or of another version.
    """
    from manifests.yamlfile import load_yaml

    path = folder / ABOUT
    if not path.is_file() or not (folder / LABELS).is_file():
        raise UserError(f"{folder}: is no folder that echat ingest has made ({ABOUT}, {LABELS}); make it first")
    document = load_yaml(path)
    try:
        about = About.model_validate(document)
    except ValidationError as error:
        raise from_pydantic(path, error) from None
    if about.version != FORMAT:
        raise UserError(f"{path}: is of version {about.version}, this package reads {FORMAT}: run echat ingest again")
    return about


def _stated_name(folder: Path) -> str | None:
    path = folder / ABOUT
    if not path.is_file():
        return None
    from manifests.yamlfile import load_yaml

    document = load_yaml(path)
    stated = document.get("name") if isinstance(document, dict) else None
    if not isinstance(stated, str) or not stated.strip():
        raise UserError(f"{path}: name: must be the name of the corpus")
    return stated.strip()


def _rows(table: Path) -> Iterator[CorpusClip]:
    seen: set[str] = set()
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            columns = [name.strip() for name in reader.fieldnames or ()]
            if "file" not in columns:
                raise UserError(f"{table}: has no column file: its first line must name the columns")
            reader.fieldnames = columns
            for row in reader:
                clip = _clip(table, reader.line_num, row)
                if clip.file in seen:
                    raise UserError(f"{table}:{reader.line_num}: lists {clip.file!r} a second time; remove a line")
                seen.add(clip.file)
                yield clip
    except UnicodeDecodeError as error:
        raise UserError(f"{table}: is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{table}: is not a table of comma-separated values ({error})") from None


def _clip(table: Path, line: int, row: dict[str, str | None]) -> CorpusClip:
    file = (row.get("file") or "").strip()
    if not file or Path(file).is_absolute() or ".." in Path(file).parts:
        raise UserError(f"{table}:{line}: file: {file!r} is not the name of a file in {table.parent}")
    speaker = (row.get("speaker") or "").strip()
    labels: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for family in HEARD:
        text = (row.get(family) or "").strip()
        if family == "speakers":
            # A clip that is said to be of a speaker has one.
            text = text.lower() or ("one" if speaker else "")
            value = text if text in HEARD[family] else None if text else NONE
        else:
            value = _canonical(family, text)
        original = (row.get(f"original_{family}") or "").strip()
        if value is None or (original and not text):
            unknown[family] = text or original
        elif value != NONE or (family == "event" and text):
            labels[family] = value
    known = {name: (row.get(name) or "").strip() for name in _KEPT}
    return CorpusClip(
        file, table.parent / file, speaker, labels, unknown, **known, seconds=_seconds(row.get("seconds") or "")
    )


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _canonical(family: str, text: str) -> str | None:
    """None for a label that is none of ours."""
    try:
        return canonical(family, text)
    except UserError:
        return None


def split_of(speaker: str, shares: Mapping[str, float]) -> str:
    """The split of a speaker whose corpus does not say it: the same wherever he is used.

    Args:
        speaker: `corpus:speaker`.
        shares: Of the splits; they sum to 1.
    """
    draw, drawn = seed_of("real split", speaker) / 2**63, ""
    for split in SPLITS:
        share = shares.get(split, 0.0)
        if share:
            drawn = split
            if draw < share:
                break
        draw -= share
    return drawn


def read_clip(clip: CorpusClip) -> tuple[np.ndarray, int]:
    """Samples float32 (num_samples,) or (num_samples, channels), and their rate in Hz.

    Raises:
        ValueError: The file cannot be read; one line that says why.
    """
    if not clip.path.is_file():
        raise ValueError("there is no such file")
    try:
        return read_sound(Path(clip.path))
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(" ".join(str(error).split())) from None
