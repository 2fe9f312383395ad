"""From the records of all trainings to means, differences, trends and verdicts; equal records give equal tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from manifests.errors import UserError
from manifests.ids import seed_of
from model.ablation import datamap
from model.ablation.design import Ablation
from model.ablation.job import MAP, Job, done, read_lines
from model.ablation.stats import ALPHA, Estimate, Items, contrast, estimate, holm, slope
from model.ablation.verdict import lower_is_better, trend, verdict
from model.evaluate.summary import baselines_of

_OF_CORRECT = (".uar", ".accuracy")


class Scores:
    """One metric of all trainings that ended, item by item.

    Attributes:
        items: How the items make the metric.
        values: (seeds, items) of each variant; the seeds are those that ended.
        seeds: Numbers of the seeds of each variant.
    """

    def __init__(self, metric: str, where: str, jobs: Mapping[str, Sequence[Job]], out: Path, units: str) -> None:
        self.metric = metric
        value_name = next(
            (metric.removesuffix(end) + ".correct" for end in _OF_CORRECT if metric.endswith(end)), metric
        )
        self.values: dict[str, np.ndarray] = {}
        self.seeds: dict[str, list[int]] = {}
        found: dict[tuple[str, int], dict[str, Any]] = {}
        for name, of_seeds in jobs.items():
            ended = [number for number, job in enumerate(of_seeds) if done(job, out) is not None]
            self.seeds[name] = ended
            for number in ended:
                records = read_lines(of_seeds[number].folder(out) / f"items-{where}.jsonl")
                kept = {record["item"]: _slim(record) for record in records if value_name in record["values"]}
                found[name, number] = kept
        common = _common(list(found.values()))
        if found and not common:
            raise UserError(
                f"metrics: {metric!r}: no item of evaluate.{where} has {value_name} of every model; take another"
                " metric or set"
            )
        if found:
            first = next(iter(found.values()))
            self.items = _items([first[item] for item in common], metric, value_name, units)
        for name, numbers in self.seeds.items():
            rows = [[found[name, number][item]["values"][value_name][0] for item in common] for number in numbers]
            self.values[name] = np.array(rows) if rows else np.zeros((0, 0))

    def estimate(self, shares: Mapping[str, float]) -> Estimate | None:
        """A contrast of variants, of the seeds that all of them ended; None of fewer than two."""
        common = sorted(set.intersection(*(set(self.seeds[name]) for name in shares)))
        if len(common) < 2:
            return None
        values = {name: self.values[name][[self.seeds[name].index(number) for number in common]] for name in shares}
        return estimate(contrast(values, shares), self.items, seed_of(self.metric, *sorted(shares)))


def _slim(record: Mapping[str, Any]) -> dict[str, Any]:
    """What statistics need of a record."""
    return {name: record[name] for name in ("item", "speaker", "labels", "values")}


def _common(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Items that every model has a value of, in their order: some layouts leave out some (too short to stream)."""
    return [item for item in (found[0] if found else ()) if all(item in of_one for of_one in found)]


def _items(records: Sequence[Mapping[str, Any]], metric: str, value_name: str, units: str) -> Items:
    weights = np.array([record["values"][value_name][1] for record in records])
    strata = np.zeros(len(records), np.int64)
    if metric.endswith(".uar"):
        family = metric.removesuffix(".uar")
        strata = np.unique([record["labels"][family] for record in records], return_inverse=True)[1]
    names = [record["speaker"] if units == "speaker" else record["item"] for record in records]
    return Items(weights, strata, np.unique(names, return_inverse=True)[1])


def analyse(
    ablation: Ablation, jobs: Mapping[str, Sequence[Job]], out: Path, errors: Mapping[str, str]
) -> dict[str, Any]:
    """All that an ablation found, as JSON.

    Args:
        errors: Of the jobs that failed, by key.
    """
    metrics = []
    for metric in ablation.metrics:
        where, name = ablation.metric_place(metric)
        scores = Scores(name, where, jobs, out, ablation.units)
        told = _of_metric(ablation, scores, name)
        for variant, of_seeds in jobs.items():
            told["variants"][variant]["baselines"] = _baselines(name, where, of_seeds, out)
        metrics.append({"metric": metric, "set": where, **told})
    return {
        "name": ablation.name, "baseline": ablation.baseline, "seeds": ablation.seeds, "units": ablation.units,
        "variants": [
            {"name": name, "about": ablation.variants[name].about, **_of_variant(of_seeds, out, errors)}
            for name, of_seeds in jobs.items()
        ],
        "metrics": metrics, "map": _map(ablation, jobs, out),
    }  # fmt: skip


def _of_variant(jobs: Sequence[Job], out: Path, errors: Mapping[str, str]) -> dict[str, Any]:
    results = [done(job, out) for job in jobs]
    ended = [result for result in results if result is not None]
    return {
        "jobs": [job.key for job in jobs], "ended": len(ended),
        "failed": {job.key: errors[job.key] for job in jobs if job.key in errors},
        "train_items": sorted({result["train_items"] for result in ended}),
        "unused": sorted({result["unused"] for result in ended}),
        "seconds": round(sum(sum(result["seconds"].values()) for result in ended), 1),
    }  # fmt: skip


def _of_metric(ablation: Ablation, scores: Scores, metric: str) -> dict[str, Any]:
    means = {name: scores.estimate({name: 1.0}) for name in ablation.variants}
    others = [name for name in ablation.variants if name != ablation.baseline]
    found = {name: scores.estimate({name: 1.0, ablation.baseline: -1.0}) for name in others}
    told = {name: value for name, value in found.items() if value is not None}
    corrected = dict(zip(told, holm([value.p for value in told.values()]), strict=True))
    trends = {}
    for name, levels in ablation.trends.items():
        value = scores.estimate(slope(levels.levels))
        trends[name] = {**_numbers(value), **trend(metric, value, levels.levels)} if value else _too_few()
    return {
        "lower_is_better": lower_is_better(metric), "items": len(scores.items.weights) if told else 0,
        "variants": {name: _numbers(value) if value else _too_few() for name, value in means.items()},
        "differences": {
            name: {**_numbers(value), "p_corrected": corrected[name], "detectable": value.detectable(ALPHA / len(told)),
                   **verdict(metric, value, corrected[name], len(told))} if value else _too_few()
            for name, value in found.items()
        },
        "trends": trends,
    }  # fmt: skip


def _baselines(metric: str, where: str, jobs: Sequence[Job], out: Path) -> dict[str, float]:
    """What the metric would be by chance (`majority`, `shuffled`) and of silence, means over the seeds."""
    name = metric.removesuffix(".accuracy") + ".correct" if metric.endswith(".accuracy") else metric
    found = [
        baselines_of(
            name,
            read_lines(job.folder(out) / f"items-{where}.jsonl"),
            {given: read_lines(job.folder(out) / f"{given}-{where}.jsonl") for given in ("silence", "transcript")},
        )
        for job in jobs
        if done(job, out) is not None
    ]
    return {kind: float(np.mean([of_seed[kind] for of_seed in found])) for kind in (found[0] if found else ())}


def _numbers(value: Estimate) -> dict[str, Any]:
    low, high = value.interval()
    return {"value": value.value, "low": low, "high": high, "error": value.error, "p": value.p, "seeds": value.seeds}


def _too_few() -> dict[str, Any]:
    return {"word": "no verdict", "sentence": "no verdict: fewer than two seeds ended"}


def _map(ablation: Ablation, jobs: Mapping[str, Sequence[Job]], out: Path) -> dict[str, Any] | None:
    if ablation.map is None:
        return None
    folders = [job.folder(out) for job in jobs[ablation.map.variant] if done(job, out) is not None]
    rows = datamap.joined([read_lines(folder / MAP) for folder in folders])
    found = datamap.precision(rows)
    data = jobs[ablation.map.variant][0].spec["train"]["data"]
    return {
        "data": {name: data[name] for name in ("corpus", "shards", "split")},
        "variant": ablation.map.variant, "rows": rows[: ablation.map.rows], "of": len(rows),
        "points": [[round(row["confidence"], 4), round(row["spread"], 4), "truth" in row] for row in rows],
        "planted": None if found is None else dict(zip(("k", "precision", "chance"), found, strict=True)),
    }  # fmt: skip
