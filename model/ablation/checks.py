"""A wrong design is refused before anything is trained: its verdict would be worth nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from manifests.errors import UserError
from manifests.files import sha256
from manifests.labels import NONE
from model.ablation.design import Ablation
from model.ablation.job import dataset_of
from model.datasets import Described
from model.recipe import TrainManifest
from model.setup import datasets_of


@dataclass
class _Seen:
    """What some items are of. Names mean the same within shards, and within one corpus; recordings everywhere."""

    origin: str
    recordings: set[str]
    ids: set[str] = field(default_factory=set)
    speakers: set[str] = field(default_factory=set)
    scenarios: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, data: Described, corpus: Path | None) -> _Seen:
        seen = cls(str(corpus or "shards"), set())
        for item in range(len(data)):
            about = data.about(item)
            seen.recordings.add(sha256(corpus / about["id"]) if corpus else about["recording"])
            seen.ids.add(about["id"])
            seen.speakers.add(about.get("speaker", ""))
            seen.scenarios.add(about.get("scenario", ""))
        for names in (seen.recordings, seen.speakers, seen.scenarios):
            names -= {"", NONE}
        return seen


def budget(train: TrainManifest) -> tuple[int, int, int]:
    """Steps, items a step and examples seen of a training.

    Raises:
        UserError: The number of items of a step is not fixed.
    """
    if train.batch.items is None:
        raise UserError(
            "train.batch.items: must be given, or variants with longer rows would see fewer examples in as many steps"
        )
    steps = sum(stage.steps for stage in train.stages)
    items = train.batch.items * train.batch.accumulate * train.workers.count
    return steps, items, steps * items


def check(ablation: Ablation, trainings: Mapping[str, TrainManifest]) -> None:
    """Refuse what cannot give a fair verdict.

    Args:
        trainings: One of each variant.

    Raises:
        UserError: Unequal budgets; evaluation rows, speakers or scenarios among the training data.
    """
    of_base = budget(trainings[ablation.baseline])
    held_out = {name: dataset_of(value) for name, value in ablation.evaluate.items()}
    for name, data in held_out.items():
        if not len(data):
            raise UserError(f"evaluate.{name}: holds no items")
    seen = {name: _Seen.of(data, ablation.evaluate[name].corpus) for name, data in held_out.items()}
    known: dict[str, _Seen] = {}
    for name, train in trainings.items():
        own = budget(train)
        if own != of_base:
            raise UserError(
                f"variants.{name}: trains {own[0]} steps of {own[1]} items, {ablation.baseline} {of_base[0]} of"
                f" {of_base[1]}: give all variants one budget, or a longer training is taken for better data"
            )
        # What a corruption changes is no row's speaker; without it copies and levels share the look.
        source = train.data.model_copy(update={"corrupt": {}}).model_dump_json()
        if source not in known:
            data, _ = datasets_of(train.data.model_copy(update={"corrupt": {}}), train.seed)
            known[source] = _Seen.of(data, train.data.corpus)
        for where, held in seen.items():
            _disjoint(name, where, known[source], held)


def _disjoint(name: str, where: str, train: _Seen, held: _Seen) -> None:
    sets = [("recordings", train.recordings, held.recordings)]
    if train.origin == held.origin:
        sets += [
            ("rows", train.ids, held.ids),
            ("speakers", train.speakers, held.speakers),
            ("scenarios", train.scenarios, held.scenarios),
        ]
    for kind, ours, theirs in sets:
        shared = sorted(ours & theirs)
        if shared:
            listed = ", ".join(shared[:3]) + (" ..." if len(shared) > 3 else "")
            raise UserError(
                f"variants.{name}: {len(shared)} {kind} are in its training and in evaluate.{where} ({listed}): the"
                " model would be asked what it was told; hold them out of one"
            )
