"""The tables of `echat evaluate`: every metric beside its baselines, and the paper's numbers for orientation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from manifests.labels import CUES

HEADERS = ["metric", "value", "95 % interval", "majority", "shuffled", "silence", "transcript", "gain over transcript",
           "items"]  # fmt: skip
_BASELINES = ("majority", "shuffled", "silence", "transcript")

PAPER_TASKS = ("emotion", "age", "gender", "event", "multi")
PAPER: dict[str, tuple[float | None, ...]] = {
    "Qwen2.5-Omni": (44.8, 52.6, 43.3, None, 63.7),
    "GLM-4-Voice": (48.7, 44.7, 42.4, None, 60.3),
    "OSUM-EChat": (58.0, 63.1, 62.7, 87.1, 72.0),
    "- without understanding-driven training": (53.4, 35.4, 41.0, 52.9, 63.1),
    "- without dual think": (54.5, 42.3, 61.3, 61.1, 56.4),
    "- without both": (51.6, 40.3, 39.1, 10.4, 54.2),
}
"""Table 1 of arXiv 2508.09600: automatic scores, 0 to 100, of each of `PAPER_TASKS` on its own EChat-eval."""
PAPER_NOTE = "for orientation, NOT COMPARABLE: another test set, other prompts, GPT-4o as the judge"
FEW = 30
"""Items below which a bootstrap interval is too narrow to lean on."""

Row = tuple[Any, ...]


def metric_rows(group: Mapping[str, Any]) -> list[Row]:
    """Every metric of a group; the recall of a single class is its accuracy, and not told again."""
    return [
        (name, *_cells(metric))
        for name, metric in group["metrics"].items()
        if not (name.endswith(".uar") and metric["classes"] < 2)
    ]


def part_rows(groups: list[Mapping[str, Any]]) -> Iterator[Row]:
    """The main metrics of each source and task: accuracy and recall of what the task is about, and of replies."""
    for group in groups[1:]:
        kind, _, value = group["group"].partition(" ")
        about = (value,) if kind == "task" and value in CUES else tuple(CUES)
        for name, metric in group["metrics"].items():
            first, _, last = name.partition(".")
            recalled = first in about and last in ("correct", "uar")
            several = metric["items"] > 1 and not (last == "uar" and metric["classes"] < 2)
            if name in ("reply.addresses_cue", "judge.content", "judge.style") or (recalled and several):
                yield f"{value}: {name}", *_cells(metric)


def _cells(metric: Mapping[str, Any]) -> Row:
    known = metric["baselines"]
    gain = metric["gain"].get("transcript")
    return (
        _number(metric["value"]), f"{_number(metric['low'])} to {_number(metric['high'])}",
        *(_number(known[name]) if name in known else "" for name in _BASELINES),
        f"{gain[0]:+.3f} ({gain[1]:+.3f} to {gain[2]:+.3f})" if gain else "", metric["items"],
    )  # fmt: skip


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def paper_rows(groups: list[Mapping[str, Any]]) -> list[Row]:
    """The paper's table, with this model's judged scores below it where there are some."""
    rows: list[Row] = [
        (name, *("" if score is None else f"{score:.1f}" for score in scores)) for name, scores in PAPER.items()
    ]
    for dimension in ("content", "style"):
        mine = {group["group"]: group["metrics"].get(f"judge.{dimension}") for group in groups}
        scores = [mine.get(f"task {task}") for task in PAPER_TASKS]
        if any(scores):
            rows.append((f"this checkpoint, judged {dimension}", *(f"{s['value']:.1f}" if s else "" for s in scores)))
    return rows
