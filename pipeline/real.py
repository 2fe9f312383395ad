"""Real recordings as queries: which rows of a plan are real, and which recording each of them takes.

Of the rows of a (task, label) cell a share is real, by their number, as pairs are; the r-th real row takes the r-th of
the recordings with that label, in an order that the run's seed draws, neutral or unlabelled emotions first where the
cell is about none. So no recording stands twice in a cell, and a larger plan contains the smaller one. The split is the
speaker's: the one that the corpus states, or else drawn from his name alone (`pipeline.corpus.split_of`), so that it is
the same in every run and in the bank of voices that `echat ingest voices` makes of the corpus. Speakers of two corpora
who share a recording are one person, and have one split: the one that a corpus states, or that of the first of their
names.

The labels and texts of all recordings are held in memory (about 1 kB each); their sound stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.files import sha256
from manifests.ids import content_hash, seed_of
from manifests.labels import CUES, NONE, TASKS
from pipeline.corpus import AUDIO, LABELS, About, CorpusClip, read_about, read_corpus, split_of

SOURCE = "real"
"""`plan.source` of a row whose query is a recording."""
_VERSION = 3  # of what is drawn below: raise it when the same corpora may give other rows


@dataclass(frozen=True)
class Recording:
    """A recording that can be a query.

    Attributes:
        speaker: `corpus:speaker`.
        labels: By cue family; `none` where the corpus does not say.
    """

    sha256: str
    speaker: str
    split: str
    text: str
    language: str
    labels: Mapping[str, str]

    def columns(self) -> dict[str, Any]:
        """The columns of the plan that the recording decides."""
        content = [self.sha256, self.text, self.language, dict(self.labels)]
        return {
            "num_turns": 1, "split": self.split, "source": SOURCE, "query_language": self.language,
            "recording": self.sha256, "transcript": self.text, "scenario": f"recording:{self.sha256[:16]}",
            "scenario_hash": content_hash(content), "topic": "recording", "slots": "{}", "followup": "",
            "earlier": "[]", "contrast": "{}", "pair": "", **self.labels, "intensity": 0.0, "query_voice": "",
            "query_recipe": "", "query_speaker": self.speaker,
        }  # fmt: skip


def same_people(heard: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The name of the person behind each speaker, from (speaker, sha256) of all recordings.

    Speakers who share a recording are one person, also by way of a third; the first of their names stands for all.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    owner: dict[str, str] = {}
    for speaker, recording in heard:
        parent.setdefault(speaker, speaker)
        one, other = sorted((root(speaker), root(owner.setdefault(recording, speaker))))
        parent[other] = one
    return {speaker: root(speaker) for speaker in parent}


def corpus_of(speaker: str) -> str:
    """The corpus of a `plan.query_speaker` of a real row."""
    return speaker.partition(":")[0]


@dataclass(frozen=True)
class RealQueries:
    """The recordings that a run may take, read when first asked for.

    Attributes:
        folders: Of the corpora, as `echat ingest` made them, or as a run keeps them.
        share: Of the rows of each cell.
        tasks: Whose cells take recordings.
        splits: Shares of the splits in the plan; recordings of a split without a share are not used.
        drawn: Shares from which the split of a speaker is drawn, of whom the corpus does not say it; `splits` if None.
        file: The manifest, for errors.
    """

    folders: tuple[Path, ...] = ()
    share: float = 0.0
    tasks: tuple[str, ...] = TASKS
    splits: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    file: str = ""
    drawn: Mapping[str, float] | None = None

    @cached_property
    def abouts(self) -> dict[str, About]:
        """What each corpus says of itself, by its name.

        Raises:
            UserError: A folder is no corpus, or two have the same name.
        """
        found: dict[str, About] = {}
        for folder in self.folders:
            about = read_about(folder)
            if about.name in found:
                raise UserError(f"{self.file}: plan.real.corpora: two are called {about.name}: leave one out")
            found[about.name] = about
        return found

    def sounds(self) -> dict[str, Path]:
        """The folder of the audio files of each corpus, by its name."""
        return {
            name: Path(about.audio or folder) / AUDIO
            for folder, (name, about) in zip(self.folders, self.abouts.items(), strict=True)
        }

    def identity(self) -> list[Any]:
        """What decides the rows, for the plan's key; where the corpora are is no part of it."""
        tables = [[name, sha256(path / LABELS)] for name, path in zip(self.abouts, self.folders, strict=True)]
        drawn = [] if self.drawn is None else [dict(self.drawn)]
        return [_VERSION, self.share, list(self.tasks), tables, *drawn]

    @cached_property
    def recordings(self) -> list[Recording]:
        """Every recording with words and in a split that has a share; one that is in two corpora counts once."""
        clips = [(f"{name}:{clip.speaker}", clip) for name, clip in self._clips()]
        people = same_people((speaker, clip.sha256) for speaker, clip in clips)
        homes: dict[str, tuple[str, str]] = {}
        for speaker, clip in clips:
            first, split = homes.setdefault(people[speaker], (speaker, clip.split))
            if clip.split and split and split != clip.split:
                raise UserError(
                    f"{self.file}: plan.real.corpora: {first} and {speaker} share recordings, so they are one person,"
                    f" and are in the splits {split} and {clip.split}: leave one corpus out, or give them one split in"
                    f" its {LABELS}"
                )
            if clip.split and not split:
                homes[people[speaker]] = speaker, clip.split
        shares = self.splits if self.drawn is None else self.drawn
        found: dict[str, Recording] = {}
        for speaker, clip in clips:
            person = people[speaker]
            recording = self._recording(speaker, homes[person][1] or split_of(person, shares), clip)
            if recording is not None:
                found.setdefault(recording.sha256, recording)
        return list(found.values())

    @cached_property
    def people(self) -> dict[str, str]:
        """Every speaker of the corpora with the name of the person behind him."""
        return same_people((f"{name}:{clip.speaker}", clip.sha256) for name, clip in self._clips())

    def _clips(self) -> Iterator[tuple[str, CorpusClip]]:
        """The clips of every corpus with its name, each of whose speakers has one split there, or none."""
        for folder, name in zip(self.folders, self.abouts, strict=True):
            homes: dict[str, str] = {}
            for clip in read_corpus(folder).clips:
                if len(clip.sha256) != 64 or not clip.speaker:
                    raise UserError(f"{folder / LABELS}: {clip.file}: has no sha256 or speaker: run echat ingest again")
                if homes.setdefault(clip.speaker, clip.split) != clip.split:
                    raise UserError(f"{folder / LABELS}: the speaker {clip.speaker!r} is in two splits: give him one")
                yield name, clip

    def _recording(self, speaker: str, split: str, clip: CorpusClip) -> Recording | None:
        if not clip.text or not self.splits.get(split) or clip.labels.get("speakers") == "several":
            return None
        labels = {family: clip.labels.get(family, NONE) for family in CUES}
        return Recording(clip.sha256, speaker, split, clip.text, clip.language, labels)

    def unusable(self) -> int:
        """Recordings of the corpora that can be no query: without words, of several speakers, or twice there."""
        return sum(about.recordings for about in self.abouts.values()) - len(self.recordings)

    def order(self, task: str, name: str, cues: Sequence[tuple[str, str]]) -> list[Recording]:
        """The recordings of a cell, in the order in which its real rows take them."""
        if not self.share or not self.folders or task not in self.tasks:
            return []
        if (task, name) not in self._orders:
            wanted = dict(cues) or {"emotion": "neutral"}
            fitting = [
                item
                for item in self.recordings
                if all(item.labels[family] == value for family, value in wanted.items())
                # A sound that the reply must not answer to would be heard all the same.
                and ("event" in wanted or item.labels["event"] == NONE)
            ]

            def place(item: Recording) -> tuple[bool, int]:
                moved = "emotion" not in wanted and item.labels["emotion"] not in ("neutral", NONE)
                return moved, seed_of(self.seed, "real", task, name, item.sha256)

            self._orders[task, name] = sorted(fitting, key=place)
        return self._orders[task, name]

    @cached_property
    def _orders(self) -> dict[tuple[str, str], list[Recording]]:
        return {}

    def _wanted(self, task: str, name: str, rows: int) -> int:
        """How many of the first rows of a cell are to be real.

        Cells begin at different places between two real rows, or cells of one row would never have any.
        """
        return int(rows * self.share + seed_of(self.seed, "real offset", task, name) / 2**63)

    def place(self, task: str, name: str, number: int) -> int | None:
        """Which real row of its cell the row with a number is, from 0; None for a synthetic one."""
        before, after = self._wanted(task, name, number), self._wanted(task, name, number + 1)
        return before if after > before else None

    def of_row(self, task: str, name: str, cues: Sequence[tuple[str, str]], number: int) -> Recording | None:
        """The recording of a row, or None for a synthetic one.

        A cell without recordings is all synthetic, as are rows beyond its last recording: only top-ups reach them,
        since `check` refuses a plan that does.
        """
        order = self.order(task, name, cues)
        place = self.place(task, name, number) if order else None
        return order[place] if place is not None and place < len(order) else None

    def count(self, task: str, name: str, cues: Sequence[tuple[str, str]], rows: int) -> int:
        """How many of the first rows of a cell are real."""
        return min(self._wanted(task, name, rows), len(self.order(task, name, cues)))

    def check(self, task: str, name: str, cues: Sequence[tuple[str, str]], rows: int) -> None:
        """Refuse a plan that asks for more recordings of a label than there are.

        Raises:
            UserError: Names the cell and what to do.
        """
        have, wanted = len(self.order(task, name, cues)), self._wanted(task, name, rows)
        if 0 < have < wanted:
            raise UserError(
                f"{self.file}: plan.real.share: {wanted:,} of {rows:,} dialogues of {task} {name} would be real, and"
                f" the corpora have {have:,} recordings with that label: lower the share or the quota, add a corpus,"
                f" or leave {task} out of plan.real.tasks"
            )


NO_REAL = RealQueries()
"""A run without recordings."""


def kept_copies(real: RealQueries) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Of each corpus, its name, its table and the `corpus.yaml` that a run keeps, which says where the sound is."""
    for folder, (name, about) in zip(real.folders, real.abouts.items(), strict=True):
        yield name, folder / LABELS, {**about.model_dump(), "audio": about.audio or str(folder.resolve())}
