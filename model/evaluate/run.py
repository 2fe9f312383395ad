"""An evaluation: a checkpoint and held-out data to records, and records to a summary.

OUT/evaluation.json     what is evaluated; records of another evaluation are not gone on with
OUT/items.jsonl         a record an item, see `model.evaluate.items`; appears whole
OUT/silence.jsonl, transcript.jsonl    the same of the baselines
OUT/summary.json        every metric with its interval and its baselines
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from manifests.errors import UserError, WorkFailedError
from manifests.files import fsync, sha256, temporary, write_atomic, writing
from manifests.ids import canonical_json
from manifests.labels import CUES
from model.checkpoint import WEIGHTS, read_about
from model.contents import code_hash, fingerprint
from model.datasets import CorpusDataset, Dataset, Lengths, ShardDataset
from model.echat import EChat
from model.evaluate.items import Given, Record, answers_to, evaluate_items
from model.evaluate.overlap import Overlap, overlap_of
from model.evaluate.summary import summarise
from model.sample import Sample
from model.setup import load_model
from model.tasks import TASKS, Audio, Interleaved, Speech

ITEMS, SUMMARY, EVALUATION = "items.jsonl", "summary.json", "evaluation.json"
FORMAT = 1
BASELINES: tuple[Given, ...] = ("silence", "transcript")
SUITES = {"echat-eval": Path("runs/echat_eval")}
"""Run folders by the name of a suite, relative to the working directory."""

Progress = Callable[[str, int, int], None]
"""Told what is being evaluated, how many items are done and how many there are."""


@dataclass(frozen=True)
class Data:
    """What to evaluate on: one of shards, a corpus and a suite.

    Attributes:
        shards: Folder of shards, or the run folder that holds it.
        corpus: Folder of labelled recordings with `labels.csv`.
        speakers: Of the corpus; all of them if none is named.
        limit: At most so many items, spread evenly; 0: all.
    """

    shards: Path | None = None
    split: str = "test"
    corpus: Path | None = None
    speakers: tuple[str, ...] = ()
    suite: str = ""
    limit: int = 0

    def __post_init__(self) -> None:
        if sum(map(bool, (self.shards, self.corpus, self.suite))) != 1:
            raise UserError("name one of --shards, --corpus and --suite")
        if self.speakers and self.corpus is None:
            raise UserError("--speakers: chooses speakers of a --corpus; leave it out")
        if self.suite and self.suite not in SUITES:
            raise UserError(f"--suite {self.suite}: use {', '.join(SUITES)}")

    @property
    def folder(self) -> Path:
        """Of the shards or the corpus."""
        folder = self.corpus or self.shards or SUITES[self.suite]
        inner = folder / "shards" / "current"
        if self.suite and not inner.is_dir():
            raise UserError(f"--suite {self.suite}: {inner} is not here: run echat build {folder.name} --out {folder}")
        return inner if self.corpus is None and inner.is_dir() else folder

    def open(self) -> Dataset:
        """The dataset.

        Raises:
            UserError: It cannot be read, or is empty.
        """
        whole = self._whole()
        if not self.limit or self.limit >= len(whole):
            return whole
        return Some(whole, np.linspace(0, len(whole) - 1, self.limit).round().astype(int))

    def contents(self) -> str:
        """Hash of what the folder holds, recordings included."""
        return fingerprint(self.folder)

    def overlap(self, about: Mapping[str, Any]) -> Overlap:
        """What a checkpoint was trained on and this have in common; a limit does not count."""
        return overlap_of(about, self._whole())

    def _whole(self) -> ShardDataset | CorpusDataset:
        if self.corpus is None:
            return ShardDataset(self.folder, self.split)
        if self.speakers:
            known = {speaker for _, speaker, *_ in CorpusDataset(self.corpus).rows}
            unknown = [speaker for speaker in self.speakers if speaker not in known]
            if unknown:
                raise UserError(
                    f"--speakers: {self.corpus} has no speaker {unknown[0]!r}: use {', '.join(sorted(known))}"
                )
        return CorpusDataset(self.corpus, self.speakers or None)


class Some:
    """Some items of a dataset."""

    def __init__(self, whole: Dataset, items: Sequence[int] | np.ndarray) -> None:
        self.whole, self.items = whole, np.asarray(items)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def lengths(self) -> Lengths:
        lengths = self.whole.lengths
        return Lengths(lengths.frames[self.items], lengths.chars[self.items], lengths.tokens[self.items])

    def load(self, item: int, audio: bool = True) -> Sample:
        """See `Dataset.load`."""
        return self.whole.load(int(self.items[item]), audio)


def evaluate(
    checkpoint: Path,
    data: Data,
    out: Path,
    families: Sequence[str] = tuple(CUES),
    task: str = "think_tag",
    replies: bool | None = None,
    baselines: bool = True,
    batch: int = 16,
    device: str = "",
    allow_overlap: bool = False,
    progress: Progress = lambda what, done, total: None,
    hold: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Evaluate a checkpoint: write its records and those of the baselines.

    A file of records that is there already, of the same weights, data and settings, is kept: run again after an
    interruption, an evaluation goes on with the file that it was at.

    Args:
        replies: Whether to generate; None: where the data has replies.
        baselines: Whether to run the model on silence, and on silence with the transcript, too.
        device: Of torch; the first GPU, or else the CPU, unless named.
        allow_overlap: Evaluate even on what the model was trained on, where that can be told.
        hold: Is called when all is checked and before anything is written, to keep others out of the folder.

    Returns:
        What was evaluated: the summary but for its numbers (`write_summary`).

    Raises:
        UserError: Wrong input, and data that the model was trained on.
        WorkFailedError: The model gives no numbers.
    """
    _check(families, task, data, replies)
    about = read_about(checkpoint)
    dataset = data.open()
    overlap = data.overlap(about)
    if overlap.found and not allow_overlap:
        raise UserError(f"{data.folder}: {overlap.sentence}: name data that it never saw, or give --allow-overlap")
    model, tokenizer = load_model(checkpoint)
    generate = data.corpus is None if replies is None else replies
    if generate:
        _check_codebook(data, model, task)
    head = {
        **_subject(checkpoint, data), "progress": about["progress"], "families": list(families),
        "task": task if generate else "understand", "replies": generate, "items": len(dataset), "batch": batch,
        "overlap": _named({**asdict(overlap), "sentence": overlap.sentence}),
    }  # fmt: skip
    hold()
    _begin(out, head)
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    for given in ("audio", *(BASELINES if baselines else ())):
        path = out / record_file(given)
        if path.is_file():
            continue
        spoken = generate and answers_to(given, task)
        records = evaluate_items(model, tokenizer, dataset, families, spoken, batch, task, given)
        write_records(path, counted(_finite(records), given, len(dataset), progress))
    return head


def _subject(checkpoint: Path, data: Data) -> dict[str, Any]:
    """Which model is evaluated on which data, by which code."""
    return {
        "format": FORMAT, "checkpoint": str(checkpoint), "weights": sha256(checkpoint / WEIGHTS), "code": code_hash(),
        "data": _named({**asdict(data), "folder": data.folder}), "contents": data.contents(),
    }  # fmt: skip


def record_file(given: str) -> str:
    """Name of the records of a model that was given this of the queries."""
    return ITEMS if given == "audio" else f"{given}.jsonl"


def _begin(out: Path, head: dict[str, Any]) -> None:
    """Make the folder; take away what another evaluation left in it."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    ours = [SUMMARY, *map(record_file, ("audio", *BASELINES)), *(path.name for path in out.glob("judge-*.jsonl"))]
    try:
        before = json.loads((out / EVALUATION).read_bytes())
    except (OSError, ValueError):
        before = None
        there = [name for name in ours if (out / name).exists()]
        if there:
            raise UserError(f"{out}: holds {there[0]} and no evaluation; name a new folder in --out") from None
    if before != json.loads(canonical_json(head)):
        with writing(out):
            for old in ours:
                (out / old).unlink(missing_ok=True)
        write_atomic(out / EVALUATION, canonical_json(head))


def write_summary(
    out: Path, head: dict[str, Any], judge: Mapping[str, Any] | None = None, scores: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Summarise the records in a folder, and write and return the summary.

    Args:
        head: What `evaluate` returned.
        judge: Who scored the replies, if anybody did.
        scores: Files in the folder that hold the scores, by what the model was given.
    """
    scores = scores or {}

    def records(given: str) -> Iterator[Record]:
        plain = read_records(out / record_file(given))
        return _scored(plain, read_records(out / scores[given])) if given in scores else plain

    found = [given for given in BASELINES if (out / record_file(given)).is_file()]
    files = [record_file(given) for given in ("audio", *found)] + sorted(scores.values())
    summary = {
        **head, "files": {name: sha256(out / name) for name in files}, "judge": dict(judge or {}),
        "groups": summarise(records("audio"), {given: records(given) for given in found}),
    }  # fmt: skip
    write_atomic(out / SUMMARY, canonical_json(summary))
    return summary


def _scored(records: Iterable[Record], scores: Iterable[Record]) -> Iterator[Record]:
    for record, score in zip(records, scores, strict=True):
        yield {**record, "values": {**record["values"], **score["values"]}}


def read_records(path: Path) -> Iterator[Record]:
    """The records of a file, one at a time.

    Raises:
        UserError: It cannot be read; names file and line.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise UserError(f"{path}:{number}: is no record ({error}): run echat evaluate again") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): run echat evaluate") from error


def _check(families: Sequence[str], task: str, data: Data, replies: bool | None) -> None:
    unknown = [family for family in families if family not in CUES]
    if unknown or not families:
        raise UserError(f"--families {','.join(families)}: use some of {', '.join(CUES)}")
    layout = TASKS.get(task)
    heard = [name for name, value in TASKS.items() if value.history and any(isinstance(p, Audio) for p in value.user)]
    if layout is None or task not in heard:
        raise UserError(f"--task {task}: use one of {', '.join(heard)}, which answer to a voice")
    if replies and data.corpus is not None:
        raise UserError("--replies: a corpus of recordings has no replies to compare with; evaluate shards")


def _check_codebook(data: Data, model: EChat, task: str) -> None:
    pieces = TASKS[task].assistant
    if not any(isinstance(piece, Speech | Interleaved) for piece in pieces):
        return
    shards = ShardDataset(data.folder, data.split)
    size = json.loads(shards.document(0))["turns"][0]["reply"]["codebook_size"]
    if size != model.config.codebook_size:
        raise UserError(
            f"{data.folder}: its speech tokens are of a codebook of {size}, the model's of"
            f" {model.config.codebook_size}: give --no-replies, or evaluate on shards of the model's codec"
        )


def _finite(records: Iterable[Record]) -> Iterator[Record]:
    """Refuse records of a model that gives no numbers, which comparisons would take for wrong answers."""
    for record in records:
        bad = [name for name, (value, _) in record["values"].items() if not math.isfinite(value)]
        if bad:
            raise WorkFailedError(f"{record['item']}: {bad[0]} is no number: the checkpoint's training has diverged")
        yield record


def counted(records: Iterable[Record], what: str, total: int, progress: Progress) -> Iterator[Record]:
    """The same records, and progress told."""
    for done, record in enumerate(records, 1):
        yield record
        progress(what, done, total)


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records as they come; the file appears when all are there."""
    spare = temporary(path)
    with writing(path):
        try:
            with spare.open("wb") as stream:
                for record in records:
                    stream.write(canonical_json(record) + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(spare, path)
        finally:
            spare.unlink(missing_ok=True)
        fsync(path.parent)


def _named(value: Any) -> Any:
    """Paths as text, for JSON."""
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_named(item) for item in value]
    return str(value) if isinstance(value, Path) else value
