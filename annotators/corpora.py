"""Labelled corpora: clips that are listed in a `labels.csv`, measured, and references of voices by enrolment."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from annotators.clip import Clip, Reference
from manifests import labels
from manifests.errors import UserError

_FAMILIES = ("gender", "age", "emotion")
_LEAST_TAKES = 5  # to know how much a voice varies


@dataclass(frozen=True)
class Sample:
    """One labelled clip, measured.

    Attributes:
        file: Its name.
        voice: Whose reference it is heard against.
        speaker: Whom a head must not have seen to be judged on this clip; voices made of one share it.
        split: `train`, `validation`, `test`, or empty.
        labels: Canonical label of each family that the corpus labels.
        values: Cues, or other numbers that a head reads.
        embedding: float32 (256,).
    """

    file: str
    voice: str
    speaker: str
    split: str
    labels: Mapping[str, str]
    values: Mapping[str, float]
    embedding: np.ndarray


@dataclass(frozen=True)
class Case:
    """A sample as a head gets it, with the reference of one enrolment; `enrolled` if the sample is part of that."""

    sample: Sample
    reference: Reference | None = None
    enrolled: bool = False


def rows_of(folder: Path, needed: Iterable[str] = ("file", "speaker")) -> list[dict[str, str]]:
    """Rows of a corpus's `labels.csv`.

    Raises:
        UserError: The file, a column or every row is missing.
    """
    table = folder / "labels.csv"
    if not table.is_file():
        raise UserError(f"{table} is missing: it must list file, speaker and the labels of each clip")
    with table.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        missing = set(needed) - set(reader.fieldnames or ())
        if missing:
            raise UserError(f"{table}: no column {', '.join(sorted(missing))}; add it")
        rows = list(reader)
    if not rows:
        raise UserError(f"{table} lists no clips")
    return rows


def read_clip(folder: Path, row: Mapping[str, str]) -> Clip:
    """The clip of a row.

    Raises:
        UserError: Its file is missing or no audio.
    """
    import soundfile

    try:
        samples, rate = soundfile.read(folder / row["file"], dtype="float32")
        return Clip(samples, rate)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{folder / row['file']} cannot be read ({error}): correct labels.csv") from None


def labels_of(row: Mapping[str, str]) -> dict[str, str]:
    """Canonical labels of a row; those that are not ours (as EMO-DB's boredom) are left out."""
    found = {}
    for family in _FAMILIES:
        try:
            value = labels.canonical(family, row.get(family) or "")
        except UserError:
            continue
        if value != labels.NONE:
            found[family] = value
    return found


def sample_of(row: Mapping[str, str], values: Mapping[str, float], embedding: np.ndarray) -> Sample:
    """A row with what was measured of its clip."""
    voice = row.get("voice") or row["speaker"]
    return Sample(row["file"], voice, row["speaker"], row.get("split") or "", labels_of(row), values, embedding)


def read_samples(folder: Path) -> list[Sample]:
    """Measure every clip of a corpus that holds no sound event.

    Args:
        folder: With `labels.csv` (columns file, speaker; optional voice, split, gender, age, emotion, event) and
            the audio files that it names.

    Raises:
        UserError: As `rows_of` and `read_clip`.
    """
    samples = []
    for row in rows_of(folder):
        if (row.get("event") or labels.NONE) == labels.NONE:
            clip = read_clip(folder, row)
            samples.append(sample_of(row, clip.cues, clip.embedding))
    return samples


def enrol(samples: Sequence[Sample], takes: int, seed: int) -> list[Case]:
    """Give every sample the reference of its voice, made of some of the voice's samples.

    The takes of a voice are drawn in turn from its emotions, so that they are spread over all of them; at most three
    quarters of its samples are drawn.

    Args:
        samples: Of any number of voices.
        takes: Per voice.
        seed: Of the draw.

    Returns:
        One case a sample, in their order; samples of voices with fewer than 5 takes are left out.
    """
    rng = np.random.default_rng(seed)
    chosen: dict[str, set[str]] = {}
    references: dict[str, Reference] = {}
    for voice in sorted({sample.voice for sample in samples}):
        own = sorted((sample for sample in samples if sample.voice == voice), key=lambda sample: sample.file)
        drawn = _spread(own, min(takes, 3 * len(own) // 4 if len(own) > 8 else len(own) - 1), rng)
        if len(drawn) >= _LEAST_TAKES:
            chosen[voice] = {sample.file for sample in drawn}
            references[voice] = reference_of(drawn)
    return [
        Case(sample, references[sample.voice], sample.file in chosen[sample.voice])
        for sample in samples
        if sample.voice in references
    ]


def _spread(samples: Sequence[Sample], count: int, rng: np.random.Generator) -> list[Sample]:
    """`count` samples, drawn from the emotions in turn."""
    left: dict[str, list[Sample]] = {}
    for index in rng.permutation(len(samples)):
        left.setdefault(samples[index].labels.get("emotion", ""), []).append(samples[index])
    drawn: list[Sample] = []
    while len(drawn) < count:
        for emotion in rng.permutation(sorted(left)):
            if left[emotion] and len(drawn) < count:
                drawn.append(left[emotion].pop())
    return drawn


def reference_of(samples: Sequence[Sample], source: str = "enrolment") -> Reference:
    """Mean and deviation of every value over samples, and their mean embedding."""
    names = samples[0].values.keys()
    table = np.array([[sample.values[name] for name in names] for sample in samples], float)
    known = np.isfinite(table).sum(axis=0) >= min(_LEAST_TAKES, len(samples))
    mean = np.nanmean(table[:, known], axis=0)
    deviation = np.nanstd(table[:, known], axis=0, ddof=1)
    kept = [name for name, is_known in zip(names, known, strict=True) if is_known]
    embedding = np.mean([sample.embedding for sample in samples], axis=0)
    length = float(np.linalg.norm(embedding))
    return Reference(
        dict(zip(kept, mean.tolist(), strict=True)),
        dict(zip(kept, deviation.tolist(), strict=True)),
        np.asarray(embedding / length if length else embedding, np.float32),
        len(samples),
        source,
    )
