"""Differences between variants, with what chance alone can do to them: seeds and evaluation items, both paired.

Every metric is a weighted mean over items, averaged over strata (the true labels, for the mean recall). It is linear in
the items' values, so any contrast of variants, a difference or a trend, is the same metric of the contrast of values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np

ALPHA, POWER = 0.05, 0.8
REPLICATES = 2000
_CHUNK = 200  # replicates in memory at once


@dataclass(frozen=True)
class Items:
    """How the evaluation items make a metric.

    Attributes:
        weights: float (items,), as the number of words for a WER.
        strata: int (items,), groups whose means are averaged; all 0 for a plain mean.
        units: int (items,), what is drawn together when items are drawn anew: each item for itself, or those of a
            speaker.
    """

    weights: np.ndarray
    strata: np.ndarray
    units: np.ndarray

    def metric(self, values: np.ndarray) -> np.ndarray:
        """The metric of values (..., items), as (...)."""
        return self._weighted(values, np.ones(len(self.weights)))

    def _weighted(self, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """The metric with each item taken so many times; both (..., items)."""
        means = []
        with np.errstate(invalid="ignore", divide="ignore"):
            for stratum in np.unique(self.strata):
                inside = self.strata == stratum
                weights = counts[..., inside] * self.weights[inside]
                means.append((weights * values[..., inside]).sum(-1) / weights.sum(-1))
        return np.nanmean(np.stack(means), axis=0)

    def redrawn(self, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The metric of values (items,) with the units drawn anew with replacement, (REPLICATES,).

        One less is drawn than there are, which makes the variance unbiased for few (Rao and Wu 1988). Items that are
        units of their own are drawn within their stratum, so that no label is ever missing.
        """
        alone = len(np.unique(self.units)) == len(self.units)
        groups = [np.flatnonzero(self.strata == s) for s in np.unique(self.strata)] if alone else None
        found = []
        for start in range(0, REPLICATES, _CHUNK):
            size = min(_CHUNK, REPLICATES - start)
            if groups is None:
                unique, inverse = np.unique(self.units, return_inverse=True)
                counts = _drawn(rng, len(unique), size)[:, inverse]
            else:
                counts = np.zeros((size, len(self.units)))
                for places in groups:
                    counts[:, places] = _drawn(rng, len(places), size)
            found.append(self._weighted(values[None, :], counts))
        return np.concatenate(found)


def _drawn(rng: np.random.Generator, number: int, size: int) -> np.ndarray:
    """How often each of `number` is drawn when one less is drawn, (size, number); one alone is always there."""
    return rng.multinomial(max(1, number - 1), np.full(number, 1.0 / number), size=size).astype(float)


@dataclass(frozen=True)
class Estimate:
    """A metric, a difference or a slope, and how sure it is.

    Attributes:
        value: Mean over the seeds.
        error: Standard error.
        degrees: Of freedom, of Student's t.
        seed_variance: What one seed more or less changes: variance of `value`, were there one seed.
        item_variance: The same of the items that are there.
        seeds: Trainings of each variant.
    """

    value: float
    error: float
    degrees: float
    seed_variance: float
    item_variance: float
    seeds: int

    def interval(self, alpha: float = ALPHA) -> tuple[float, float]:
        """Where the truth lies in all but a share `alpha` of such experiments."""
        half = _t(1 - alpha / 2, self.degrees) * self.error
        return self.value - half, self.value + half

    @property
    def p(self) -> float:
        """Two-sided p of no effect."""
        from scipy.stats import t

        if not self.error:
            return 1.0 if self.value == 0 else 0.0
        return float(2 * t.sf(abs(self.value) / self.error, self.degrees))

    def detectable(self, alpha: float = ALPHA) -> float:
        """The least true effect that such an experiment finds with a power of 80 %."""
        return _noticed(self.degrees, alpha) * self.error

    def seeds_for(self, effect: float, alpha: float = ALPHA) -> int | None:
        """Seeds that would find an effect on these items with a power of 80 %; None where 1,000 do not."""
        if math.sqrt(self.item_variance) * _noticed(_MOST_SEEDS, alpha) > abs(effect):
            return None

        def found(seeds: int) -> bool:
            error = math.sqrt(self.seed_variance / seeds + self.item_variance)
            return _noticed(seeds - 1, alpha) * error <= abs(effect)

        return next(filter(found, range(self.seeds, _MOST_SEEDS + 1)), None)

    def scale_for(self, effect: float, alpha: float = ALPHA) -> float:
        """How many times the seeds and the items, both, would find an effect with a power of 80 %; at least 1."""
        if not effect:
            return math.inf
        scale = 1.0
        while _noticed(scale * self.seeds - 1, alpha) * self.error > abs(effect) * math.sqrt(scale):
            scale *= 1.05
        return scale


_MOST_SEEDS = 1000


def _t(share: float, degrees: float) -> float:
    from scipy.stats import t

    return float(t.ppf(share, degrees))


@lru_cache(maxsize=4096)
def _noticed(degrees: float, alpha: float) -> float:
    """The true effect, in standard errors, that Student's two-sided test calls found with a power of 80 %.

    The error is estimated, so the test's statistic is noncentral: with two degrees of freedom the sum of two quantiles
    of t, which is often used, finds its effect in 70 to 75 of 100 experiments.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct

    bound = _t(1 - alpha / 2, degrees)

    def lacking(effect: float) -> float:
        return float(nct.sf(bound, degrees, effect)) - POWER  # the other side's share is below any rounding

    high = bound
    while lacking(high) < 0:
        high *= 2
    return cast(float, brentq(lacking, 0, high, xtol=1e-4))


def estimate(values: np.ndarray, items: Items, seed: int) -> Estimate:
    """The metric of values (seeds, items), with its error over seeds and items.

    Seeds and items cross: each seed was judged on all items. The variance of the mean is that over seeds, plus that
    over items, less their interaction, which both hold. The first is taken of the seeds' metrics, with the divisor that
    makes it unbiased for a handful of seeds; the second of the metric of the items drawn anew (paired bootstrap). The
    interval is Student's with as many degrees of freedom as there are seeds less one, whatever the items add: with five
    seeds a plain percentile interval is far too narrow, and Welch and Satterthwaite's formula trusts a variance over
    seeds that is small by luck.

    Raises:
        ValueError: Fewer than two seeds.
    """
    seeds = len(values)
    if seeds < 2:
        raise ValueError("two seeds are the least of which an error can be told")
    rng = np.random.default_rng(seed)
    of_seeds = items.metric(values)
    seed_part = float(np.var(of_seeds, ddof=1)) / seeds
    item_part = float(np.var(items.redrawn(values.mean(0), rng), ddof=1))
    # Of what the items' variance holds, the share that more seeds would average away.
    both = min(_interaction(values, items), item_part)
    own = item_part - both
    variance = max(seed_part + own, item_part)
    return Estimate(float(of_seeds.mean()), math.sqrt(variance), seeds - 1, seed_part * seeds, own, seeds)


def _interaction(values: np.ndarray, items: Items) -> float:
    """Variance of the mean from items that fall otherwise with every seed."""
    seeds = len(values)
    _, unit_I = np.unique(items.units, return_inverse=True)
    _, stratum_I = np.unique(items.strata, return_inverse=True)
    totals_K = np.bincount(stratum_I, items.weights)
    shares_I = items.weights / totals_K[stratum_I] / len(totals_K)
    off_SI = values - values.mean(0)
    off_SI = (off_SI - (off_SI * shares_I).sum(1, keepdims=True)) * shares_I
    off_SU = np.stack([np.bincount(unit_I, row) for row in off_SI])
    return float((off_SU**2).sum() / (seeds - 1) / seeds)


def contrast(values: Mapping[str, np.ndarray], shares: Mapping[str, float]) -> np.ndarray:
    """A weighted sum of variants' values, (seeds, items)."""
    return sum((share * values[name] for name, share in shares.items()), np.zeros(1))


def slope(levels: Mapping[str, float]) -> dict[str, float]:
    """Shares of variants at several levels whose sum is the metric's change for one unit of the level."""
    mean = sum(levels.values()) / len(levels)
    spread = sum((level - mean) ** 2 for level in levels.values())
    return {name: (level - mean) / spread for name, level in levels.items()}


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979): below alpha, each may be called found."""
    order = np.argsort(p_values, kind="stable")
    corrected, worst = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order.tolist()):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = worst
    return corrected
