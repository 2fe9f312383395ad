"""The ablation manifest: which variants of the data are compared, how often, and on what."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator

from manifests.errors import from_pydantic
from manifests.ids import seed_of
from manifests.labels import CUES, SPLITS
from manifests.yamlfile import load_model
from model.recipe import StageRecipe, Strict, TrainManifest, load_recipe

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
_THINK = ("think", "think_tag", "think_stream")
_WITHOUT = {"off": "s2s", "tag": "think_tag", "natural": "think"}


class EvalSet(Strict):
    """Held-out speech that every model is judged on; one of shards and corpus."""

    shards: Path | None = None
    split: str = "test"
    corpus: Path | None = None
    """Folder of labelled recordings with `labels.csv`."""
    speakers: tuple[str, ...] = ()
    """Those of the corpus to judge on; all of them unless given."""
    require: tuple[str, ...] = ()
    """Families that a recording of the corpus must have a label of."""
    families: tuple[str, ...] = ("emotion", "gender")
    """Cues that the model is asked for."""
    replies: bool = False
    """Whether dialogues are answered too, by generation: slow, and what the metrics of replies need. A model that never
    learned to think answers at once."""

    @model_validator(mode="after")
    def _one(self) -> EvalSet:
        if (self.shards is None) == (self.corpus is None):
            raise ValueError("name one of shards and corpus")
        if self.split not in SPLITS:
            raise ValueError(f"{self.split!r} is not a split: use {', '.join(SPLITS)}")
        unknown = [name for name in (*self.families, *self.require) if name not in CUES]
        if unknown:
            raise ValueError(f"{unknown[0]!r}: use one or more of {', '.join(CUES)}")
        if self.corpus is not None and self.replies:
            raise ValueError("replies: recordings of a corpus have none to compare with; judge them on shards")
        if self.shards is not None and (self.speakers or self.require):
            raise ValueError("speakers and require choose recordings of a corpus; shards have a split")
        return self


class Variant(Strict):
    """What is other than in the base training; an empty one is the base itself."""

    about: str = ""
    """What it shows, for the report."""
    data: dict[str, Any] = Field(default_factory=dict)
    """Keys of the training manifest's `data` to set: `share`, `keep`, `corrupt`, `shards` ..."""
    select: dict[str, Any] | None = None
    """Keys of a run's `select` to set: the run that the base's shards are of is selected and packed anew."""
    think: Literal["off", "tag", "natural"] | None = None
    """Answer without thought, or think in tags or in sentences, wherever the base thinks."""
    stages: tuple[StageRecipe, ...] | None = None
    """In place of the base's; as many steps in all."""
    copy_number: int = Field(default=0, ge=0, alias="copy")
    """The same data under other seeds: what differs between copies is chance."""


class Trend(Strict):
    """A test whether the metric follows a level that the variants stand for."""

    levels: dict[str, float] = Field(min_length=2)
    """Level of each variant: `{clean: 0, noise20: 0.2, noise40: 0.4}`."""


class MapConfig(Strict):
    """Which training rows the model never learns to agree with: likely wrong labels (data maps)."""

    variant: str
    families: tuple[str, ...] = ("emotion",)
    checkpoints: PositiveInt = 6
    """Looks at all training rows, evenly spread over the training."""
    rows: PositiveInt = 50
    """Listed as likely wrong."""


class WorkerConfig(Strict):
    """How many trainings at once, and what each is given; each is of one process."""

    count: PositiveInt = 2
    cpus: PositiveInt = 1
    gpus: float = Field(default=0, ge=0)
    address: str = "local"
    """Ray cluster to join; `inline` trains in this process, one after the other."""


class Ablation(Strict):
    """One ablation: variants x seeds."""

    name: Name
    train: dict[str, Any]
    """A training manifest; `base: FILE` in it takes the rest from that one."""
    evaluate: dict[Name, EvalSet] = Field(min_length=1)
    variants: dict[Name, Variant] = Field(min_length=2)
    baseline: str
    """Variant that each of the others is compared with."""
    metrics: tuple[str, ...] = ("emotion.uar",)
    """What verdicts are given on, decided before anything is seen; `SET/emotion.uar` where there are several sets.
    `FAMILY.uar` (mean recall), `FAMILY.accuracy`, `FAMILY.nll`, and those of replies."""
    seeds: PositiveInt = 5
    """Trainings of each variant."""
    units: Literal["item", "speaker"] = "item"
    """What evaluation is redrawn by: `speaker` tells what other speakers would change, and needs many of them."""
    trends: dict[Name, Trend] = Field(default_factory=dict)
    map: MapConfig | None = None
    workers: WorkerConfig = WorkerConfig()
    keep_checkpoints: bool = False
    """Whether models stay on disk after they were judged."""

    @field_validator("seeds")
    @classmethod
    def _two(cls, seeds: int) -> int:
        if seeds < 2:
            raise ValueError("one training tells nothing of chance: ask for two seeds or more, five are usual")
        return seeds

    @model_validator(mode="after")
    def _names(self) -> Ablation:
        named = [self.baseline, *(name for trend in self.trends.values() for name in trend.levels)]
        named += [self.map.variant] if self.map else []
        for name in named:
            if name not in self.variants:
                raise ValueError(f"{name!r} is none of the variants: {', '.join(self.variants)}")
        for trend, levels in self.trends.items():
            if len(set(levels.levels.values())) < 2:
                raise ValueError(f"trends.{trend}: two different levels are the least")
        for metric in self.metrics:
            where, _, name = metric.rpartition("/")
            if where not in self.evaluate and (where or len(self.evaluate) > 1):
                raise ValueError(f"metrics: {metric!r}: write SET/METRIC with SET of {', '.join(self.evaluate)}")
            if "." not in name:
                raise ValueError(f"metrics: {metric!r}: is no metric; emotion.uar is one")
        return self

    def metric_place(self, metric: str) -> tuple[str, str]:
        """Evaluation set and metric of one of `metrics`."""
        where, _, name = metric.rpartition("/")
        return where or next(iter(self.evaluate)), name


def load_ablation(file: Path) -> Ablation:
    """Read an ablation manifest; paths in it are relative to it, those in a shipped one to the working directory.

    Raises:
        UserError: Names file, key path and what is allowed.
    """
    ablation = load_model(file, Ablation, "an ablation manifest")
    base = Path() if file in shipped_ablations().values() else file.parent
    sets = {
        name: value.model_copy(
            update={key: (base / path).resolve() for key in _PATHS["data"] if (path := getattr(value, key))}
        )
        for name, value in ablation.evaluate.items()
    }
    variants = {
        name: value.model_copy(update={"data": _whole(base, value.data, _PATHS["data"])})
        for name, value in ablation.variants.items()
    }
    return ablation.model_copy(
        update={"evaluate": sets, "variants": variants, "train": _base(file, base, ablation.train)}
    )


_PATHS = {"data": ("shards", "corpus"), "model": ("encoder", "checkpoint")}


def _base(file: Path, folder: Path, train: Mapping[str, Any]) -> dict[str, Any]:
    """The base training with whole paths, as JSON has it."""
    values = dict(train)
    base = values.pop("base", None)
    known: dict[str, Any] = {}
    if base is not None:
        beside = folder / str(base)
        known = load_recipe(beside if beside.is_file() else Path(str(base))).model_dump(mode="json")
    for part, keys in _PATHS.items():
        given = _whole(folder, values.get(part) or {}, keys)
        values[part] = _of_one_source(known.get(part, {}), given)
    return _checked(file, "train", {"name": "base", **known, **values}).model_dump(mode="json")


def _whole(folder: Path, values: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """With whole paths."""
    return {
        name: str((folder / value).resolve()) if name in keys and value is not None else value
        for name, value in values.items()
    }


def _of_one_source(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Keys set anew; shards in place of a corpus, or the other way round, leave one of them."""
    kept = dict(base)
    if given.get("shards") is not None:
        kept.pop("corpus", None)
    elif given.get("corpus") is not None:
        kept.pop("shards", None)
    return {**kept, **given}


def _checked(file: Path | str, where: str, values: Mapping[str, Any]) -> TrainManifest:
    try:
        return TrainManifest.model_validate(values)
    except ValidationError as error:
        raise from_pydantic(file, error, (where,)) from error


def training_of(ablation: Ablation, name: str, number: int, shards: Path | None = None) -> TrainManifest:
    """The training of one variant under one seed.

    Seeds are shared by the variants, copies excepted, so that the start and the order of the data are paired.

    Args:
        number: Of the seed, from 0.
        shards: In place of the base's, for a variant with a selection of its own.

    Raises:
        UserError: The variant makes no valid training.
    """
    variant = ablation.variants[name]
    values = dict(ablation.train)
    values["data"] = _of_one_source(values["data"], {**variant.data, **({"shards": str(shards)} if shards else {})})
    if variant.stages is not None:
        values["stages"] = [stage.model_dump(mode="json") for stage in variant.stages]
    if variant.think is not None:
        values["stages"] = [_thinking(stage, variant.think) for stage in values["stages"]]
    values["seed"] = seed_of(values.get("seed", 0), variant.copy_number, number) % 2**31
    values["name"] = "ablation"
    values["threads"] = ablation.workers.cpus
    values["workers"] = {"count": 1, "gpus": ablation.workers.gpus > 0}
    return _checked("ablation", f"variants.{name}", values)


def _thinking(stage: Mapping[str, Any], way: str) -> dict[str, Any]:
    tasks: dict[str, float] = {}
    for task, weight in stage["tasks"].items():
        if task in _THINK:
            task = "s2s_stream" if task == "think_stream" and way == "off" else _WITHOUT[way]
        tasks[task] = tasks.get(task, 0.0) + weight
    return {**stage, "tasks": tasks}


def shipped_ablations() -> dict[str, Path]:
    """The ablation manifests that ship, by name."""
    return {Path(str(path)).stem: Path(str(path)) for path in (files("manifests") / "ablations").iterdir()}
