"""`executor` and `workers`: where and on what a run's cells are made. Nothing here changes a result."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, PositiveInt, field_validator


class Pool(BaseModel, frozen=True, extra="forbid"):
    """A pool of workers that runs one or more stages."""

    name: str = "main"
    stages: tuple[str, ...] = ()
    """Stages that it runs; empty: every stage that no other pool names."""
    count: PositiveInt = 2
    cpus: float = Field(default=1.0, ge=0)
    gpus: float = Field(default=0.0, ge=0)
    """Of one worker: a share of one GPU, or whole ones, as Ray gives them."""
    hourly: float = Field(default=0.0, ge=0)
    """Price of one of its workers for an hour, in any currency, for `echat plan`."""
    py_executable: str = ""
    """Python that runs its workers, where its engines need another environment; of the same version, with this package
    and the same Ray. Empty: the one that runs `build`."""
    revisions: dict[str, tuple[str, ...]] = {}
    """What the engines of each stage name themselves in that Python. `build` asks, and writes it into the run."""

    @field_validator("gpus")
    @classmethod
    def _one_or_whole(cls, gpus: float) -> float:
        if gpus > 1 and not gpus.is_integer():
            raise ValueError(f"{gpus:g} is neither a share of one GPU nor whole ones: no worker gets parts of two")
        return gpus


class ExecutorConfig(BaseModel, frozen=True, extra="forbid"):
    """Where cells run. Nothing here changes a result, so nothing here is in a cell's key."""

    kind: Literal["inline", "ray"] = "ray"
    address: str = "local"
    """Ray cluster to join; `local` starts one on this machine for the run."""
    deadline_s: PositiveInt = Field(default=1800, le=7 * 24 * 3600)
    """A cell that takes longer is killed, its stacks are kept, and it is tried again."""
    beam: tuple[str, ...] = ()
    """Options for Beam, which runs `plan` and `select`; its in-process runner unless they name another."""
    ahead: PositiveInt = 16
    """Parts by which a stage may run ahead of the slowest stage that reads it."""
