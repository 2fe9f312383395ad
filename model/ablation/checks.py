"""A wrong design is refused before anything is trained: its verdict would be worth nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from manifests.errors import UserError
from manifests.files import sha256
from manifests.labels import CUES, NONE
from model.ablation.design import Ablation
from model.ablation.job import dataset_of, reply_task
from model.datasets import Described, corpus_name
from model.evaluate.overlap import ancestors
from model.recipe import DataRecipe, TrainManifest
from model.setup import datasets_of
from model.tasks import TASKS, Interleaved, Speech, Words


@dataclass
class _Seen:
    """What some items are of. Names mean the same within shards, and within one corpus; recordings everywhere."""

    origin: str
    recordings: set[str]
    named: set[str] = field(default_factory=set)
    """Speakers of a corpus as shards call them."""
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
        seen.named = {f"{corpus_name(corpus)}:{speaker}" for speaker in seen.speakers} if corpus else set()
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
    items = train.batch.items * train.batch.accumulate
    return steps, items, steps * items


def check(ablation: Ablation, trainings: Mapping[str, TrainManifest]) -> None:
    """Refuse what cannot give a fair verdict.

    Args:
        trainings: One of each variant.

    Raises:
        UserError: Unequal budgets; metrics that the evaluation cannot give; evaluation rows, speakers or scenarios
            among the training data, or that of a checkpoint that is started from.
    """
    of_base = budget(trainings[ablation.baseline])
    held_out = {name: dataset_of(value) for name, value in ablation.evaluate.items()}
    layouts = {name: reply_task(train) for name, train in trainings.items()}
    for metric in ablation.metrics:
        where, name = ablation.metric_place(metric)
        _measurable(ablation, where, name, held_out[where], layouts)
    seen = {name: _Seen.of(data, ablation.evaluate[name].corpus) for name, data in held_out.items()}
    known: dict[str, _Seen] = {}
    for name, train in trainings.items():
        own = budget(train)
        if own != of_base:
            raise UserError(
                f"variants.{name}: trains {own[0]} steps of {own[1]} items, {ablation.baseline} {of_base[0]} of"
                f" {of_base[1]}: give all variants one budget, or a longer training is taken for better data"
            )
        items, least = len(datasets_of(train.data, train.seed)[0]), train.batch.items or 0
        if items < least:
            raise UserError(f"variants.{name}: has {items} items to train on, and a batch takes {least}: keep more")
        for data in (train.data, *_before(train)):
            # Every seed draws another share, so all that can be drawn is looked at; a wrong label changes no speaker.
            whole = data.model_copy(update={"corrupt": {}, "share": 1.0, "seed": 0})
            source = whole.model_dump_json()
            if source not in known:
                known[source] = _Seen.of(datasets_of(whole, 0)[0], data.corpus)
            for where, held in seen.items():
                _disjoint(name, where, known[source], held)


LEAST_SPEAKERS = 5


def _of_replies(layout: str) -> list[str]:
    """The metrics of replies that a layout gives."""
    pieces = TASKS[layout].assistant
    thought = {piece.field for piece in pieces if isinstance(piece, Words)} & {"think_tag", "think_text"}
    found = ["transcript.wer", "reply.nll", "reply.addresses_cue"]
    found += ["reply.emotion"] if "think_tag" in thought else []
    found += ["think.well_formed", *(f"think.{family}" for family in CUES)] if thought else []
    return found + (["speech.nll", "speech.sane"] if any(isinstance(p, Speech | Interleaved) for p in pieces) else [])


def _measurable(ablation: Ablation, where: str, metric: str, data: Described, layouts: Mapping[str, str]) -> None:
    """Refuse a metric that the items of a set or the replies of a variant do not give, or give too few of."""
    held_out = ablation.evaluate[where]
    of_cues = [f"{family}.{kind}" for family in held_out.families for kind in ("uar", "accuracy", "nll")]
    for variant, layout in layouts.items():
        allowed = [*of_cues, *(_of_replies(layout) if held_out.replies else ())]
        if metric not in allowed:
            more = (
                f"; variants.{variant} replies as {layout}"
                if held_out.replies
                else "; those of replies need replies: true"
            )
            raise UserError(f"metrics: evaluate.{where} gives no {metric}: use one of {', '.join(allowed)}{more}")
    abouts = [data.about(item) for item in range(len(data))]
    speakers = {about.get("speaker", "") for about in abouts}
    if ablation.units == "speaker" and len(speakers) < LEAST_SPEAKERS:
        raise UserError(
            f"units: evaluate.{where} has {len(speakers)} speakers, too few to tell what others would change; take"
            f" {LEAST_SPEAKERS} or more, or units: item"
        )
    family = metric.rpartition(".")[0]
    labels = Counter(about.get(family, NONE) for about in abouts)
    if metric in of_cues and not set(labels) - {NONE}:
        raise UserError(f"metrics: {metric}: nothing in evaluate.{where} has a label of {family}; judge on what has")
    if metric.endswith(".uar"):
        rare = [f"{label} ({count})" for label, count in sorted(labels.items()) if label != NONE and count < 2]
        if rare:
            raise UserError(
                f"metrics: {metric} of evaluate.{where}: every label needs two items or more, and there are"
                f" {', '.join(rare)}; judge on more, or take {family}.nll"
            )


def _before(train: TrainManifest) -> list[DataRecipe]:
    """What the model that is started from was trained on, and the one before it, as far as their folders tell."""
    before = ancestors(train.model_dump(mode="json"), [])  # what released weights were trained on nobody here knows
    return [DataRecipe.model_validate(recipe["data"]) for recipe in before]


def _disjoint(name: str, where: str, train: _Seen, held: _Seen) -> None:
    sets = [("recordings", train.recordings, held.recordings)]
    if train.origin == held.origin:
        sets += [
            ("rows", train.ids, held.ids),
            ("speakers", train.speakers, held.speakers),
            ("scenarios", train.scenarios, held.scenarios),
        ]
    elif "shards" in (train.origin, held.origin):
        # Shards call a corpus' speaker `CORPUS:NAME`.
        ours, theirs = (side.speakers if side.origin == "shards" else side.named for side in (train, held))
        sets.append(("speakers", ours, theirs))
    else:
        sets.append(("speakers", train.named, held.named))  # two folders may be parts of one corpus
    for kind, ours, theirs in sets:
        shared = sorted(ours & theirs)
        if shared:
            listed = ", ".join(shared[:3]) + (" ..." if len(shared) > 3 else "")
            raise UserError(
                f"variants.{name}: {len(shared)} {kind} are in its training and in evaluate.{where} ({listed}): the"
                " model would be asked what it was told; hold them out of one"
            )
