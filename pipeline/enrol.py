"""What calibration does before it scores: read all audio once, and choose the clips that make references."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from annotators.audio import checked
from annotators.clip import Clip, Reference
from annotators.fingerprint import audio_hash
from manifests.errors import UserError
from manifests.ids import seed_of
from pipeline.corpus import Corpus, CorpusClip, read_clip
from pipeline.stages.voices import fold

_FEWEST = 3  # clips of which a reference can be made

Progress = Callable[[str, Sequence[Any]], Iterable[Any]]
"""Passes a sequence on, and may tell how far it is; the first argument says what is being done."""


def silent(_: str, items: Sequence[Any]) -> Iterable[Any]:
    """No progress."""
    return items


@dataclass(frozen=True)
class Audit:
    """What reading all audio once has shown.

    Attributes:
        clips: Those that can be used.
        broken: File and reason of those that cannot be read.
        duplicates: File, and the earlier file that sounds the same.
        hashes: Of the sound of `clips`.
    """

    clips: tuple[CorpusClip, ...]
    broken: tuple[tuple[str, str], ...]
    duplicates: tuple[tuple[str, str], ...]
    hashes: tuple[str, ...]


@dataclass(frozen=True)
class Enrolment:
    """Which clips make the references of the speakers.

    Attributes:
        asked: Clips a speaker; 0 for no reference.
        clips: By speaker; without those who have too few.
    """

    asked: int
    seed: int
    clips: Mapping[str, tuple[CorpusClip, ...]]

    @property
    def files(self) -> frozenset[str]:
        return frozenset(clip.file for clips in self.clips.values() for clip in clips)

    def sentence(self) -> str:
        """The protocol in words."""
        if not self.asked:
            return "no enrolment: cues are not normalised by the speaker"
        return (
            f"{self.asked} clips a speaker (half of his clips if he has fewer than {2 * self.asked}), drawn by seed"
            f" {self.seed} in turn over his emotions, make his reference and are not scored"
        )


def audit(corpus: Corpus, progress: Progress = silent) -> Audit:
    """Read every clip once.

    Raises:
        UserError: None can be used.
    """
    clips, hashes = [], []
    broken: list[tuple[str, str]] = []
    duplicates: list[tuple[str, str]] = []
    first: dict[str, str] = {}
    for clip in progress("reading", corpus.clips):
        try:
            samples, rate = read_clip(clip)
            checked(samples, rate)
        except ValueError as error:
            broken.append((clip.file, str(error)))
            continue
        sound = audio_hash(samples, rate)
        if sound in first:
            duplicates.append((clip.file, first[sound]))
            continue
        first[sound] = clip.file
        clips.append(clip)
        hashes.append(sound)
    if not clips:
        file, why = broken[0]
        raise UserError(f"{corpus.folder}: no clip can be read, of {len(corpus.clips)} (the first, {file}: {why})")
    return Audit(tuple(clips), tuple(broken), tuple(duplicates), tuple(hashes))


def enrol(corpus: Corpus, clips: Sequence[CorpusClip], number: int, seed: int) -> Enrolment:
    """Choose the clips of the references, spread over the emotions that are scored.

    Args:
        clips: Those that can be used.
        number: Clips a speaker.

    Raises:
        UserError: No clip has a speaker.
    """
    speakers = sorted({clip.speaker for clip in clips} - {""})
    if number and not speakers:
        raise UserError(
            f"{corpus.folder}: labels.csv names no speaker, whose clips could make a reference: add a column speaker,"
            " or use --enrol 0"
        )
    chosen = {}
    for speaker in speakers if number else ():
        mine = [clip for clip in clips if clip.speaker == speaker]
        count = min(number, len(mine) // 2)
        if count >= _FEWEST:
            chosen[speaker] = tuple(in_turn(mine, seed)[:count])
    return Enrolment(number, seed, chosen)


def in_turn(clips: Sequence[CorpusClip], seed: int) -> list[CorpusClip]:
    """Clips of one speaker in a drawn order, one of each emotion in turn; those of emotions not ours come last."""
    order = sorted(clips, key=lambda clip: (seed_of("enrol", seed, clip.file), clip.file))
    groups: dict[str, list[CorpusClip]] = {}
    for clip in order:
        groups.setdefault(clip.labels.get("emotion", ""), []).append(clip)
    rest = groups.pop("", [])
    longest = max((len(group) for group in groups.values()), default=0)
    turns = [group[turn] for turn in range(longest) for _, group in sorted(groups.items()) if turn < len(group)]
    return [*turns, *rest]


class Ears:
    """Reads clips, and remembers their measurements where they are needed more than once."""

    def __init__(self, remember: bool = False) -> None:
        self._known: dict[str, tuple[dict[str, float], np.ndarray]] = {}
        self._remember = remember

    def clip(self, entry: CorpusClip, reference: Reference | None = None) -> Clip:
        """A clip with the reference of its speaker."""
        clip = Clip(*read_clip(entry), reference)
        if self._remember:
            if entry.file not in self._known:
                self._known[entry.file] = clip.cues, clip.embedding
            clip.cues, clip.embedding = self._known[entry.file]
        return clip


def speaker_reference(clips: Iterable[CorpusClip], ears: Ears) -> Reference | None:
    """What a speaker sounds like over some clips; None when too little of them can be measured."""
    takes = []
    for entry in clips:
        clip = ears.clip(entry)
        cues = {name: float(value) for name, value in clip.cues.items() if np.isfinite(value)}
        takes.append((cues, clip.embedding.tolist()))
    reference = Reference.from_json(fold(takes))
    return replace(reference, source="enrolment") if reference else None
