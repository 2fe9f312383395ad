"""Progress that comes from commit records: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manifests.ledger import CellRecord

_PLAIN_EVERY_S = 10.0


@dataclass
class StageProgress:
    """Counts of one stage; rates are of this build alone."""

    total: int
    done: int
    made_cells: int = 0
    made_rows: int = 0
    audio_s: float = 0.0
    busy_s: float = 0.0
    quarantined: int = 0
    first: float = 0.0
    last: float = 0.0

    def add(self, record: CellRecord) -> None:
        """Count a cell that was committed just now."""
        wall = record.metrics.get("wall_s", 0.0)
        self.last = time.monotonic()
        self.first = self.first or self.last - wall
        self.done += 1
        self.made_cells += 1
        self.busy_s += wall
        self.made_rows += record.metrics.get("made", 0)
        self.audio_s += record.metrics.get("audio_s", 0.0)
        self.quarantined += len(record.failures)

    @property
    def columns(self) -> tuple[str, ...]:
        """Cells done and in all, rows a second, seconds of audio a second, rows quarantined."""
        seconds = max(self.last - self.first, 1e-3)
        rows = f"{self.made_rows / seconds:.2f}" if self.made_rows else "-"
        realtime = f"{self.audio_s / seconds:.2f}x" if self.audio_s else "-"
        return f"{self.done}/{self.total}", rows, realtime, str(self.quarantined)


class Progress:
    """Context manager around a build's grid: `add` each record, `judge` the verdicts of a finished part."""

    def __init__(self, stages: dict[str, tuple[int, int]], quiet: bool = False) -> None:
        """Args: stages: cells in all and cells committed before, by stage, in order."""
        self.stages = {name: StageProgress(total, done) for name, (total, done) in stages.items()}
        self.verdicts: Counter[str] = Counter()
        self.quiet = quiet
        self.started = self._last_plain = time.monotonic()
        self._live: Any = None

    def __enter__(self) -> Progress:
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(self._table(), console=Console(stderr=True), refresh_per_second=2)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.update(self._table())
            self._live.__exit__(kind, error, trace)
        elif not self.quiet and kind is None:
            self._plain()

    def add(self, stage: str, record: CellRecord) -> None:
        """Show a committed cell."""
        self.stages[stage].add(record)
        if self._live is not None:
            self._live.update(self._table())
        elif not self.quiet and time.monotonic() - self._last_plain > _PLAIN_EVERY_S:
            self._plain()

    def judge(self, verdicts: Iterable[str]) -> None:
        """Count verdicts as `select` will give them."""
        self.verdicts.update(verdicts)

    def eta(self) -> str:
        """Time left: the cells to make at the mean time of their stage, on as many workers as were busy so far."""
        made = [stage for stage in self.stages.values() if stage.made_cells]
        busy = sum(stage.busy_s for stage in made)
        elapsed = time.monotonic() - self.started
        if any(stage.done < stage.total and not stage.made_cells for stage in self.stages.values()):
            return "-"  # a stage of which no cell was made may be the slow one
        left = sum((stage.total - stage.done) * stage.busy_s / stage.made_cells for stage in made)
        seconds = left / max(busy / max(elapsed, 1e-3), 0.1)
        return f"{int(seconds // 3600)}:{int(seconds // 60 % 60):02d}:{int(seconds % 60):02d}"

    def _so_far(self) -> str:
        counts = [f"{self.verdicts[name]} {name}" for name in ("kept", "rejected", "quarantined")]
        return f"{', '.join(counts)} in this build, ETA {self.eta()}"

    def _plain(self) -> None:
        self._last_plain = time.monotonic()
        parts = []
        for name, stage in self.stages.items():
            cells, _, realtime, _ = stage.columns
            parts.append(f"{name} {cells}{f' ({realtime} real time)' if stage.audio_s else ''}")
        elapsed = int(self._last_plain - self.started)
        sys.stderr.write(f"[{elapsed:4d} s] {', '.join(parts)}; {self._so_far()}\n")
        sys.stderr.flush()

    def _table(self) -> Any:
        from rich.console import Group
        from rich.table import Table

        table = Table()
        for name in ("stage", "cells", "rows/s", "real time", "quarantined"):
            table.add_column(name, justify="left" if name == "stage" else "right")
        for name, stage in self.stages.items():
            table.add_row(name, *stage.columns)
        return Group(self._so_far(), table)
