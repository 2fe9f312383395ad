"""Progress that comes from commit records: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manifests.ledger import CellRecord

_PLAIN_EVERY_S = 10.0


@dataclass
class StageProgress:
    """Counts of one stage; rates are of this build alone."""

    total: int
    done: int = 0
    made: int = 0
    audio_s: float = 0.0
    quarantined: int = 0
    first: float | None = None
    last: float = field(default_factory=time.monotonic)

    def add(self, record: CellRecord) -> None:
        """Count a cell that was committed just now."""
        now = time.monotonic()
        self.first = self.first if self.first is not None else now - record.metrics.get("wall_s", 0.0)
        self.last = now
        self.done += 1
        self.made += record.metrics.get("made", 0)
        self.audio_s += record.metrics.get("audio_s", 0.0)
        self.quarantined += len(record.failures)

    @property
    def seconds(self) -> float:
        """Since the stage's first cell was begun."""
        return max(self.last - self.first, 1e-3) if self.first is not None else 0.0

    def columns(self, eta: str) -> tuple[str, ...]:
        """done/total, rows/s, audio seconds per second, ETA, quarantined."""
        rows = f"{self.made / self.seconds:.1f}" if self.made else "-"
        realtime = f"{self.audio_s / self.seconds:.2f}x" if self.audio_s else "-"
        return f"{self.done}/{self.total}", rows, realtime, eta, str(self.quarantined)


class Progress:
    """Context manager; `add` each record, `note` what people should know."""

    def __init__(self, stages: dict[str, tuple[int, int]], quiet: bool = False) -> None:
        """Args: stages: cells and cells committed before, by stage, in order."""
        self.stages = {name: StageProgress(total, done) for name, (total, done) in stages.items()}
        self.before = {name: done for name, (_, done) in stages.items()}
        self.quiet = quiet
        self.started = time.monotonic()
        self._last_plain = self.started
        self._live = None

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

    def eta(self) -> str:
        """Time left for all stages, from the share of cells done in this build; a dash while nothing is known."""
        total = sum(stage.total for stage in self.stages.values())
        before = sum(self.before.values())
        done = sum(stage.done for stage in self.stages.values()) - before
        if not done:
            return "-"
        left = (time.monotonic() - self.started) / done * (total - before - done)
        return f"{int(left // 60)}:{int(left % 60):02d}"

    def _plain(self) -> None:
        self._last_plain = time.monotonic()
        parts = [f"{name} {stage.done}/{stage.total}" for name, stage in self.stages.items()]
        bad = sum(stage.quarantined for stage in self.stages.values())
        elapsed = int(self._last_plain - self.started)
        sys.stderr.write(f"[{elapsed:4d} s] {', '.join(parts)}; quarantined {bad}; ETA {self.eta()}\n")
        sys.stderr.flush()

    def _table(self):
        from rich.table import Table

        table = Table(title=f"ETA {self.eta()}", title_justify="left")
        for name in ("stage", "cells", "rows/s", "real time", "quarantined"):
            table.add_column(name, justify="left" if name == "stage" else "right")
        for name, stage in self.stages.items():
            cells, rows, realtime, _, bad = stage.columns("")
            table.add_row(name, cells, rows, realtime, bad)
        return table
