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

_MEANS = ("confidence", "margin", "score", "loss", "spread")


def looks_of(checkpoints: Sequence[Path], data: Described, families: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Agreement of each training row over some checkpoints of its training.

    Yields:
        `{"item", "family", "label", "looks"}`, the means over the looks of the label's probability (`confidence`), its
        lead over the likeliest other label (`margin`), that lead above the mean of the rows with the same label
        (`score`: labels that are learned late are no worse for it) and the negative log-likelihood (`loss`), the
        deviation of `confidence` (`spread`), the mean probability of every label (`odds`), and `truth` where a wrong
        label was planted.
    """
    from model.evaluate.items import evaluate_items
    from model.setup import load_model

    abouts = [data.about(item) for item in range(len(data))]
    looks: list[np.ndarray] = []
    odds: list[list[dict[str, float]]] = [[{} for _ in families] for _ in abouts]  # sums over the looks
    for folder in checkpoints:
        model, text = load_model(folder)
        agreed = []
        for record, sums in zip(evaluate_items(model, text, data, families), odds, strict=True):
            agreed.append(_agreement(record, families))
            for family, of_labels in zip(families, sums, strict=True):
                for label, value in record["odds"].get(family, {}).items():
                    of_labels[label] = of_labels.get(label, 0.0) + value
        looks.append(np.array(agreed))
    agreed_LIFA = np.stack(looks)  # looks, items, families, and (own, likeliest other, loss)
    planted = data.wrong if isinstance(data, SelectedDataset) else {}
    for number, family in enumerate(families):
        own_LI, other_LI, loss_LI = np.moveaxis(agreed_LIFA[:, :, number], -1, 0)
        margin_LI = own_LI - other_LI
        labels = np.array([about.get(family, "") for about in abouts])
        score_LI = margin_LI.copy()
        for label in set(labels.tolist()):
            same = labels == label
            score_LI[:, same] -= margin_LI[:, same].mean(1, keepdims=True)
        for item, about in enumerate(abouts):
            if np.isnan(own_LI[0, item]):
                continue  # no label of this family
            means = {
                "confidence": own_LI[:, item].mean(), "margin": margin_LI[:, item].mean(),
                "score": score_LI[:, item].mean(), "loss": loss_LI[:, item].mean(), "spread": own_LI[:, item].std(),
            }  # fmt: skip
            truth = planted.get(item, {}).get(family)
            yield {
                "item": about["id"], "family": family, "label": about[family], "looks": len(checkpoints),
                **{name: round(float(value), 6) for name, value in means.items()},
                "odds": {name: round(value / len(checkpoints), 6) for name, value in odds[item][number].items()},
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

    `believed` is the label that the models found likeliest.
    A row's label may differ from seed to seed where wrong labels were planted; each is a row of its own.
    """
    found: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for rows in maps:
        for row in rows:
            found.setdefault((row["family"], row["item"], row["label"]), []).append(row)
    means = [{**rows[0], **_means(rows), **_believed(rows), "seeds": len(rows)} for rows in found.values()]
    return sorted(means, key=lambda row: (row["score"], row["item"]))


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in _MEANS}


def _believed(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    odds = {label: float(np.mean([row["odds"][label] for row in rows])) for label in rows[0]["odds"]}
    return {"odds": odds, "believed": max(odds, key=lambda label: odds[label])}


def precision(rows: Sequence[Mapping[str, Any]]) -> tuple[int, float, float] | None:
    """Of the k likeliest wrong rows, k the number of planted wrong labels: (k, share that is wrong, share by chance).

    None where none was planted.
    """
    planted = sum("truth" in row for row in rows)
    if not planted:
        return None
    return planted, sum("truth" in row for row in rows[:planted]) / planted, planted / len(rows)
