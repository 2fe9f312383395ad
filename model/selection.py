"""A part of a dataset, or one with wrong labels: what an ablation trains on in place of all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from manifests.errors import UserError
from manifests.ids import seed_of
from manifests.labels import CUES, NONE
from manifests.think.natural import compose_natural
from model.datasets import Described, Lengths
from model.recipe import DataRecipe
from model.sample import Sample, Turn

_DRAWS = float(2**63)
MOST_OFTEN = 4
"""Times that an item of a rare label is shown in an epoch at most."""


def draw_of(seed: int, use: str, item: str) -> float:
    """A number in [0, 1) that follows from a seed, its use and an item's id."""
    return (seed_of(seed, use, item) % 2**63) / _DRAWS


class SelectedDataset:
    """Some items of a dataset, some of them with wrong labels. See `DataRecipe` for the fields.

    Wrong labels stand in the labels and in both think texts. The reply stays, as it does where an annotator was wrong.

    Attributes:
        wrong: The true labels of each item that has wrong ones, by family.
    """

    def __init__(self, base: Described, recipe: DataRecipe, seed: int) -> None:
        self.base = base
        kept: list[int] = []
        abouts: list[dict[str, str]] = []
        for item in range(len(base)):
            about = base.about(item)
            fits = all(about.get(name, NONE) in values for name, values in recipe.keep.items())
            if fits and draw_of(seed, "share", about["id"]) < recipe.share:
                kept.append(item)
                if recipe.corrupt:
                    abouts.append(about)
        if not kept:
            raise UserError(f"data.keep, data.share: none of {len(base)} items is left; keep more")
        self._kept = np.array(kept, np.int64)
        self.wrong: dict[int, dict[str, str]] = {}
        self._labels: dict[int, dict[str, str]] = {}
        for family, rate in recipe.corrupt.items():
            self._corrupt(family, rate, abouts, seed)

    def _corrupt(self, family: str, rate: float, abouts: Sequence[Mapping[str, str]], seed: int) -> None:
        known = [about.get(family, NONE) for about in abouts]
        values = [value for value in CUES[family] if value in known]
        if len(values) < 2:
            raise UserError(f"data.corrupt.{family}: the items have {len(values)} labels of it; two are the least")
        for item, (about, truth) in enumerate(zip(abouts, known, strict=True)):
            if truth == NONE or draw_of(seed, f"corrupt {family}", about["id"]) >= rate:
                continue
            others = [value for value in values if value != truth]
            value = others[seed_of(seed, f"wrong {family}", about["id"]) % len(others)]
            self._labels.setdefault(item, {})[family] = value
            self.wrong.setdefault(item, {})[family] = truth

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def lengths(self) -> Lengths:
        lengths = self.base.lengths
        return Lengths(lengths.frames[self._kept], lengths.chars[self._kept], lengths.tokens[self._kept])

    def about(self, item: int) -> dict[str, str]:
        """See `Described.about`; with the labels that training sees."""
        return {**self.base.about(int(self._kept[item])), **self._labels.get(item, {})}

    def load(self, item: int, audio: bool = True) -> Sample:
        """See `Dataset.load`."""
        sample = self.base.load(int(self._kept[item]), audio)
        changed = self._labels.get(item)
        if not changed:
            return sample
        return replace(sample, turns=(*sample.history, _relabelled(sample, changed)))


def _relabelled(sample: Sample, changed: Mapping[str, str]) -> Turn:
    """The current turn with other labels, in its think texts too."""
    turn = sample.current
    tag = turn.think_tag
    for family, value in changed.items():
        name = "sound" if family == "event" else family
        tag = tag.replace(f"{name}=<{turn.label(family).upper()}>", f"{name}=<{value.upper()}>")
    labels = {**turn.labels, **changed}
    text = turn.think_text
    if text and set(changed) & set(turn.cues):
        cues = {family: labels[family] for family in turn.cues}
        text = compose_natural(turn.query_text, cues, turn.reply_emotion, sample.language, seed_of("think", sample.id))
    return replace(turn, labels=labels, think_tag=tag, think_text=text)


class BalancedDataset:
    """A dataset in which the items of rarer labels stand more than once; see `DataRecipe.balance`."""

    def __init__(self, base: Described, family: str) -> None:
        self.base = base
        labels = np.array([base.about(item).get(family, NONE) for item in range(len(base))])
        names, counts = np.unique(labels[labels != NONE], return_counts=True)
        if len(names) < 2:
            raise UserError(f"data.balance: the items have {len(names)} labels of {family}; two are the least")
        shown = [np.arange(len(base))]
        for name, count in zip(names, counts, strict=True):
            own = np.flatnonzero(labels == name)
            more = min(counts.max(), MOST_OFTEN * count) - count
            shown.append(own[np.arange(more) % count])
        self._shown = np.sort(np.concatenate(shown))

    def __len__(self) -> int:
        return len(self._shown)

    @property
    def lengths(self) -> Lengths:
        lengths = self.base.lengths
        return Lengths(lengths.frames[self._shown], lengths.chars[self._shown], lengths.tokens[self._shown])

    def load(self, item: int, audio: bool = True) -> Sample:
        """See `Dataset.load`."""
        return self.base.load(int(self._shown[item]), audio)
