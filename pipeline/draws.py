"""Draws from seeds, on arrays: splitmix64, rendezvous hashing, and the rounds of contrastive pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from manifests.ids import seed_of


def partner(index: int, turn: int, cells: int) -> int | None:
    """Whom a label is contrasted with in a round (the circle method: over the rounds, with every other label)."""
    if cells < 2:
        return None
    players = cells + cells % 2
    last = players - 1
    if index == last:
        other = turn * (players // 2) % last
    else:
        other = (turn - index) % last
        if other == index:
            other = last
    return other if other < cells else None


def mix64(x: np.ndarray) -> np.ndarray:
    """splitmix64, elementwise on uint64: a draw from a seed."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def salt(*names: Any) -> np.uint64:
    """Makes the draws of one purpose independent of those of another."""
    return np.uint64(seed_of(*names))


def last_share(shares: np.ndarray) -> int:
    """The last split that has a share; a draw of almost 1 must not fall beyond it."""
    steps = np.diff(shares, prepend=0.0)
    return int(np.flatnonzero(steps > 0)[-1])


def rendezvous(units: np.ndarray, names: list[str], kind: str) -> np.ndarray:
    """Index of the candidate with the highest hash, for each unit; a new candidate wins few of them."""
    candidates = np.array([seed_of(kind, name) for name in names], np.uint64)
    best, choice = np.zeros(len(units), np.uint64), np.zeros(len(units), np.int64)
    for number, candidate in enumerate(candidates):
        score = mix64(units ^ candidate)
        better = score > best
        best[better], choice[better] = score[better], number
    return choice
