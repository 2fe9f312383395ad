"""What an ablation found, in plain words: helps, hurts, or no evidence and how much more would tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from model.ablation.stats import ALPHA, Estimate

HELPS, HURTS, NOTHING = "helps", "hurts", "no evidence"
BESIDE = ("majority", "shuffled", "silence", "transcript")
"""Baselines beside every mean: the commonest label, the answers against shuffled labels, silence for audio, and that
silence with the words given."""
_LOWER_IS_BETTER = (".nll", ".wer")
_ENOUGH = 20.0  # times the data: beyond it nobody would go on


def lower_is_better(metric: str) -> bool:
    """Whether less of a metric is better."""
    return metric.endswith(_LOWER_IS_BETTER)


def verdict(metric: str, found: Estimate, corrected: float, comparisons: int) -> dict[str, Any]:
    """The verdict on a difference.

    Args:
        corrected: Its p-value, corrected for the number of comparisons.

    Returns:
        `word` (helps, hurts, no evidence) and `sentence`.
    """
    alpha = ALPHA / comparisons
    if not found.error and not found.value:
        why = "every model scored the same on every item, so no effect of any size could have been seen"
        return {"word": NOTHING, "sentence": f"{NOTHING}: {metric} +0.000; {why}"}
    low, high = found.interval()
    size = f"{found.value:+.3f} [{low:+.3f}, {high:+.3f}]"
    if corrected < ALPHA:
        better = (found.value < 0) == lower_is_better(metric)
        word = HELPS if better else HURTS
        return {"word": word, "sentence": f"{word}: {metric} {size}, p {told(corrected)}"}
    least = found.detectable(alpha)
    sentence = f"{NOTHING}: {metric} {size}, p {told(corrected)}; {least:.3f} or more would have been found"
    return {"word": NOTHING, "sentence": f"{sentence}; {more(found, alpha)}"}


def more(found: Estimate, alpha: float) -> str:
    """How much more data would tell whether the difference that was seen is one."""
    seeds = found.seeds_for(found.value, alpha) if found.value else None
    if seeds is not None and seeds <= found.seeds * _ENOUGH:
        return f"to find what was seen, train {max(seeds, found.seeds + 1)} seeds of each (now {found.seeds})"
    scale = found.scale_for(found.value, alpha)
    if scale <= _ENOUGH:
        return f"to find what was seen, take {math.ceil(scale * 10) / 10:.1f} times the seeds and the evaluation items"
    return f"what was seen is so small that more than {_ENOUGH:.0f} times the data would be needed to find it"


def trend(metric: str, found: Estimate, levels: Mapping[str, float]) -> dict[str, Any]:
    """The verdict on a slope over levels."""
    low, high = found.interval()
    rising = found.value > 0
    seen = "rises" if rising else "falls"
    size = f"{found.value:+.3f} [{low:+.3f}, {high:+.3f}] for each 1 of the level"
    if found.p < ALPHA:
        sentence = f"{metric} {seen} with the level: {size}, p {told(found.p)}"
    else:
        sentence = f"no evidence of a trend of {metric}: {size}, p {told(found.p)}"
    return {"word": seen if found.p < ALPHA else NOTHING, "sentence": sentence, "levels": dict(levels)}


def told(p: float) -> str:
    """A p-value for people."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"
