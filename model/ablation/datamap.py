"""Data maps (Swayamdipta et al. 2020): how a model comes to agree with its own training rows, or never does.

A row whose label is given little probability at every look, while others of the label are learned, is likely wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.datasets import Described
from model.selection import SelectedDataset


def looks_of(checkpoints: Path, data: Described, families: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Agreement of each training row over the checkpoints of its training.

    Yields:
        `{"item", "family", "label", "looks"}`, the means over the looks of the label's probability (`confidence`), its
        lead over the likeliest other label (`margin`) and its negative log-likelihood (`loss`), the deviation of
        `confidence` (`spread`), and `truth` where a wrong label was planted.
    """
    from model.evaluate.items import evaluate_items
    from model.setup import load_model

    folders = sorted(path for path in checkpoints.glob("step-*") if path.is_dir())
    odds: dict[str, list[np.ndarray]] = {family: [] for family in families}
    losses: dict[str, list[np.ndarray]] = {family: [] for family in families}
    for folder in folders:
        model, text = load_model(folder)
        found = [_agreement(record, families) for record in evaluate_items(model, text, data, families)]
        for number, family in enumerate(families):
            odds[family].append(np.array([row[number][:2] for row in found]))
            losses[family].append(np.array([row[number][2] for row in found]))
    planted = data.wrong if isinstance(data, SelectedDataset) else {}
    for item in range(len(data)):
        about = data.about(item)
        for family in families:
            own_L, other_L = np.stack([look[item] for look in odds[family]]).T
            if np.isnan(own_L).any():
                continue  # no label of this family
            truth = planted.get(item, {}).get(family)
            yield {
                "item": about["id"], "family": family, "label": about[family],
                "confidence": round(float(own_L.mean()), 6), "spread": round(float(own_L.std()), 6),
                "margin": round(float((own_L - other_L).mean()), 6),
                "loss": round(float(np.mean([look[item] for look in losses[family]])), 6), "looks": len(own_L),
                **({"truth": truth} if truth else {}),
            }  # fmt: skip


def _agreement(record: Mapping[str, Any], families: Sequence[str]) -> list[tuple[float, float, float]]:
    """Probability of the row's label, of the likeliest other, and the label's loss, for each family."""
    rows = []
    for family in families:
        label = record["labels"].get(family)
        if label is None:
            rows.append((np.nan, np.nan, np.nan))
            continue
        odds = record["odds"][family]
        other = max(value for name, value in odds.items() if name != label)
        rows.append((odds[label], other, record["values"][f"{family}.nll"][0]))
    return rows


def joined(maps: Sequence[Iterable[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The maps of several seeds as one, by row: means over the seeds in whose training it stood; likeliest wrong first.

    A row's label may differ from seed to seed where wrong labels were planted; each is a row of its own.
    """
    found: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for rows in maps:
        for row in rows:
            found.setdefault((row["family"], row["item"], row["label"]), []).append(row)
    means = [{**rows[0], **_means(rows), "seeds": len(rows)} for rows in found.values()]
    return sorted(means, key=lambda row: (row["margin"], row["item"]))


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in ("confidence", "spread", "margin", "loss")}


def precision(rows: Sequence[Mapping[str, Any]]) -> tuple[int, float, float] | None:
    """Of the k likeliest wrong rows, k the number of planted wrong labels: (k, share that is wrong, share by chance).

    None where none was planted.
    """
    planted = sum("truth" in row for row in rows)
    if not planted:
        return None
    return planted, sum("truth" in row for row in rows[:planted]) / planted, planted / len(rows)
