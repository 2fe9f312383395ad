"""Run manifests: the YAML file that says what dataset to make, and how."""

from __future__ import annotations

import math
import os
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    field_validator,
    model_validator,
)

from manifests.labels import CUES, HEARD, LANGUAGES, SPLITS, TASKS, family_of, slots
from manifests.textconfig import TextConfig
from manifests.weights import with_weights
from manifests.workers import ExecutorConfig, Pool
from manifests.yamlfile import load_model

Ratio = Annotated[float, Field(ge=0, le=1)]
Yield = Annotated[float, Field(gt=0, le=1)]


def _number(value: float) -> float:
    if math.isnan(value):
        raise ValueError("is not a number: no value is above or below it, so it would switch the threshold off")
    return value


MAX_TURNS = 5
"""Turns that the trainers of this kind of dialogue keep at most."""
SINGLE_TURN = {1: 1.0}

Vote = Literal["all", "majority", "any"]

Limit = Annotated[float, AfterValidator(_number)]
"""A threshold; infinite is allowed and means none."""


class Strict(BaseModel):
    """Frozen, and refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def check_splits(splits: dict[str, float]) -> dict[str, float]:
    """Shares of known splits that sum to 1.

    Raises:
        ValueError: They are none.
    """
    unknown = [split for split in splits if split not in SPLITS]
    if unknown:
        raise ValueError(f"splits.{unknown[0]} is not a split: use {', '.join(SPLITS)}")
    if abs(sum(splits.values()) - 1) > 1e-9:
        raise ValueError(f"splits must sum to 1, not {sum(splits.values()):g}")
    return splits


class RealConfig(Strict):
    """Recordings of people as queries."""

    corpora: tuple[Path, ...] = Field(min_length=1)
    """Folders that `echat ingest` made, relative to the manifest (of one that ships: to the working directory)."""
    share: Ratio = 1 / 3
    """Share of the dialogues of each label whose query is a recording, where recordings with that label exist."""
    tasks: tuple[str, ...] = TASKS
    """Tasks whose dialogues may be real."""
    splits: dict[str, Ratio] | None = None
    """Shares from which the split of a speaker is drawn whose corpus does not state it; those of the plan by default.
    A run of test dialogues alone names the shares of the runs that train, so that it takes none of their speakers."""

    @field_validator("splits")
    @classmethod
    def _splits(cls, splits: dict[str, float] | None) -> dict[str, float] | None:
        return splits if splits is None else check_splits(splits)

    @field_validator("tasks")
    @classmethod
    def _tasks(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        for task in tasks:
            if task not in TASKS:
                raise ValueError(f"{task!r} is not a task: use one of {', '.join(TASKS)}")
        return tasks


class PlanConfig(Strict):
    """Which dialogues to make."""

    quotas: dict[str, int | dict[str, int]]
    """Dialogues to keep per task: a number spread evenly over the task's labels, or a number per label
    (`emotion: {sad: 10}`; labels of `multi` are joined by `+`, in the order of `multi`)."""
    yields: Yield | dict[str, Yield | dict[str, Yield]] = 1.0
    """Share of planned dialogues that is expected to be kept: one number, or one per task, or per task and label.
    Quotas are divided by it."""
    retries: int = Field(default=0, ge=0, le=100)
    """How often a top-up may try a rejected dialogue again, with another seed."""
    multi: tuple[str, ...] = ("gender", "emotion")
    """Cue families that a dialogue of the task `multi` combines."""
    contrastive: Ratio = 0.5
    """Share of dialogues planned as pairs: one query text in contrasting cues, with different replies."""
    intensity: tuple[Ratio, Ratio] = (0.7, 1.0)
    """Range from which a dialogue's emotional intensity is drawn."""
    turns: dict[Annotated[int, Field(ge=1, le=MAX_TURNS)], Ratio] = SINGLE_TURN
    """Shares of the dialogues by their number of turns, 1 to 5."""
    splits: dict[str, Ratio] = {"train": 0.8, "validation": 0.1, "test": 0.1}
    """Shares of the splits; scenarios and speakers are disjoint between them."""
    part_rows: PositiveInt = 64
    """Dialogues in a part, the unit of work and of resume; parts hold one to two times as many."""
    scenarios: Path | None = None
    """A scenario bank of your own; the shipped one of the run's language otherwise."""
    openers: Path | None = None
    """Reply openers of your own, likewise."""
    followups: Path | None = None
    """Follow-ups of your own, likewise; read where `turns` asks for dialogues of several."""
    voices: Path | None = None
    """A voice table of your own; the speaker's shipped one otherwise."""
    real: RealConfig | None = None
    """Recordings as queries; none otherwise."""

    @field_validator("quotas")
    @classmethod
    def _quotas(cls, quotas: dict[str, Any]) -> dict[str, Any]:
        if not quotas:
            raise ValueError("at least one task needs a quota")
        for task, quota in quotas.items():
            if task not in TASKS:
                raise ValueError(f"{task!r} is not a task: use one of {', '.join(TASKS)}")
            counts = quota.values() if isinstance(quota, dict) else [quota]
            if any(count < 0 for count in counts):
                raise ValueError(f"the quota of {task} is negative")
        if not any(sum(quota.values()) if isinstance(quota, dict) else quota for quota in quotas.values()):
            raise ValueError("every quota is zero: nothing to plan")
        return quotas

    @field_validator("yields")
    @classmethod
    def _yields(cls, yields: Any) -> Any:
        for task in yields if isinstance(yields, dict) else ():
            if task not in TASKS:
                raise ValueError(f"{task!r} is not a task: use one of {', '.join(TASKS)}")
        return yields

    @field_validator("multi")
    @classmethod
    def _multi(cls, families: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [family for family in families if family not in CUES]
        if unknown or len(families) < 2 or len(set(families)) < len(families):
            raise ValueError(f"name two or more different families of {', '.join(CUES)}")
        return families

    @model_validator(mode="after")
    def _shares(self) -> PlanConfig:
        check_splits(self.splits)
        if abs(sum(self.turns.values()) - 1) > 1e-9:
            raise ValueError(f"turns must sum to 1, not {sum(self.turns.values()):g}")
        if self.intensity[0] > self.intensity[1]:
            raise ValueError("intensity needs the smaller number first")
        return self

    @property
    def max_turns(self) -> int:
        """Most turns that a dialogue may have."""
        return max(turns for turns, share in self.turns.items() if share)


class SelectConfig(Strict):
    """Thresholds that a dialogue must pass; every one that it fails is a reason."""

    query_wer_max: Limit = 0.6
    """Most word errors of the query against its text. Beside the mismatch score 0.6 costs no good clip and rejects the
    noise that the score lets pass; a recognizer that gives no such score needs about 0.3."""
    reply_wer_max: Limit = 0.6
    query_mismatch_max: Limit = 0.9
    """Greatest probability that the query says something else than its text, where the recognizer tells."""
    reply_mismatch_max: Limit = 0.9
    query_seconds: tuple[Limit, Limit] = (0.2, 30.0)
    """Shortest and longest query; a speech tokenizer and an encoder take 30 s at most."""
    reply_seconds: tuple[Limit, Limit] = (0.2, 30.0)
    speech_ratio_min: Ratio = 0.3
    clipped_ratio_max: Ratio = 0.01
    snr_db_min: Limit = 10.0
    mos_min: Limit | None = None
    """Least predicted opinion score of query and reply; needs `mos` with `share: 1`."""
    agree: tuple[str, ...] = ()
    """Families whose recognised label must equal the requested one, wherever one was requested; see `vote`."""
    vote: dict[str, Vote] = {}
    """How several annotators of a family of `agree` decide: `all` must hear the requested label (the default), a
    `majority` (more than half), or `any`."""
    agree_real: bool = False
    """Whether recordings, which people labelled, must agree too."""
    confidence_min: dict[str, Ratio] = {}
    """Least probability of the recognised label, per family of `agree` or per annotator (`gender_2`); calibrated
    thresholds are never below it."""
    precision: float = Field(default=0.95, gt=0, lt=1)
    """Share of recognised labels that must agree with the requested ones, among those at or above the threshold that
    calibration chooses for the label."""
    calibration_share: Ratio = 0.2
    """Share of the first plan's dialogues, by the hash of their id, that the thresholds are chosen on."""
    calibration_min: PositiveInt = 30
    """Least number of them recognised as a label, to choose that label's threshold on."""
    thresholds: Path | None = None
    """Frozen thresholds of an earlier run (`echat calibrate thresholds`); nothing is calibrated then."""
    text: TextConfig = TextConfig()
    """What the words must be like, and which dialogues are duplicates of each other."""

    @model_validator(mode="after")
    def _sense(self) -> SelectConfig:
        for name in ("query_seconds", "reply_seconds"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} needs the smaller number first")
        for family in self.vote:
            if family not in self.agree:
                raise ValueError(f"vote.{family} has no effect: name {family} in agree too, or remove it")
        for name in self.confidence_min:
            family = family_of(name)
            if family in HEARD and family not in self.agree:
                raise ValueError(f"confidence_min.{name} has no effect: name {family} in agree too, or remove it")
        return self


class ShardConfig(Strict):
    """How kept dialogues are packed."""

    rows: PositiveInt = 1000
    """Dialogues in a shard, about; a shard is one split, one turn count and a fixed set of parts."""


class RunManifest(Strict):
    """One run: from quotas to shards. Engine sections are checked by the engine that they name."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    seed: int = 0
    language: str = "en"
    plugins: tuple[str, ...] = ()
    """Python modules to import first; they may register engines of your own."""
    plan: PlanConfig
    script: dict[str, Any] = {"engine": "bank"}
    speak_query: dict[str, Any]
    speak_reply: dict[str, Any]
    transcribe: dict[str, Any]
    annotate: dict[str, tuple[dict[str, Any], ...]] = {}
    """Annotators by family: one engine, or a list of them; a name alone is an engine with its defaults."""
    rate: dict[str, Any]
    mos: dict[str, Any] | None = None
    """Rater of predicted opinion scores; none by default, for it is slow."""
    takes_per_emotion: PositiveInt = 1
    """Takes of each emotion that a voice's reference is made of, where an annotator wants references."""
    tokenize: dict[str, Any]
    select: SelectConfig = SelectConfig()
    shard: ShardConfig = ShardConfig()
    executor: ExecutorConfig = ExecutorConfig()
    workers: tuple[Pool, ...] = (Pool(),)

    @field_validator("language")
    @classmethod
    def _language(cls, language: str) -> str:
        if language not in LANGUAGES:
            raise ValueError(f"use one of {', '.join(LANGUAGES)}")
        return language

    @field_validator("annotate", mode="before")
    @classmethod
    def _lists(cls, annotate: Any) -> Any:
        if not isinstance(annotate, dict):
            return annotate
        lists = {
            family: (engines,) if isinstance(engines, dict | str) else engines for family, engines in annotate.items()
        }
        return {
            family: [{"engine": one} if isinstance(one, str) else one for one in engines]
            if isinstance(engines, list | tuple)
            else engines
            for family, engines in lists.items()
        }

    @model_validator(mode="after")
    def _families(self) -> RunManifest:
        for family in (*self.annotate, *self.select.agree):
            if family not in HEARD:
                raise ValueError(f"annotate or select names {family!r}: use one of {', '.join(HEARD)}")
        for family, engines in self.annotate.items():
            if not engines:
                raise ValueError(f"annotate.{family} names no engine: name one or more, or remove it")
        silent = [family for family in self.select.agree if family not in self.annotate]
        if silent:
            raise ValueError(f"select.agree names {silent[0]}, which no annotator hears: add annotate.{silent[0]}")
        strange = [name for name in self.select.confidence_min if name not in self.slots]
        if strange:
            raise ValueError(
                f"select.confidence_min names {strange[0]!r}: use one of {', '.join(self.slots) or 'no family'}"
            )
        return self

    @model_validator(mode="after")
    def _sampled_mos(self) -> RunManifest:
        share = (self.mos or {}).get("share", 0)
        if self.select.mos_min is not None and share != 1:
            raise ValueError(
                "select.mos_min is a threshold on a sample, which would reject only the rows that were sampled: set"
                " mos.share: 1, or remove select.mos_min"
            )
        return self

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of all annotators, families sorted: `emotion`, `gender`, `gender_2`."""
        return tuple(slot for family in sorted(self.annotate) for slot in self.slots_of(family))

    def slots_of(self, family: str) -> tuple[str, ...]:
        """Names of a family's annotators, in their order."""
        return slots(family, len(self.annotate.get(family, ())))


def shipped_runs() -> dict[str, Path]:
    """The run manifests that ship, by name."""
    return {Path(str(path)).stem: Path(str(path)).resolve() for path in (files("manifests") / "runs").iterdir()}


def load_run(file: Path) -> RunManifest:
    """Read a run manifest, by path or by the name of one that ships (`demo`).

    Paths inside it are relative to the file. Raises `UserError` with file, key path and what is allowed.
    """
    if not file.is_file():
        file = shipped_runs().get(str(file), file)
    shipped = file.resolve() in shipped_runs().values()
    manifest = load_model(file, RunManifest, "a run manifest")
    paths: dict[str, Any] = {
        key: (file.parent / value).resolve()
        for key in ("scenarios", "openers", "followups", "voices")
        if (value := getattr(manifest.plan, key)) is not None
    }
    if (real := manifest.plan.real) is not None:
        home = home_of_data(file, shipped)
        paths["real"] = real.model_copy(update={"corpora": tuple((home / path).resolve() for path in real.corpora)})
    select = manifest.select
    if select.thresholds is not None:
        select = select.model_copy(update={"thresholds": (file.parent / select.thresholds).resolve()})
    # What an engine keeps to itself is its own business, but where a path begins is the manifest's.
    sections = {
        name: {**section, "bank": str((home_of_data(file, shipped) / section["bank"]).resolve())}
        for name in ("speak_query", "speak_reply")
        if isinstance((section := getattr(manifest, name)).get("bank"), str)
    }
    home = home_of_data(file, shipped)
    for name in ("speak_query", "speak_reply", "transcribe", "rate", "mos", "tokenize"):
        if (section := sections.get(name, getattr(manifest, name))) is not None:
            sections[name] = with_weights(section, home)
    annotate = {family: tuple(with_weights(one, home) for one in some) for family, some in manifest.annotate.items()}
    script = dict(manifest.script)
    for key in ("cache", "prompts"):
        if isinstance(script.get(key), str):
            script[key] = str((file.parent / script[key]).resolve())
    plan = manifest.plan.model_copy(update=paths)
    pools = tuple(
        pool.model_copy(update={"py_executable": os.path.abspath(file.parent / pool.py_executable)})
        if "/" in pool.py_executable  # not resolved: what makes an environment is the link
        else pool
        for pool in manifest.workers
    )
    update = {"plan": plan, "select": select, "script": script, "workers": pools, "annotate": annotate, **sections}
    return manifest.model_copy(update=update)


def home_of_data(file: Path, shipped: bool) -> Path:
    """Where paths to your data begin: beside the manifest; one that ships cannot know where your data are."""
    return Path.cwd() if shipped else file.parent


def dump_run(manifest: RunManifest) -> str:
    """The resolved manifest as YAML, every default written out."""
    return yaml.safe_dump(manifest.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
