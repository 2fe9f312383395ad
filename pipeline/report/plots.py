"""Pictures of the page: histograms and bars as SVG, in greys and blues that both light and dark pages carry."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

from pipeline.report.gather import NUM_BINS, Histogram

BLUE, AMBER, GREY = "#3b82f6", "#f59e0b", "#8a8f98"


def histogram(data: Histogram) -> str:
    """A histogram as the address of an SVG, kept dialogues below the others; "" where nothing was measured."""
    if not sum(data.kept) + sum(data.other):
        return ""
    with Figure(3.4, 2.0) as (figure, axes):
        width = (data.high - data.low) / NUM_BINS
        left = data.edges[:-1]
        axes.bar(left, data.kept, width, align="edge", color=BLUE, label="kept")
        axes.bar(left, data.other, width, align="edge", bottom=data.kept, color=AMBER, label="not kept")
        axes.set_xlim(data.low, data.high)
        axes.set_xlabel(data.unit)
        axes.set_ylabel("turns")
        axes.yaxis.get_major_locator().set_params(integer=True)
        if any(data.other):
            axes.legend(frameon=False, fontsize=7, labelcolor=GREY)
        return address(figure)


def bars(counts: Mapping[str, int]) -> str:
    """Horizontal bars, the longest on top, as the address of an SVG; "" of nothing."""
    if not counts:
        return ""
    items = sorted(counts.items(), key=lambda item: item[1])
    with Figure(6.2, 0.5 + 0.24 * len(items)) as (figure, axes):
        axes.barh([name for name, _ in items], [number for _, number in items], color=AMBER, height=0.7)
        axes.bar_label(axes.containers[0], color=GREY, padding=3, fontsize=8)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        return address(figure)


class Figure:
    """A figure with quiet axes; closed at the end, whatever happens."""

    def __init__(self, width: float, height: float) -> None:
        self.size = (width, height)

    def __enter__(self) -> tuple[Any, Any]:
        import matplotlib
        from matplotlib.figure import Figure as Canvas

        # A dollar sign in a name is no formula.
        self.settings = matplotlib.rc_context({"text.parse_math": False})
        self.settings.__enter__()
        self.figure = Canvas(figsize=self.size, layout="constrained")
        axes = self.figure.add_subplot()
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(GREY)
        axes.tick_params(colors=GREY, labelsize=8)
        axes.xaxis.label.set(color=GREY, fontsize=9)
        axes.yaxis.label.set(color=GREY, fontsize=9)
        return self.figure, axes

    def __exit__(self, *error: object) -> None:
        self.figure.clear()
        self.settings.__exit__(None, None, None)


def address(figure: Any) -> str:
    """A figure as the address of an SVG, the same every time."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "echat", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
