"""Training manifests: the YAML file that says what to train on what, stage by stage."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

from manifests.labels import CUES, SPLITS
from manifests.yamlfile import load_model
from model.echat import PARTS
from model.tasks import TASKS, WANTED

Weight = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


KEEP = ("source", "task", "language", "speaker", *CUES)
"""What `data.keep` may name."""


class Strict(BaseModel):
    """Frozen, and refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataRecipe(Strict):
    """What is read: shards, or a folder of labelled recordings for understanding alone."""

    shards: Path | None = None
    """Folder of shards; `runs/demo/shards/current`."""
    split: str = "train"
    validation: str = "validation"
    """Split that the loss is measured on between steps."""
    corpus: Path | None = None
    """Folder with `labels.csv`, in place of shards."""
    hold_out: tuple[str, ...] = ()
    """Speakers of the corpus that validation is made of, and training is not."""
    require: tuple[str, ...] = ()
    """Families that a recording of the corpus must have a label of."""
    texts: bool = True
    """Whether the corpus' texts may be asked for."""
    keep: dict[str, tuple[str, ...]] = {}
    """Train on what has one of these alone: `{source: [real], task: [emotion, multi]}`. Keys: source, task, language,
    speaker, age, gender, emotion, event."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Train on this share of what is kept, drawn by the seed and the ids; a smaller share is part of a larger one."""
    balance: str | None = None
    """Family whose rarer labels are shown more often, up to four times as often, in each epoch: what is learned of a
    label then depends less on how many there are."""
    corrupt: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    """Label families of which this share of the training items gets a wrong label, drawn likewise; for measuring what
    wrong labels cost."""
    seed: int | None = None
    """Draws `share` and `corrupt`; the training's seed unless given."""

    @model_validator(mode="after")
    def _one(self) -> DataRecipe:
        if (self.shards is None) == (self.corpus is None):
            raise ValueError("name one of shards and corpus")
        for split in (self.split, self.validation):
            if split not in SPLITS:
                raise ValueError(f"{split!r} is not a split: use {', '.join(SPLITS)}")
        for given, known in ((self.keep, KEEP), (self.corrupt, CUES), ([self.balance] if self.balance else [], CUES)):
            unknown = [name for name in given if name not in known]
            if unknown:
                raise ValueError(f"{unknown[0]!r}: use one or more of {', '.join(known)}")
        return self


class ModelRecipe(Strict):
    """Where the model starts from."""

    preset: str = "nano"
    """`nano`, `0.5b` or `3b`."""
    codebook_size: PositiveInt | None = None
    """Distinct speech tokens; the preset's unless given. Shards say theirs, and another is refused."""
    encoder: Path | None = None
    """Folder of a Whisper model in transformers' format; random weights without."""
    llm: str | None = None
    """Folder or hub id of a language model; random weights without."""
    tokenizer: str | None = None
    """Folder or hub id; that of `llm` if there is one, else the one that ships."""
    checkpoint: Path | None = None
    """A checkpoint of this trainer, or a released one of OSUM-EChat, to start from."""
    lora: dict[str, int | float | str | list[str]] = {}
    """Options of `peft.LoraConfig`; empty to train the whole language model."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Of encoder and adapter; the preset's unless given."""


class StageRecipe(Strict):
    """One stage of training."""

    name: str
    steps: PositiveInt
    tasks: dict[str, Weight]
    """Weights of the tasks; a later stage replays earlier ones by naming them too."""
    trainable: tuple[str, ...] = PARTS
    """Parts that learn: encoder, adapter, llm, speech. All others stay as they are, to the bit."""
    wanted: tuple[str, ...] = WANTED
    """What the task `understand` asks for."""
    lr: Positive = 1e-3
    """Peak learning rate."""
    warmup: PositiveInt = 50
    schedule: Literal["inverse_sqrt", "cosine", "constant"] = "cosine"
    """After the warm-up; the paper's is inverse_sqrt."""
    augment: Literal["none", "light", "release", "transfer", "speaker"] = "release"
    """How far recordings are changed while training, see `model/audio.py`: `release` hides much of them, as the
    OSUM-EChat release does; `light` hides little and bends time and resonances, for little speech."""

    @field_validator("tasks")
    @classmethod
    def _tasks(cls, tasks: dict[str, float]) -> dict[str, float]:
        unknown = [name for name in tasks if name not in TASKS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not a task: use {', '.join(TASKS)}")
        if not sum(tasks.values()):
            raise ValueError("give at least one task a weight above zero")
        return tasks

    @model_validator(mode="after")
    def _names(self) -> StageRecipe:
        for given, known in ((self.trainable, PARTS), (self.wanted, WANTED)):
            unknown = [name for name in given if name not in known]
            if unknown or not given:
                raise ValueError(f"{unknown[0] if unknown else 'nothing'!r}: use one or more of {', '.join(known)}")
        return self


class BatchRecipe(Strict):
    """How many places a step sees."""

    tokens: PositiveInt = 4000
    """Most places in a batch of one process, padding included."""
    items: PositiveInt | None = None
    """Items in a batch of one process, in place of `tokens`: every step then sees as many examples, whatever the data.
    The rest of an epoch that fills no batch is left for the next one."""
    packed: bool | None = None
    """Sequences of a batch behind each other in one row; unless given, on GPUs alone."""
    accumulate: PositiveInt = 1
    """Batches of each process in a step."""
    window: PositiveInt = 512
    """Items sorted by length together."""
    workers: int = Field(default=0, ge=0)
    """Loading processes of each training process."""


class OptimizerRecipe(Strict):
    """AdamW; the defaults are the paper's but for the learning rate, which is the stage's."""

    betas: tuple[float, float] = (0.9, 0.99)
    eps: Positive = 1e-6
    weight_decay: float = Field(default=0.01, ge=0)
    clip: Positive = 5.0
    """Greatest norm of the gradient."""


class CheckpointRecipe(Strict):
    """When the state is saved."""

    every: PositiveInt = 200
    """Steps; the end of a stage and SIGTERM save too."""
    keep: PositiveInt = 2
    """Newest checkpoints kept; each stage's last one is kept besides."""


class WorkersRecipe(Strict):
    """Processes that train, under Ray Train when there are more than one."""

    count: PositiveInt = 1
    gpus: bool = False
    """A GPU for each."""
    kind: Literal["ddp", "fsdp"] = "ddp"
    """Whole copies of the model, or shares of it (FSDP2)."""
    address: str = "local"
    """Ray cluster to join."""


class TrainManifest(Strict):
    """One training: from data to checkpoints."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    seed: int = 0
    data: DataRecipe
    model: ModelRecipe = ModelRecipe()
    stages: tuple[StageRecipe, ...] = Field(min_length=1)
    batch: BatchRecipe = BatchRecipe()
    optimizer: OptimizerRecipe = OptimizerRecipe()
    checkpoint: CheckpointRecipe = CheckpointRecipe()
    workers: WorkersRecipe = WorkersRecipe()
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the forward and backward pass; weights and optimizer stay fp32."""
    checkpointing: bool = False
    """Keep no activations for the backward pass but compute them again: large models fit, a third slower."""
    compile: bool = False
    """torch.compile of the language model."""
    threads: PositiveInt | None = None
    """CPU threads of each process; torch's own choice unless given."""
    validate_every: PositiveInt = 100
    """Steps between two looks at the validation data."""
    validate_batches: PositiveInt = 8

    @model_validator(mode="after")
    def _stage_names(self) -> TrainManifest:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError("two stages have the same name; give each its own")
        return self

    @property
    def packed(self) -> bool:
        """Whether batches are packed."""
        return self.workers.gpus if self.batch.packed is None else self.batch.packed


def shipped_recipes() -> dict[str, Path]:
    """The training manifests that ship, by name."""
    return {Path(str(path)).stem: Path(str(path)) for path in (files("manifests") / "training").iterdir()}


def load_recipe(file: Path) -> TrainManifest:
    """Read a training manifest, by path or by the name of one that ships (`train_nano`).

    Paths in a user's file are relative to it, those in a shipped one to the working directory.

    Raises:
        UserError: Names file, key path and what is allowed.
    """
    shipped = shipped_recipes()
    base = file.parent
    if not file.is_file() and str(file) in shipped:
        file, base = shipped[str(file)], Path()
    recipe = load_model(file, TrainManifest, "a training manifest")
    data = {k: (base / v).resolve() for k in ("shards", "corpus") if (v := getattr(recipe.data, k)) is not None}
    model = {k: (base / v).resolve() for k in ("encoder", "checkpoint") if (v := getattr(recipe.model, k)) is not None}
    return recipe.model_copy(
        update={"data": recipe.data.model_copy(update=data), "model": recipe.model.model_copy(update=model)}
    )
