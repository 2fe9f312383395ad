"""Metrics of a training: a line of JSON each, and TensorBoard where it is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

METRICS, BOARD = "metrics.jsonl", "tensorboard"


class MetricsLog:
    """Appends to the files of a training's folder; only one process of a training writes."""

    def __init__(self, out: Path) -> None:
        self.path = out / METRICS
        self._board: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._board = SummaryWriter(str(out / BOARD))

    def __call__(self, metrics: Mapping[str, Any]) -> None:
        """Write one set of metrics."""
        with self.path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(metrics) + "\n")
        if self._board is not None:
            for name, value in metrics.items():
                if isinstance(value, int | float) and name not in ("step", "steps", "total", "time"):
                    self._board.add_scalar(f"{metrics['stage']}/{name}", value, metrics["total"])
            self._board.flush()

    def close(self) -> None:
        """Close what is open."""
        if self._board is not None:
            self._board.close()
