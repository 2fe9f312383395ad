"""What a language model was asked and paid for the cells of a run, from their records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from manifests.ledger import CellRecord


def asked_llm(records: Iterable[CellRecord]) -> dict[str, float]:
    """The sums over some cells; empty where nothing was asked."""
    sums: dict[str, float] = {}
    for record in records:
        for name, value in record.metrics.get("llm", {}).items():
            sums[name] = sums.get(name, 0) + value
    if "cost" in sums:
        sums["cost"] = round(sums["cost"], 6)
    return sums


def spent_line(sums: Mapping[str, Any]) -> str:
    """The sums for people."""
    parts = [
        f"{sums['asked']:,.0f} requests",
        f"{sums['cached']:,.0f} answers from the cache",
        f"{sums['prompt_tokens']:,.0f} tokens in, {sums['completion_tokens']:,.0f} out",
        *([f"{sums['unmetered']:,.0f} answers without a token count"] if sums["unmetered"] else []),
        f"{sums['retries']:,.0f} retries",
        f"{sums['repairs']:,.0f} repairs",
        *([f"cost {sums['cost']:,.4f}"] if sums["cost"] else []),
    ]
    return f"language model: {', '.join(parts)}"
