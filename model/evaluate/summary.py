"""Records in sum: means with bootstrap intervals, unweighted average recall, and baselines beside every number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from manifests.labels import CUES, NONE

DRAWS = 1000
"""Bootstrap samples, and shuffles of the labels."""
_CHUNK = 64  # of them at once, so that memory stays flat
_LEVEL = (2.5, 97.5)

Record = Mapping[str, Any]
ORDER = ("correct", "uar", "nll", "think", "transcript", "reply", "speech", "judge")


@dataclass
class Column:
    """One metric of some items: numbers alone, so that many items fit.

    Attributes:
        rows: Places of the items among all items.
        truth: Labels of the items where the metric compares labels, else empty; likewise `said`.
    """

    rows: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    truth: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@dataclass
class Table:
    """All that a summary needs of the records, a column a metric.

    Attributes:
        groups: Places of the items of each group: `all`, `source real`, `task emotion` ...
        places: Place of each item by its name.
    """

    columns: dict[str, Column] = field(default_factory=dict)
    groups: dict[str, list[int]] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Record]) -> Table:
        """Read records once, in their order."""
        table = cls()
        for record in records:
            place = len(table.places)
            table.places[record["item"]] = place
            for group in ("all", f"source {record['source']}", f"task {record['task']}"):
                table.groups.setdefault(group, []).append(place)
            for name, (value, weight) in record["values"].items():
                column = table.columns.setdefault(name, Column())
                column.rows.append(place)
                column.values.append(value)
                column.weights.append(weight)
                pair = _labels(record, name)
                if pair is not None:
                    column.truth.append(pair[0])
                    column.said.append(pair[1])
        return table


def _labels(record: Record, metric: str) -> tuple[str, str] | None:
    """Truth and answer, of a metric that is right where they are equal."""
    first, _, last = metric.partition(".")
    reply = record.get("reply", {})
    if last in ("correct", "nll") and first in CUES:
        return record["labels"][first], record["said"][first]
    if first == "think" and last in CUES:
        return reply["labels"][last], reply["think_labels"].get(last, "")
    if metric == "reply.emotion":
        return reply["planned"]["emotion"], reply["emotion"]
    if metric == "reply.addresses_cue":
        return _joined(reply["planned"]["cues"]), _joined(reply["addresses"])
    return None


def _joined(labels: Mapping[str, str]) -> str:
    return " ".join(f"{family}={value}" for family, value in labels.items() if value != NONE)


def summarise(records: Iterable[Record], baselines: Mapping[str, Iterable[Record]]) -> list[dict[str, Any]]:
    """Every metric of every group of items, with its interval and its baselines.

    Args:
        records: Of the model that hears.
        baselines: Records of the same items and model given something else, by name (`silence`, `transcript`).

    Returns:
        A document a group: `{"group", "items", "metrics": {name: {"value", "low", "high", "items", "weight",
        "baselines": {name: value}, "gain": {name: [value, low, high]}, "unpaired": {name: n}}},
        "confusion": {family: {truth: {said: n}}}}`. `gain` is the difference to a baseline on the same items, with its
        paired interval; `unpaired` counts the items that have no value in a baseline, where there are some: value and
        gain of that baseline are of the others alone.
    """
    table = Table.of(records)
    others = {name: Table.of(of_one) for name, of_one in baselines.items()}
    return [_group(name, rows, table, others) for name, rows in table.groups.items() if _is_telling(name, table)]


def baselines_of(metric: str, records: Iterable[Record], others: Mapping[str, Iterable[Record]]) -> dict[str, float]:
    """What one metric of all items stands beside; as `summarise` has it, without the work of intervals."""
    table = Table.of(records)
    every = np.ones(len(table.places), bool)
    for name, column in table.columns.items():
        for measured in _measures(name, column, every):
            if measured.name == metric:
                return measured.baselines(
                    measured.paired({name: Table.of(of_one) for name, of_one in others.items()}, table)
                )
    return {}


def _is_telling(group: str, table: Table) -> bool:
    """A group of all items, or of none of our tasks, tells nothing beside `all`."""
    if group == "all":
        return True
    return len(table.groups[group]) < len(table.places) and group != f"task {NONE}"


def _group(name: str, rows: Sequence[int], table: Table, others: Mapping[str, Table]) -> dict[str, Any]:
    kept = np.zeros(len(table.places), bool)
    kept[list(rows)] = True
    metrics = {}
    for metric in sorted(table.columns, key=_place):
        for measured in _measures(metric, table.columns[metric], kept):
            metrics[measured.name] = measured.document(others, table)
    confusion = {
        metric.partition(".")[0]: _confusion(column, kept)
        for metric, column in sorted(table.columns.items())
        if metric.endswith(".correct")
    }
    return {"group": name, "items": len(rows), "metrics": metrics, "confusion": confusion}


def _place(metric: str) -> tuple[int, str]:
    first, _, last = metric.partition(".")
    key = last if last in ORDER else first
    return (ORDER.index(key) if key in ORDER else len(ORDER)), metric


def _confusion(column: Column, kept: np.ndarray) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for row, truth, said in zip(column.rows, column.truth, column.said, strict=True):
        if kept[row]:
            of_one = counts.setdefault(truth, {})
            of_one[said] = of_one.get(said, 0) + 1
    return {truth: dict(sorted(of_one.items())) for truth, of_one in sorted(counts.items())}


@dataclass(frozen=True)
class Measured:
    """A metric of a group: a mean, or the mean of the recalls of its classes.

    Attributes:
        column: The items' values in `rows`, `values`, `weights`; arrays of (items,).
        classes: Number of the class of each item; empty for a mean over items.
    """

    name: str
    column: str
    rows: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    truth: np.ndarray
    said: np.ndarray
    classes: np.ndarray

    def value(self, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """The metric of values (items,), each item counted so often; (draws,) for counts (draws, items)."""
        if not len(self.classes):
            weights = counts * self.weights
            total = weights.sum(-1)
            return np.divide(weights @ values, total, out=np.full(total.shape, np.nan), where=total > 0)
        one_hot = np.eye(int(self.classes.max()) + 1)[self.classes]
        total, right = counts @ one_hot, counts @ (one_hot * values[:, None])
        known = total > 0  # a bootstrap sample may lack a class
        recalls = np.divide(right, total, out=np.zeros(total.shape), where=known)
        return recalls.sum(-1) / known.sum(-1)

    def document(self, others: Mapping[str, Table], table: Table) -> dict[str, Any]:
        """See `summarise`."""
        once = np.ones(len(self.rows))
        value = float(self.value(self.values, once))
        low, high = interval(lambda counts: self.value(self.values, counts), len(self.rows))
        paired, gains, unpaired = self.paired(others, table), {}, {}
        baselines = {name: _short(number) for name, number in self.baselines(paired).items()}
        for name, values in paired.items():
            both, there = self._where(~np.isnan(values))
            gain = both.values - values[there]
            bounds = interval(lambda counts, both=both, gain=gain: both.value(gain, counts), len(both.rows))
            gains[name] = [_short(item) for item in (float(both.value(gain, np.ones(len(gain)))), *bounds)]
            if not there.all():
                unpaired[name] = int((~there).sum())
        return {
            "value": _short(value), "low": _short(low), "high": _short(high), "items": len(self.rows),
            "weight": _short(float(self.weights.sum())), "classes": int(self.classes.max()) + 1 if len(self.classes)
            else 0, "baselines": baselines, "gain": gains, **({"unpaired": unpaired} if unpaired else {}),
        }  # fmt: skip

    def _where(self, there: np.ndarray) -> tuple[Measured, np.ndarray]:
        """The metric of some items alone, bool (items,); and which those are."""
        classes = self.classes[there] if len(self.classes) else self.classes
        of_items = {name: getattr(self, name)[there] for name in ("rows", "values", "weights")}
        labels = {name: getattr(self, name)[there] if len(self.truth) else self.truth for name in ("truth", "said")}
        return replace(self, **of_items, **labels, classes=classes), there

    def baselines(self, paired: Mapping[str, np.ndarray]) -> dict[str, float]:
        """The metric by chance (`majority`, `shuffled`) where it compares labels, and of other values (items,)."""
        found = self._chance()
        for name, values in paired.items():
            both, there = self._where(~np.isnan(values))
            found[name] = float(both.value(values[there], np.ones(len(both.rows))))
        return found

    def paired(self, others: Mapping[str, Table], table: Table) -> dict[str, np.ndarray]:
        """The values of the same items in other records, NaN where one has none there."""
        found = {name: self._paired(other, table) for name, other in others.items()}
        return {name: values for name, values in found.items() if values is not None}

    def _paired(self, other: Table, table: Table) -> np.ndarray | None:
        """The values of the same items in other records; None if none has one."""
        column = other.columns.get(self.column)
        if column is None:
            return None
        names = {place: name for name, place in table.places.items()}
        found = dict(zip(column.rows, column.values, strict=True))
        values = np.array([found.get(other.places.get(names[row], -1), np.nan) for row in self.rows.tolist()])
        return None if np.isnan(values).all() else values

    def _chance(self) -> dict[str, float]:
        """What saying the commonest label gives, and what these answers give when the labels are shuffled."""
        if not len(self.truth):
            return {}
        if self.name == "reply.addresses_cue":
            return {"shuffled": self._shuffled_cues()}
        labels, truth = np.unique(self.truth, return_inverse=True)
        shares = np.bincount(truth) / len(truth)
        if self.name.endswith(".nll"):
            return {"majority": float(-(shares * np.log(shares)).sum())}
        # The mean over all shuffles is known: an answer meets each label as often as the label's share.
        met = dict(zip(labels.tolist(), shares.tolist(), strict=True))
        hits = [met.get(name, 0.0) for name in self.said.tolist()]
        if len(self.classes):
            return {"majority": 1 / len(labels), "shuffled": sum(hit > 0 for hit in hits) / len(hits) / len(labels)}
        return {"majority": float(shares.max()), "shuffled": sum(hits) / len(hits)}

    def _shuffled_cues(self) -> float:
        """How often a reply dealt at random speaks to a cue."""
        said = Counter(label for labels in self.said.tolist() for label in labels.split())
        cues = [label for labels in self.truth.tolist() for label in labels.split()]
        return sum(said[cue] for cue in cues) / len(cues) / len(self.said)


def _measures(metric: str, column: Column, kept: np.ndarray) -> Iterator[Measured]:
    """The mean of a metric, and of one that compares labels the mean recall too."""
    chosen = [number for number, row in enumerate(column.rows) if kept[row]]
    if not chosen:
        return
    pick = np.array(chosen)
    labelled = bool(column.truth)
    truth = np.array(column.truth)[pick] if labelled else np.array([], str)
    said = np.array(column.said)[pick] if labelled else np.array([], str)
    rest = (
        np.array(column.rows)[pick], np.array(column.values, float)[pick], np.array(column.weights, float)[pick],
        truth, said,
    )  # fmt: skip
    yield Measured(metric, metric, *rest, np.array([], int))
    if metric.endswith(".correct") or (metric.startswith("think.") and labelled):
        name = f"{metric.removesuffix('.correct')}.uar"
        yield Measured(name, metric, *rest, np.unique(truth, return_inverse=True)[1])


def interval(statistic: Callable[[np.ndarray], np.ndarray], items: int, draws: int = DRAWS) -> tuple[float, float]:
    """95 % percentile bootstrap interval over items, the same every time.

    Args:
        statistic: From counts float (draws, items), how often each item is drawn, to values (draws,).
    """
    rng = np.random.default_rng(0)
    values = []
    for start in range(0, draws, _CHUNK):
        size = min(_CHUNK, draws - start)
        values.append(statistic(rng.multinomial(items, np.full(items, 1 / items), size).astype(float)))
    known = np.concatenate(values)
    low, high = np.nanpercentile(known, _LEVEL)
    return float(low), float(high)


def _short(value: float) -> float:
    return round(value, 6) + 0.0  # and no -0.0
