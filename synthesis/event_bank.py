"""Recordings of vocal sound events, as `echat ingest events` leaves them: a table `events.csv` and FLAC files."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import defaultdict
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np

from manifests.errors import UserError
from manifests.labels import EVENTS, GENDERS, NONE, SPLITS
from manifests.licences import may_publish

INDEX = "events.csv"
SAMPLE_RATE = 24000  # Hz, of the files


@dataclass(frozen=True)
class Recording:
    """One row of a bank's table.

    Attributes:
        file: Relative to the bank, FLAC, mono.
        label: A value of `manifests.labels.EVENTS`.
        split: Of `manifests.labels.SPLITS`; everything from one original recording or speaker is in one split.
        gender: Of the speaker, or `none` where it is not known.
        origin: What the split was drawn by: the speaker, else the original recording.
        original: Name of the file that it was made from.
        seconds: Duration.
        sha256: Of the file.
        licence: As the ingester stated it.
        source: Of the collection, likewise.
        publish: Whether it may be passed on, `yes` or `no`; empty in tables of before this was asked.
    """

    file: str
    label: str
    split: str
    gender: str
    origin: str
    original: str
    seconds: str
    sha256: str
    licence: str
    source: str
    publish: str = ""


COLUMNS = tuple(field.name for field in fields(Recording))


class EventBank:
    """The recordings of a folder, by label and split."""

    def __init__(self, folder: Path, recordings: tuple[Recording, ...]) -> None:
        """Keep the table; sounds are read when they are taken."""
        self._folder = folder
        self.recordings = recordings
        self._groups: dict[tuple[str, str], list[Recording]] = defaultdict(list)
        for recording in sorted(recordings, key=lambda row: row.file):
            self._groups[recording.label, recording.split].append(recording)

    @classmethod
    def load(cls, folder: Path) -> EventBank:
        """Read a folder's table and look for its files.

        Raises:
            UserError: It is no such folder, a row is wrong or a file is missing.
        """
        table = folder / INDEX
        advice = "make the folder with `echat ingest events`"
        try:
            lines = table.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{table}: the table of recordings cannot be read ({error}); {advice}") from error
        reader = csv.DictReader(lines)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ()) and name != "publish"]
        if missing:
            raise UserError(f"{table}: lacks the column(s) {', '.join(missing)}; {advice}")
        recordings = tuple(Recording(**{name: row.get(name) or "" for name in COLUMNS}) for row in reader)
        if not recordings:
            raise UserError(f"{table}: lists no recordings; {advice}")
        for number, row in enumerate(recordings, start=2):
            allowed = {"label": EVENTS, "split": SPLITS, "gender": (*GENDERS, NONE)}
            for column, values in allowed.items():
                if getattr(row, column) not in values:
                    raise UserError(
                        f"{table}:{number}: {column} is {getattr(row, column)!r}; use one of {', '.join(values)}"
                    )
            if not (folder / row.file).is_file():
                raise UserError(f"{table}:{number}: {row.file} is missing; {advice}")
        return cls(folder, recordings)

    @property
    def labels(self) -> frozenset[str]:
        """Events that the bank has recordings of, in some split."""
        return frozenset(label for label, _ in self._groups)

    @cached_property
    def licences(self) -> tuple[str, ...]:
        """Every licence that a recording is under."""
        return tuple(sorted({row.licence for row in self.recordings}))

    @cached_property
    def closed(self) -> tuple[str, ...]:
        """Collections with recordings that may not be passed on, each with the licence that says so."""
        closed = {
            f"{row.source} ({row.licence})"
            for row in self.recordings
            if row.publish == "no" or (row.publish != "yes" and not may_publish(row.licence, row.source))
        }
        return tuple(sorted(closed))

    def revision(self) -> str:
        """Changes with any recording: the table holds the hash of each."""
        text = "\n".join(f"{row.label},{row.split},{row.gender},{row.file},{row.sha256}" for row in self.recordings)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def has(self, label: str, split: str) -> bool:
        """Whether there is a recording of a label for a split; an empty split is any."""
        return any(self._groups.get((label, name)) for name in ((split,) if split else SPLITS))

    def take(
        self, label: str, split: str, gender: str, sample_rate: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, str]:
        """One recording of a label.

        Args:
            label: Of the event.
            split: Recordings of other splits are never used; empty for any.
            gender: Of the speaker whose words it joins; recordings of the other gender are used only when there
                are no others.
            sample_rate: Of the result, in Hz.
            rng: Picks.

        Returns:
            float32 (num_samples,) and its file's name.

        Raises:
            ValueError: The split has none, or the file is not what the table says.
        """
        names = (split,) if split else SPLITS
        choices = [row for name in names for row in self._groups.get((label, name), ())]
        if not choices:
            raise ValueError(f"{self._folder}: has no {label} of the split {split}")
        fitting = [row for row in choices if gender in (NONE, row.gender) or row.gender == NONE]
        row = (fitting or choices)[int(rng.integers(len(fitting or choices)))]
        return self._read(row, sample_rate), row.file

    def _read(self, row: Recording, sample_rate: int) -> np.ndarray:
        import soundfile
        import soxr

        data = (self._folder / row.file).read_bytes()
        if hashlib.sha256(data).hexdigest() != row.sha256:
            raise ValueError(f"{self._folder / row.file}: is not the file that {INDEX} lists; ingest it again")
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
        return samples if rate == sample_rate else np.asarray(soxr.resample(samples, rate, sample_rate, quality="HQ"))
