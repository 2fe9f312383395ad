"""Checkpoints: a folder that appears whole, with everything that a run needs to go on as if never stopped.

OUT/step-000200/model.safetensors    weights
OUT/step-000200/model.json           config, tokenizer, stage, step, where in the data
OUT/step-000200/optimizer.pt         AdamW's state and that of the random numbers; loaded with weights_only
OUT/current -> step-000200
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from manifests.errors import UserError
from manifests.files import fsync, temporary, write_atomic, writing
from manifests.ids import canonical_json
from model.loader import State

WEIGHTS, ABOUT, OPTIMIZER, CURRENT = "model.safetensors", "model.json", "optimizer.pt", "current"
FORMAT = 1


@dataclass(frozen=True)
class Progress:
    """Where a training is.

    Attributes:
        stage: Number of the stage, from 0.
        step: Steps done in it.
        total: Steps done in all.
        data: Of the stage's loader.
        skipped: Rows so far that no task of their batch could use.
    """

    stage: int = 0
    step: int = 0
    total: int = 0
    data: State = field(default_factory=State)
    skipped: int = 0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Progress:
        return cls(values["stage"], values["step"], values["total"], State(**values["data"]), values.get("skipped", 0))


class Checkpoints:
    """Writes checkpoints of a folder behind the training's back, one at a time, and removes old ones."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[None] | None = None

    def save(
        self, progress: Progress, weights: Mapping[str, Tensor], about: Mapping[str, Any], optimizer: Mapping[str, Any],
        milestone: bool = False,
    ) -> None:  # fmt: skip
        """Copy the state and write it while training goes on; `wait` tells when it is safe. A milestone is kept."""
        self.wait()
        copied = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in weights.items()}
        about = {**about, "format": FORMAT, "progress": asdict(progress), "milestone": milestone}
        self._pending = self._pool.submit(self._write, progress, copied, about, _copied(optimizer))

    def wait(self) -> None:
        """Wait for the last checkpoint; raises what went wrong with it."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def _write(
        self, progress: Progress, weights: dict[str, Tensor], about: dict[str, Any], optimizer: Mapping[str, Any]
    ) -> None:
        from safetensors.torch import save_file

        final = self.folder / step_name(progress.total)
        with writing(final):
            if not final.exists():
                spare = temporary(final)
                spare.mkdir(parents=True)
                save_file(weights, spare / WEIGHTS)
                torch.save(optimizer, spare / OPTIMIZER)
                write_atomic(spare / ABOUT, canonical_json(about))
                for path in spare.iterdir():
                    fsync(path)
                os.rename(spare, final)
                fsync(self.folder)
            link = temporary(self.folder / CURRENT)
            link.symlink_to(final.name)
            os.replace(link, self.folder / CURRENT)
        self._clean()

    def _clean(self) -> None:
        found = sorted(self.folder.glob("step-*"))
        for old in found[: -self.keep]:
            if not json.loads((old / ABOUT).read_bytes())["milestone"]:
                shutil.rmtree(old)


def _copied(value: Any) -> Any:
    """A copy of nested containers of tensors, on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(item) for item in value)
    return value


def step_name(total: int) -> str:
    """Name of the checkpoint behind so many steps."""
    return f"step-{total:06d}"


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a training's folder."""
    link = folder / CURRENT
    return link.resolve() if (link / ABOUT).is_file() else None


def read_about(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint says of itself.

    Raises:
        UserError: It is none, or of another format.
    """
    try:
        about = json.loads((checkpoint / ABOUT).read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{checkpoint}: is no checkpoint ({ABOUT} cannot be read): name a step-... folder") from error
    if about.get("format") != FORMAT:
        raise UserError(f"{checkpoint}: is of format {about.get('format')}, not {FORMAT}: train again")
    return about


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(checkpoint / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{checkpoint / WEIGHTS}: cannot be read ({error}): take another checkpoint") from error


def read_optimizer(checkpoint: Path) -> dict[str, Any]:
    """State of the optimizer and of the random numbers."""
    return torch.load(checkpoint / OPTIMIZER, map_location="cpu", weights_only=True)
