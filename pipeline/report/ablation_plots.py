"""Pictures of an ablation: what factors do, trends over levels, learning curves, the data map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from model.ablation.verdict import HELPS, HURTS
from pipeline.report.ablation_gather import Band
from pipeline.report.plots import AMBER, BLUE, GREY, Figure, address

_WIDTH = 4.4  # inches: on a phone its letters can still be read
_LOOKS = {HELPS: ("#22a35a", "^"), HURTS: ("#e5484d", "v")}
_OTHERS = (GREY, "o")
_MANY_POINTS = 2000  # beyond it they are drawn as one picture within the SVG


def factors(changes: Mapping[str, Mapping[str, Any]], baseline: str, lower_is_better: bool) -> str:
    """Differences to the baseline with their 95 % intervals, the first on top; "" where none was measured.

    Args:
        changes: Of each variant: `value`, `low`, `high`, and the verdict's `word`.
    """
    told = {name: change for name, change in changes.items() if "value" in change}
    if not told:
        return ""
    with Figure(_WIDTH, 0.7 + 0.3 * len(told)) as (figure, axes):
        axes.axvline(0, color=GREY, linewidth=0.8, linestyle="--")
        for place, change in enumerate(told.values()):
            color, marker = _LOOKS.get(change["word"], _OTHERS)
            axes.plot([change["low"], change["high"]], [place, place], color=color, linewidth=1.6)
            axes.plot([change["value"]], [place], color=color, marker=marker, markersize=6)
        axes.set_yticks(range(len(told)), list(told))
        axes.set_ylim(len(told) - 0.5, -0.5)
        axes.set_xlabel(f"difference to {baseline} ({'less' if lower_is_better else 'more'} is better)")
        return address(figure)


def levels(numbers: Mapping[str, Mapping[str, Any]], of_level: Mapping[str, float], chance: float | None) -> str:
    """A metric over the levels of a trend, with 95 % intervals, and the commonest label's beside it."""
    points = sorted((level, numbers[name]) for name, level in of_level.items() if "value" in numbers.get(name, {}))
    if not points:
        return ""
    with Figure(_WIDTH, 2.4) as (figure, axes):
        places, values = [level for level, _ in points], [number["value"] for _, number in points]
        below = [number["value"] - number["low"] for _, number in points]
        above = [number["high"] - number["value"] for _, number in points]
        axes.errorbar(places, values, [below, above], color=BLUE, marker="o", markersize=4, capsize=3, linewidth=1.2)
        if chance is not None:
            axes.axhline(chance, color=AMBER, linewidth=1, linestyle="--", label="majority class")
            axes.legend(frameon=False, fontsize=7, labelcolor=GREY)
        axes.set_xlabel("level")
        return address(figure)


def learning(losses: Mapping[str, Band], top: float) -> str:
    """Losses of a variant over the steps: the mean of its seeds, and from the least to the most of them.

    Args:
        top: Of the axis, so that variants can be compared.
    """
    if not losses:
        return ""
    with Figure(3.4, 2.2) as (figure, axes):
        for (name, band), color, style in zip(losses.items(), (BLUE, AMBER), ("-", "--"), strict=False):
            steps, means, low, high = zip(*band, strict=True)
            axes.plot(steps, means, style, color=color, linewidth=1.2, label=name, marker="o" if len(band) == 1 else "")
            axes.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
        axes.set_ylim(0, top)
        axes.set_xlabel("step")
        axes.legend(frameon=False, fontsize=7, labelcolor=GREY)
        return address(figure)


def scatter(points: Sequence[Sequence[Any]]) -> str:
    """Confidence against spread of each training row, planted wrong labels marked."""
    if not points:
        return ""
    with Figure(_WIDTH, 3.2) as (figure, axes):
        for planted, color, marker, size, name in (
            (False, BLUE, "o", 7, "label as it was found"),
            (True, AMBER, "x", 18, "planted wrong label"),
        ):
            some = [point for point in points if bool(point[2]) == planted]
            if some:
                axes.scatter(
                    [point[1] for point in some], [point[0] for point in some], s=size, c=color, marker=marker,
                    linewidths=0.9 if planted else 0, alpha=0.7, label=name, rasterized=len(points) > _MANY_POINTS,
                )  # fmt: skip
        axes.set_xlim(left=0)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("spread over the training")
        axes.set_ylabel("confidence in the label")
        if any(point[2] for point in points):
            figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=7, labelcolor=GREY)
        return address(figure)
