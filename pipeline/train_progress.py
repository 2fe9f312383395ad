"""Progress of a training: a bar a stage on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from pipeline.console import bars


class TrainProgress:
    """Context manager; is called with the metrics of a training as they come.

    Args:
        stages: Name and steps of each stage.
    """

    def __init__(self, stages: Sequence[tuple[str, int]], quiet: bool = False) -> None:
        self.stages, self.quiet = stages, quiet
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> TrainProgress:
        self._bars = bars(self.quiet, "{task.fields[said]}")
        if self._bars is not None:
            for name, steps in self.stages:
                self._tasks[name] = self._bars.add_task(name, total=steps, said="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, metrics: Mapping[str, Any]) -> None:
        """Show the metrics of a step."""
        if self._bars is not None:
            task = self._tasks[metrics["stage"]]
            self._bars.update(task, completed=metrics["step"], said="  ".join(said(metrics)))
        elif not self.quiet:
            left = f"{metrics['left_s'] / 60:.1f} min left in the stage"
            parts = [f"{metrics['stage']} {metrics['step']}/{metrics['steps']}", *said(metrics), left]
            sys.stderr.write("  ".join(parts) + "\n")


def said(metrics: Mapping[str, Any]) -> list[str]:
    """A step's metrics in words."""
    parts = [f"loss {metrics['loss']:.3f}"]
    if "validation_loss" in metrics:
        parts.append(f"validation {metrics['validation_loss']:.3f}")
    parts += [f"{metrics['tokens_per_s']:,.0f} tokens/s", f"padding {metrics['padding']:.0%}"]
    if "mfu" in metrics:
        parts.append(f"MFU {metrics['mfu']:.0%}")
    if metrics["skipped"]:
        parts.append(f"{metrics['skipped']} items cannot be used")
    return parts
