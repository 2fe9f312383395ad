"""Start a training: in this process, or in several under Ray Train."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from manifests.errors import UserError, WorkFailedError
from manifests.ray_start import start_ray
from model.checkpoint import Progress, latest, read_about
from model.recipe import TrainManifest
from model.trainer import Watcher, train_here


@dataclass(frozen=True)
class TrainResult:
    """How a training ended.

    Attributes:
        checkpoint: The newest one.
        finished: Whether every step was done, rather than stopped on the way.
    """

    checkpoint: Path
    progress: Progress
    finished: bool


def train(recipe: TrainManifest, out: Path, watch: Watcher = lambda metrics: None) -> TrainResult:
    """Train a manifest into a folder, from nothing or from where it was left.

    Raises:
        UserError: Wrong input; nothing is written.
        WorkFailedError: The training failed; what was saved stays.
    """
    if recipe.workers.gpus and not torch.cuda.is_available() and recipe.workers.address == "local":
        raise UserError("workers.gpus: this machine has no GPU that torch can use: set workers.gpus: false")
    if recipe.workers.count == 1:
        device = torch.device("cuda", 0) if recipe.workers.gpus else torch.device("cpu")
        train_here(recipe, out, device, watch)
    else:
        _train_on_ray(recipe, out)
    newest = latest(out)
    if newest is None:
        raise WorkFailedError(f"{out}: the training ended before its first checkpoint")
    progress = Progress.from_dict(read_about(newest)["progress"])
    last = len(recipe.stages) - 1
    finished = progress.stage == last and progress.step == recipe.stages[last].steps
    return TrainResult(newest, progress, finished)


def _train_on_ray(recipe: TrainManifest, out: Path) -> None:
    """One process a worker of `ray.train.torch.TorchTrainer`; a lost worker resumes all from the newest checkpoint."""
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    workers = recipe.workers
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    started = not ray.is_initialized()
    if started:
        start_ray(workers.address)
    try:
        result = TorchTrainer(
            _worker,
            train_loop_config={"recipe": recipe.model_dump(mode="json"), "out": str(out.resolve())},
            scaling_config=ScalingConfig(num_workers=workers.count, use_gpu=workers.gpus),
            run_config=RunConfig(
                name=recipe.name,
                storage_path=str((out / "ray").resolve()),
                failure_config=FailureConfig(max_failures=2),
            ),
        ).fit()
    finally:
        if started:
            ray.shutdown()
    if result.error is not None:
        raise WorkFailedError(" ".join(str(result.error).split())[:500])


def _worker(config: Mapping[str, Any]) -> None:
    """The loop of one Ray Train worker; Ray has set up torch.distributed."""
    import ray.train.torch

    recipe = TrainManifest.model_validate(config["recipe"])
    train_here(recipe, Path(config["out"]), ray.train.torch.get_device())
