"""The training loop: one for one process, for many under DDP, and for shares of a model under FSDP2."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from manifests.errors import UserError, WorkFailedError
from manifests.files import write_atomic
from manifests.ids import canonical_json, seed_of
from model.batch import Batch
from model.checkpoint import Checkpoints, Progress, latest, read_about, read_optimizer, read_weights
from model.echat import EChat
from model.loader import Loader, LoaderConfig, State
from model.metrics import MetricsLog
from model.optimize import Cost, clip, optimizer_of, peak_flops, random_state, rate, set_random_state
from model.parallel import full_optimizer_state, full_weights, load_full_optimizer, load_full_weights, wrapped
from model.recipe import StageRecipe, TrainManifest
from model.selection import BalancedDataset
from model.setup import assembler_of, check_codebook, datasets_of, model_of, tokenizer_of


class Watcher(Protocol):
    """Is told the metrics of every step."""

    def __call__(self, metrics: Mapping[str, Any]) -> None: ...


@dataclass
class _Window:
    """Sums since the last line of metrics."""

    loss: float = 0.0
    targets: int = 0
    places: int = 0
    padding: float = 0.0
    flops: float = 0.0
    batches: int = 0
    steps: int = 0
    waited: float = 0.0
    started: float = field(default_factory=time.perf_counter)


class Trainer:
    """Trains one manifest in one process of `world`, from nothing or from the newest checkpoint of its folder."""

    def __init__(
        self, recipe: TrainManifest, out: Path, device: torch.device, watch: Watcher = lambda metrics: None
    ) -> None:
        self.recipe, self.out, self.device, self.watch = recipe, out, device, watch
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        self.stopping = False
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        self.text = tokenizer_of(recipe.model)
        model = model_of(recipe.model, self.text, recipe.seed)
        check_codebook(recipe.data, model)
        self.train_data, self.validation_data = datasets_of(recipe.data, recipe.seed)
        balance = recipe.data.balance
        self.shown_data = BalancedDataset(self.train_data, balance) if balance else self.train_data
        if (recipe.batch.items or 0) > len(self.train_data):
            raise UserError(f"batch.items: {recipe.batch.items} are more than the {len(self.train_data)} to train on")
        self.assembler = assembler_of(model, self.text)
        self.model: EChat = model.to(device)
        if recipe.checkpointing:
            model.set_checkpointing()
        self.checkpoints = Checkpoints(out, recipe.checkpoint.keep)
        self.log = MetricsLog(out) if self.rank == 0 else None
        self.progress = Progress()
        self._optimizer_state: dict[str, Any] | None = None
        self._resume()

    def _resume(self) -> None:
        newest = latest(self.out)
        if newest is None:
            return
        about = read_about(newest)
        if about["recipe"] != _identity(self.recipe):
            raise WorkFailedError(f"{self.out}: holds another training (its manifest differs); name a new --out")
        load_full_weights(self.model, read_weights(newest))
        self.progress = Progress.from_dict(about["progress"])
        self._optimizer_state = read_optimizer(newest)

    def run(self) -> Progress:
        """Train what is left; returns early, saved, when asked to stop (`stop`)."""
        for number in range(self.progress.stage, len(self.recipe.stages)):
            if number > self.progress.stage:
                self.progress = Progress(number, 0, self.progress.total, skipped=self.progress.skipped)
            if not self._stage(number):
                break
        self.checkpoints.wait()
        if self.log is not None:
            self.log.close()
        return self.progress

    @property
    def finished(self) -> bool:
        """Whether every step of every stage is done."""
        last = len(self.recipe.stages) - 1
        return self.progress.stage == last and self.progress.step == self.recipe.stages[last].steps

    def stop(self, *_: Any) -> None:
        """Ask the loop to save and return after the step in hand; fit to be a signal handler."""
        self.stopping = True

    def loader(self, stage: StageRecipe, validation: bool = False) -> Loader:
        """Batches of a stage."""
        batch = self.recipe.batch
        config = LoaderConfig(
            stage.tasks, stage.wanted, batch.tokens, None if validation else batch.items, self.recipe.packed,
            batch.window, "none" if validation else stage.augment, seed_of(self.recipe.seed, stage.name),
        )  # fmt: skip
        data = self.validation_data if validation else self.shown_data
        assert data is not None, "asked only where there is validation data"
        return Loader(data, self.assembler, config)

    def _stage(self, number: int) -> bool:
        """Train one stage from where it is; False when stopped before its end."""
        stage, start = self.recipe.stages[number], self.progress.step
        if start >= stage.steps:
            return True
        self.model.set_trainable(stage.trainable)
        self.cost = Cost.of(self.model)
        if start == 0:
            torch.manual_seed(seed_of(self.recipe.seed, stage.name, self.rank))
        model = wrapped(self.model, self.recipe.workers.kind, self.device, self.recipe.compile)
        optimizer = optimizer_of(model, self.recipe.optimizer, stage.lr)
        if self._optimizer_state is not None:
            if start:
                load_full_optimizer(model, optimizer, self._optimizer_state["optimizer"])
                set_random_state(self._optimizer_state["random"][self.rank % len(self._optimizer_state["random"])],
                                 self.device)  # fmt: skip
            self._optimizer_state = None
        batches = self.loader(stage).batches(self.progress.data, self.rank, self.world, self.recipe.batch.workers)
        window, state = _Window(), self.progress.data
        for step in range(start, stage.steps):
            group, state = self._take(batches, window)
            loss, targets, norm = self._step(model, optimizer, stage, step, group)
            self._count(window, group, loss, targets)
            skipped = self.progress.skipped + sum(len(batch.skipped) for batch in group)
            self.progress = Progress(number, step + 1, self.progress.total + 1, state, skipped)
            last = step + 1 == stage.steps
            if last or (step + 1) % self.recipe.validate_every == 0:
                self._report(window, stage, rate(stage, step), norm, self._validate(stage))
                window = _Window()
            elif (step + 1) % 10 == 0:
                self._report(window, stage, rate(stage, step), norm, None)
                window = _Window()
            stopping = self._any_stopping()
            if last or stopping or (step + 1) % self.recipe.checkpoint.every == 0:
                self._save(model, optimizer, last)
            if stopping and not last:
                return False
        return not self._any_stopping() or number == len(self.recipe.stages) - 1

    def _take(self, batches: Iterator[tuple[Batch, State]], window: _Window) -> tuple[list[Batch], State]:
        """The batches of one step, on the device."""
        started = time.perf_counter()
        group, state = [], State()
        for _ in range(self.recipe.batch.accumulate):
            batch, state = next(batches)
            group.append(batch)
        window.waited += time.perf_counter() - started
        if peak_flops(self.device):
            window.flops += sum(map(self.cost, group))
        return [batch.to(self.device) for batch in group], state

    def _step(
        self, model: Any, optimizer: torch.optim.Optimizer, stage: StageRecipe, step: int, group: list[Batch]
    ) -> tuple[float, int, float]:
        """One update; mean loss over all processes' targets, their number, and the gradient's norm."""
        targets = self._sum(torch.tensor(float(sum(len(batch.targets_N) for batch in group)), device=self.device))
        model.train()
        optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for number, batch in enumerate(group):
            last = number == len(group) - 1
            quiet = nullcontext() if last or not hasattr(model, "no_sync") else model.no_sync()
            with quiet:
                with self._precision():
                    loss, _ = model(batch)
                # Processes' gradients are averaged, so each brings its share of the mean times their number.
                (loss * (self.world / targets)).backward()
            total += loss.detach()
        mean = float(self._sum(total)) / float(targets)
        if not math.isfinite(mean):
            self._stop_at_nan(stage, step, group)
        for settings in optimizer.param_groups:
            settings["lr"] = rate(stage, step)
        norm = clip((p for p in model.parameters() if p.grad is not None), self.recipe.optimizer.clip)
        optimizer.step()
        return mean, int(targets), norm

    def _precision(self) -> Any:
        if self.recipe.precision == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def _sum(self, value: Tensor) -> Tensor:
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def _any_stopping(self) -> bool:
        if self.world == 1:
            return self.stopping
        return bool(self._sum(torch.tensor(float(self.stopping), device=self.device)))

    def _stop_at_nan(self, stage: StageRecipe, step: int, group: list[Batch]) -> None:
        where = {"stage": stage.name, "step": step, "data": asdict(self.progress.data), "rank": self.rank,
                 "places": [list(batch.ids_BL.shape) for batch in group]}  # fmt: skip
        write_atomic(self.out / f"nan-rank{self.rank}.json", canonical_json(where))
        self.checkpoints.wait()
        raise WorkFailedError(
            f"the loss of stage {stage.name}, step {step} is no number: batch {self.progress.data.position} of epoch"
            f" {self.progress.data.epoch} (see {self.out / f'nan-rank{self.rank}.json'}); lower lr, or look at its rows"
        )

    def _count(self, window: _Window, group: list[Batch], loss: float, targets: int) -> None:
        window.steps += 1
        window.loss += loss * targets
        window.targets += targets
        for batch in group:
            window.places += batch.ids_BL.numel()
            window.padding += batch.padding
            window.batches += 1

    def _report(self, window: _Window, stage: StageRecipe, lr: float, norm: float, validation: float | None) -> None:
        seconds = time.perf_counter() - window.started
        rate_ = window.places * self.world / seconds
        metrics: dict[str, Any] = {
            "stage": stage.name, "step": self.progress.step, "steps": stage.steps, "total": self.progress.total,
            "epoch": self.progress.data.epoch, "loss": window.loss / window.targets, "lr": lr, "gradient": norm,
            "tokens_per_s": rate_, "padding": window.padding / window.batches,
            "loader_wait": window.waited / seconds,
            "left_s": (stage.steps - self.progress.step) * seconds / max(1, window.steps),
            "skipped": self.progress.skipped,
            "time": time.time(),
        }  # fmt: skip
        peak = peak_flops(self.device)
        if peak:
            metrics["mfu"] = window.flops / seconds / peak
            metrics["gpu_gb"] = torch.cuda.max_memory_allocated(self.device) / 1e9
        if validation is not None:
            metrics["validation_loss"] = validation
        if self.rank == 0:
            assert self.log is not None, "the first process writes the metrics"
            self.log(metrics)
            self.watch(metrics)

    @torch.no_grad()
    def _validate(self, stage: StageRecipe) -> float | None:
        """Mean loss over the first batches of the validation data; the same ones each time."""
        if self.validation_data is None:
            return None
        self.model.eval()
        loader = self.loader(stage, validation=True)
        total, targets = 0.0, 0
        for number in range(min(self.recipe.validate_batches, len(loader.plan(0)))):
            with self._precision():
                loss, count = self.model(loader.make(0, number).to(self.device))
            total, targets = total + float(loss), targets + int(count)
        return total / targets

    def _save(self, model: Any, optimizer: torch.optim.Optimizer, milestone: bool) -> None:
        weights = full_weights(model)
        state = full_optimizer_state(model, optimizer)
        mine = random_state(self.device)
        random: list[Any] = [mine]
        if self.world > 1:
            random = [None] * self.world
            dist.all_gather_object(random, mine)
        if self.rank == 0:
            about = {
                "recipe": _identity(self.recipe), "config": self.model.config.to_dict(),
                "tokenizer": self.recipe.model.tokenizer or self.recipe.model.llm,
            }  # fmt: skip
            self.checkpoints.save(self.progress, weights, about, {"optimizer": state, "random": random}, milestone)


def _identity(recipe: TrainManifest) -> dict[str, Any]:
    """What may not change between the parts of one training; workers, saving and reporting may."""
    free = {
        "workers",
        "checkpoint",
        "validate_every",
        "validate_batches",
        "compile",
        "checkpointing",
        "threads",
        "batch",
    }
    fixed = recipe.model_dump(mode="json", exclude=free | {"batch"})
    return {**fixed, "batch": recipe.batch.model_dump(include={"tokens", "items", "window"}), "packed": recipe.packed}


def train_here(
    recipe: TrainManifest, out: Path, device: torch.device, watch: Watcher = lambda metrics: None
) -> Trainer:
    """Train in this process, one of however many; SIGTERM and SIGINT save and end it."""
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, out, device, watch)
    before = {}
    try:
        for name in (signal.SIGTERM, signal.SIGINT):
            before[name] = signal.signal(name, trainer.stop)
    except ValueError:
        pass  # not the main thread: whoever runs us must stop us otherwise
    try:
        trainer.run()
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
    return trainer
