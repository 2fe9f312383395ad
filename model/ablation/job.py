"""One training of an ablation: train, judge, look at the training rows; its result appears whole or not at all.

OUT/jobs/<key>/items-<set>.jsonl    a record for each item of an evaluation set
OUT/jobs/<key>/silence-<set>.jsonl, transcript-<set>.jsonl    the same model given silence in place of each recording,
                                    without and with the words
OUT/jobs/<key>/map.jsonl            how well the training rows were agreed with, where that is asked for
OUT/jobs/<key>/result.json          written last, with the sha256 of the others
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.files import sha256, temporary, write_atomic, writing
from manifests.ids import canonical_json, content_hash
from model.ablation.design import EvalSet, MapConfig
from model.checkpoint import step_name
from model.contents import code_hash, fingerprint
from model.datasets import CorpusDataset, Described, ShardDataset
from model.evaluate.items import Given, answers_to, evaluate_items
from model.metrics import METRICS
from model.recipe import TrainManifest

_GIVEN: dict[Given, str] = {"audio": "items", "silence": "silence", "transcript": "transcript"}
RESULT, MAP, CHECKPOINTS = "result.json", "map.jsonl", "train"


@dataclass(frozen=True)
class Job:
    """A training and what its model is judged on.

    Attributes:
        key: Hash of all that the result follows from, the code of the model included.
        spec: The same as JSON.
    """

    key: str
    spec: Mapping[str, Any] = field(compare=False)

    def folder(self, out: Path) -> Path:
        return out / "jobs" / self.key


def job_of(train: TrainManifest, sets: Mapping[str, EvalSet], looks: MapConfig | None, keep: bool) -> Job:
    """The job of a training; equal trainings have equal keys, whatever variant they are of."""
    data = train.data
    source = data.shards or data.corpus
    assert source is not None, "checked by the manifest"
    fixed = {
        "code": code_hash(),
        "train": train.model_dump(mode="json", exclude={"workers", "checkpoint", "threads"}),
        "weights": _weights(train),
        "packed": train.packed,
        "gpus": train.workers.gpus,
        "data": fingerprint(source),
        "sets": {
            name: [value.model_dump(mode="json"), fingerprint(value.shards or value.corpus or source)]
            for name, value in sorted(sets.items())
        },
        "map": looks.model_dump(mode="json", exclude={"variant", "rows"}) if looks else None,
    }
    spec = {
        "train": train.model_dump(mode="json"), "map": fixed["map"], "keep": keep,
        "sets": {name: value.model_dump(mode="json") for name, value in sets.items()},
    }  # fmt: skip
    return Job(content_hash(fixed), spec)


def _weights(train: TrainManifest) -> list[list[str]]:
    """Checksums of the weights that a training starts from, where they are files here; a hub's go by their name."""
    model = train.model
    sources = [Path(value) for value in (model.checkpoint, model.encoder, model.llm, model.tokenizer) if value]
    files = [sorted(source.rglob("*")) if source.is_dir() else [source] for source in sources]
    return [[sha256(path) for path in of_one if path.is_file()] for of_one in files]


def dataset_of(held_out: EvalSet) -> Described:
    """The items of an evaluation set."""
    if held_out.shards is not None:
        return ShardDataset(held_out.shards, held_out.split)
    assert held_out.corpus is not None, "checked by the manifest"
    if held_out.speakers:
        known = {speaker for _, speaker, *_ in CorpusDataset(held_out.corpus, texts=False).rows}
        unknown = [speaker for speaker in held_out.speakers if speaker not in known]
        if unknown:
            raise UserError(
                f"evaluate.*.speakers: {held_out.corpus} has no speaker {unknown[0]!r}: use {', '.join(sorted(known))}"
            )
    return CorpusDataset(held_out.corpus, held_out.speakers or None, held_out.require)


def done(job: Job, out: Path) -> dict[str, Any] | None:
    """The result of a job, if it is there and whole."""
    folder = job.folder(out)
    try:
        result = json.loads((folder / RESULT).read_bytes())
        whole = all(sha256(folder / name) == value for name, value in result["files"].items())
    except (OSError, ValueError, KeyError):
        return None
    return result if whole else None


def run_job(job: Job, out: Path) -> dict[str, Any]:
    """Train and judge; goes on from its newest checkpoint.

    Raises:
        UserError, WorkFailedError: As the trainer's.
    """
    import torch

    from model.trainer import train_here

    known = done(job, out)
    if known is not None:
        return known
    folder, spec = job.folder(out), job.spec
    train = _saving(TrainManifest.model_validate(spec["train"]), spec["map"])
    started, busy = time.time(), time.process_time()
    device = torch.device("cuda", 0) if train.workers.gpus else torch.device("cpu")
    trainer = train_here(train, folder / CHECKPOINTS, device)
    if not trainer.finished:
        raise KeyboardInterrupt  # asked to stop: what is saved is gone on from
    trained, busy = time.time(), time.process_time() - busy
    names = []
    for name, value in spec["sets"].items():
        held_out = EvalSet.model_validate(value)
        data = dataset_of(held_out)
        task = reply_task(train)
        for given, what in _GIVEN.items():
            replies = held_out.replies and answers_to(given, task)
            names.append(f"{what}-{name}.jsonl")
            records = evaluate_items(
                trainer.model, trainer.text, data, held_out.families, replies, task=task, given=given
            )
            _write_lines(folder / names[-1], records)
    if spec["map"]:
        from model.ablation.datamap import looks_of

        names.append(MAP)
        looks = [folder / CHECKPOINTS / step_name(total) for total in looked_at(train, spec["map"]["checkpoints"])]
        _write_lines(folder / MAP, looks_of(looks, trainer.train_data, spec["map"]["families"]))
    lines = [json.loads(line) for line in (folder / CHECKPOINTS / METRICS).read_text().splitlines()]
    result = {
        "key": job.key, "seed": train.seed, "steps": sum(stage.steps for stage in train.stages),
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "train_items": len(trainer.train_data), "unused": lines[-1]["skipped"],
        "seconds": {"train": round(trained - started, 1), "judge": round(time.time() - trained, 1)},
        "cpu_seconds": {"train": round(busy, 1)},
        "curve": [[line["total"], line["loss"], line.get("validation_loss")] for line in lines],
        "files": {name: sha256(folder / name) for name in names},
    }  # fmt: skip
    write_atomic(folder / RESULT, canonical_json(result))
    if not spec["keep"]:
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return result


_ANSWERS = ("think_tag", "think", "think_stream", "s2s", "s2s_stream")


def reply_task(train: TrainManifest) -> str:
    """The layout in which a model answers: the most thoughtful one that its last stage taught it."""
    taught = train.stages[-1].tasks
    return next((task for task in _ANSWERS if taught.get(task)), "s2t")


def _saving(train: TrainManifest, looks: Mapping[str, Any] | None) -> TrainManifest:
    """With the checkpoints that a data map looks at."""
    if not looks:
        return train
    every = max(1, sum(stage.steps for stage in train.stages) // looks["checkpoints"])
    saving = train.checkpoint.model_copy(update={"every": every, "keep": 10**6})
    return train.model_copy(update={"checkpoint": saving})


def looked_at(train: TrainManifest, looks: int) -> list[int]:
    """Steps of the training behind which a data map looks at it, as evenly spread as its checkpoints allow.

    Those that were saved because somebody interrupted it are none of them: the map does not tell of interruptions.
    """
    every, before, saved = train.checkpoint.every, 0, list[int]()
    for stage in train.stages:
        saved += [before + step for step in (*range(every, stage.steps, every), stage.steps)]
        before += stage.steps
    wanted = (before * (number + 1) / looks for number in range(looks))
    return sorted({min(saved, key=lambda total, at=at: abs(total - at)) for at in wanted})


def _write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    spare = temporary(path)
    with writing(path), spare.open("wb") as lines:
        for record in records:
            lines.write(canonical_json(record) + b"\n")
    spare.replace(path)


def read_lines(path: Path) -> Iterable[dict[str, Any]]:
    """Records of a file, one at a time."""
    with path.open("rb") as lines:
        for line in lines:
            yield json.loads(line)
