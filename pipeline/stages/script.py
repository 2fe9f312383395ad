"""`script`: the words of query, reply and think text, by the engine that the manifest names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from manifests import schema
from manifests.spoken import VERSION as SPOKEN
from manifests.spoken import spoken
from pipeline.stage import Closing, EngineStage, Metered, Row
from pipeline.writers.base import ScriptConfig, Writer


@dataclass(frozen=True)
class Script(EngineStage):
    """Write each turn's query, reply and think text, and how query and reply are spoken."""

    engine: ScriptConfig

    name = "script"
    version = 4
    reads = (
        "plan.scenario", "plan.topic", "plan.slots", "plan.followup", "plan.earlier", "plan.contrast", "plan.pair",
        "plan.cues", "plan.age", "plan.gender", "plan.emotion", "plan.event", "plan.intensity", "plan.language",
        "plan.query_language", "plan.source", "plan.transcript",
    )  # fmt: skip
    writes = schema.SCRIPT

    @property
    def batch_rows(self) -> int:
        return self.engine.batch_rows

    def keyed(self) -> dict[str, Any]:
        return {**super().keyed(), "spoken": SPOKEN}

    def open(self) -> ScriptWorker:
        return ScriptWorker(self.engine.open())


class ScriptWorker:
    """Asks the writer, and says how its texts are spoken."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def process(self, rows: Sequence[Row]) -> list[dict[str, Any] | Exception]:
        """See `Worker.process`."""
        return [_spoken(row, out) for row, out in zip(rows, self.writer.write(rows), strict=True)]

    def take_metrics(self) -> dict[str, Any]:
        """What the writer spent since last time, if it counts."""
        return self.writer.take_metrics() if isinstance(self.writer, Metered) else {}

    def close(self) -> None:
        """Give back what the writer holds, if anything."""
        if isinstance(self.writer, Closing):
            self.writer.close()


def _spoken(row: Row, out: dict[str, Any] | Exception) -> dict[str, Any] | Exception:
    if isinstance(out, Exception):
        return out
    return out | {
        "query_spoken": spoken(out["query_text"], row["plan.query_language"]),
        "reply_spoken": spoken(out["reply_text"], row["plan.language"]),
    }
