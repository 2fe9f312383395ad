"""Batches in a seeded order that can be resumed exactly, whatever the number of workers and processes.

All batches of an epoch are planned from the lengths alone: a seeded permutation, cut into windows, sorted by length
within each, cut into batches, batches shuffled within the window. Batch number n of a run is therefore the same
everywhere; the state is that number, as (epoch, position). Processes take batches in turn, so all have equally many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from manifests.ids import seed_of
from model.adapter import num_embeddings
from model.assemble import Assembled, Assembler
from model.audio import AUGMENTATIONS, Augmentation, augment
from model.batch import Batch, collate
from model.datasets import Dataset
from model.encoder import num_states
from model.sample import Sample
from model.tasks import TASKS, WANTED


@dataclass(frozen=True)
class LoaderConfig:
    """How batches are made."""

    tasks: Mapping[str, float]
    """Weights of the tasks; each item draws its own, anew in every epoch."""
    wanted: tuple[str, ...] = WANTED
    """What the task `understand` asks for: all of it, or a part."""
    tokens: int = 4000
    """Most places in a batch, padding included."""
    items: int | None = None
    """Items in a batch, in place of `tokens`; what fills no batch at the end of an epoch is left out of it."""
    packed: bool = False
    """All sequences of a batch in one row; else a row each."""
    window: int = 512
    """Items sorted by length together."""
    augment: str = "release"
    """How recordings are changed: a key of `AUGMENTATIONS`, or `none`."""
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.tasks if name not in TASKS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not a task: use {', '.join(TASKS)}")
        if not any(self.tasks.values()) or any(weight < 0 for weight in self.tasks.values()):
            raise ValueError("tasks need weights of zero or more, and one above zero")


@dataclass(frozen=True)
class State:
    """Where a run is in its data: `position` batches of `epoch` are consumed."""

    epoch: int = 0
    position: int = 0


class Loader:
    """Plans and makes the batches of a dataset."""

    def __init__(self, dataset: Dataset, assembler: Assembler, config: LoaderConfig) -> None:
        self.dataset, self.assembler, self.config = dataset, assembler, config
        self._plan: tuple[int, list[np.ndarray]] | None = None
        self._per_char = self._ratio()

    def _ratio(self) -> float:
        """Text tokens per byte, measured on a few items."""
        chars = tokens = 0
        for item in np.linspace(0, len(self.dataset) - 1, num=min(32, len(self.dataset)), dtype=int).tolist():
            turn = self.dataset.load(item, audio=False).current
            for text in (turn.query_text, turn.reply_text, turn.think_tag, turn.think_text):
                chars += len(text.encode())
                tokens += len(self.assembler.text.encode(text))
        return tokens / chars if chars else 0.5

    def plan(self, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch, each an array of item numbers."""
        if self._plan is None or self._plan[0] != epoch:
            self._plan = (epoch, list(self._batches(epoch)))
        return self._plan[1]

    def _batches(self, epoch: int) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(seed_of(self.config.seed, "epoch", epoch))
        order = rng.permutation(len(self.dataset))
        lengths = self._lengths()
        size, fixed = self.config.window, self.config.items
        if fixed is not None:
            order = order[: len(order) // fixed * fixed]
            size = max(fixed, size // fixed * fixed)
        for start in range(0, len(order), size):
            window = order[start : start + size]
            window = window[np.argsort(lengths[window], kind="stable")]
            batches = self._filled(window, lengths) if fixed is None else list(window.reshape(-1, fixed))
            for number in rng.permutation(len(batches)).tolist():
                yield np.array(batches[number])

    def _filled(self, window: np.ndarray, lengths: np.ndarray) -> list[list[int]]:
        """Items sorted by length in batches of at most `tokens` places."""
        batches: list[list[int]] = [[]]
        for item in window.tolist():
            batch = batches[-1]
            # Sorted, so the newest is the longest.
            filled = lengths[batch].sum() if self.config.packed else len(batch) * lengths[item]
            if batch and filled + lengths[item] > self.config.tokens:
                batches.append([])
            batches[-1].append(item)
        return batches

    def _lengths(self) -> np.ndarray:
        """About how many places each item takes, at most."""
        lengths = self.dataset.lengths
        return (
            num_embeddings(num_states(lengths.frames))
            + (lengths.chars * self._per_char).astype(np.int64)
            + lengths.tokens
            + 64
        )

    def batches(self, state: State, rank: int = 0, world: int = 1, workers: int = 0) -> Iterator[tuple[Batch, State]]:
        """Batches of one process from a state on, without end, each with the state after all processes took theirs.

        Args:
            workers: Processes that load; 0 loads in this one. Changes nothing in what comes.
        """
        numbers = self._numbers(state, rank, world)
        if workers:
            source = _Source(self, state, rank, world)
            loaded: Iterator[Any] = iter(
                torch.utils.data.DataLoader(
                    source, batch_size=None, num_workers=workers, collate_fn=_same, prefetch_factor=4,
                    multiprocessing_context="spawn",
                )
            )  # fmt: skip
        else:
            loaded = (self.make(*place) for place, _ in self._numbers(state, rank, world))
        for (_, after), batch in zip(numbers, loaded, strict=False):
            yield batch, after

    def _numbers(self, state: State, rank: int, world: int) -> Iterator[tuple[tuple[int, int], State]]:
        """(epoch, number) of each batch of a process, and the state when its round is done."""
        epoch, position = state.epoch, state.position
        while True:
            mine = (epoch, position)
            for turn in range(world):
                while position >= len(self.plan(epoch)):
                    epoch, position = epoch + 1, 0
                if turn == rank:
                    mine = (epoch, position)
                position += 1
            yield mine, State(epoch, position)

    def make(self, epoch: int, number: int) -> Batch:
        """One batch of an epoch; items that no task of the mix can use are named in it.

        Raises:
            ValueError: None of the batch's items can be used.
        """
        sequences, skipped = [], []
        for item in self.plan(epoch)[number].tolist():
            try:
                sequences.append(self.sequence(epoch, item))
            except ValueError as error:
                skipped.append(str(error))
        if not sequences:
            raise ValueError(f"batch {number} of epoch {epoch} holds nothing that can be used: {skipped[0]}")
        return replace(collate(sequences, self.config.packed), skipped=tuple(skipped))

    def sequence(self, epoch: int, item: int) -> Assembled:
        """One item, with the task, masks and defaults that it draws in this epoch.

        An item that cannot be used for the task that it drew takes the next one of its draw.

        Raises:
            ValueError: It cannot be used for any task; names it and why.
        """
        rng = np.random.default_rng(seed_of(self.config.seed, "item", epoch, item))
        able = {name: weight for name, weight in sorted(self.config.tasks.items()) if weight}
        odds = np.array(list(able.values()), float)
        order = rng.choice(list(able), size=len(able), replace=False, p=odds / odds.sum())
        draw = float(rng.random())
        sample = self.dataset.load(item)
        known = tuple(name for name in self.config.wanted if sample.current.knows(name))
        wanted = some(known, rng) or self.config.wanted
        if self.config.augment != "none":
            sample = _augmented(sample, AUGMENTATIONS[self.config.augment], rng)
        problems = []
        for task in order.tolist():
            try:
                return self.assembler.assemble(sample, task, wanted, draw)
            except ValueError as error:
                problems.append(f"{task} {error}")
        raise ValueError(f"{sample.id}: {'; '.join(problems)}")


def some(wanted: tuple[str, ...], rng: np.random.Generator) -> tuple[str, ...]:
    """All of what an understanding task may want in half of the draws, else a part of it, each with even odds."""
    if len(wanted) < 2 or rng.random() < 0.5:
        return wanted
    drawn = tuple(name for name in wanted if rng.random() < 0.5)
    return drawn or (wanted[int(rng.integers(len(wanted)))],)


def _augmented(sample: Sample, how: Augmentation, rng: np.random.Generator) -> Sample:
    turns = tuple(replace(t, mel=augment(t.mel, how, rng)) if t.mel is not None else t for t in sample.turns)
    return replace(sample, turns=turns)


def _same(batch: Any) -> Any:
    return batch


class _Source(torch.utils.data.IterableDataset):
    """The batches of one process, dealt out to its loading workers in turn; DataLoader gives them back in order."""

    def __init__(self, loader: Loader, state: State, rank: int, world: int) -> None:
        self.loader, self.state, self.rank, self.world = loader, state, rank, world

    def __iter__(self) -> Iterator[Batch]:
        info = torch.utils.data.get_worker_info()
        mine, of = (info.id, info.num_workers) if info else (0, 1)
        torch.set_num_threads(1)
        for count, (place, _) in enumerate(self.loader._numbers(self.state, self.rank, self.world)):
            if count % of == mine:
                yield self.loader.make(*place)
