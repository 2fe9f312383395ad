"""What a stage is: config alone, with declared columns; a worker does the work."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import pyarrow as pa

from manifests.engine import EngineConfig, Throughput
from manifests.ids import content_hash

Row = Mapping[str, Any]
"""A row's input columns by qualified name (`script.query_text`), beside `id` and `turn`."""


REFERENCE = "voices.reference"
"""Column that is looked up by the row's `plan.query_voice`: the reference of that voice as JSON, or ""."""


class Worker(Protocol):
    """Holds the model of one stage; opened once a process."""

    def process(self, rows: Sequence[Row]) -> Sequence[dict[str, Any] | Exception]:
        """Make the columns that the stage writes, one dict a row, in order; or why a row failed.

        A row's result depends on that row alone. A row that failed is quarantined; an exception for a whole batch
        makes the caller halve it, down to the row that fails.
        """
        ...


@runtime_checkable
class Metered(Protocol):
    """A worker, or its engine, that counts what it spends."""

    def take_metrics(self) -> dict[str, Any]:
        """What was spent since this was last called, for the cell's record."""
        ...


@runtime_checkable
class Closing(Protocol):
    """A worker, or its engine, that holds something to give back, such as connections."""

    def close(self) -> None:
        """Give it back; the worker is not used any more."""
        ...


class RowWorker:
    """A worker that makes its rows one by one."""

    def process(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """See `Worker.process`."""
        return [self.make(row) for row in rows]

    def make(self, row: Row) -> dict[str, Any]:
        """The columns that the stage writes, for one row."""
        raise NotImplementedError


@dataclass(frozen=True)
class Stage:
    """Base of all stages. A subclass adds its config as fields and sets the class variables.

    Attributes:
        name: Also the folder of its cells and its section in the run manifest.
        version: Raise it whenever the stage's output changes for equal inputs, config and engine revision.
        reads: Qualified names of the columns that it reads: `stage.column`.
        writes: The columns that it adds.
        stated: Revisions of its engines where they live in another environment than this process (`Pool.revisions`).
    """

    stated: tuple[str, ...] = field(default=(), kw_only=True)

    name: ClassVar[str]
    version: ClassVar[int]
    reads: ClassVar[tuple[str, ...]]
    writes: ClassVar[pa.Schema]

    @property
    def engines(self) -> tuple[EngineConfig, ...]:
        """The engines that it runs, for revisions, checks and cost."""
        return ()

    @property
    def revisions(self) -> tuple[str, ...]:
        """Of its engines, as their own environment names them."""
        return self.stated or tuple(engine.revision() for engine in self.engines)

    @property
    def batch_rows(self) -> int:
        """Rows given to `Worker.process` at once; one, unless the engine gains from more."""
        return 1

    def keyed(self) -> dict[str, Any]:
        """The settings that decide the result, for keys."""
        return {"engines": [engine.keyed() for engine in self.engines]}

    def open(self) -> Worker:
        """Load what the stage needs; raises `UserError` when something is missing."""
        raise NotImplementedError

    def audio_seconds(self, row: Mapping[str, Any]) -> float:
        """Seconds of audio handled for an output row, for rates shown to people."""
        return 0.0

    @property
    def throughputs(self) -> tuple[Throughput, ...]:
        """Of its engines one after the other, those on cores and those on GPUs apart."""
        rates = [engine.throughput for engine in self.engines if hasattr(engine, "throughput")]
        out = []
        for unit in ("core", "gpu"):
            mine = [rate for rate in rates if rate.unit == unit]
            if mine:
                slowest = min(mine, key=lambda rate: rate.realtime)
                out.append(replace(slowest, realtime=1 / sum(1 / rate.realtime for rate in mine)))
        return tuple(out)

    def identity(self) -> dict[str, Any]:
        """Everything but the inputs that decides the stage's output."""
        return {
            "stage": self.name,
            "version": self.version,
            "config": self.keyed(),
            "revisions": list(self.revisions),
        }

    @property
    def shipped(self) -> Path | None:
        """Folder of cells that ship with the code, laid out as a ledger's; rows of equal key are copied from it."""
        return None

    @property
    def upstream(self) -> tuple[str, ...]:
        """Stages whose cells of the same part it reads, in the order first named."""
        return tuple(dict.fromkeys(column.split(".", 1)[0] for column in self.reads if column != REFERENCE))

    def cell_key(self, inputs: Sequence[str]) -> str:
        """Key of a cell from the data sha256s of its input cells: those of `upstream`, then those of its voices."""
        return content_hash({**self.identity(), "inputs": list(inputs)})


@dataclass(frozen=True)
class EngineStage(Stage):
    """A stage around one engine."""

    engine: EngineConfig

    @property
    def engines(self) -> tuple[EngineConfig, ...]:
        return (self.engine,)

    @property
    def batch_rows(self) -> int:
        return self.engine.batch_rows


def identity_digest(stage: Stage) -> bytes:
    """The part of every row key that is the same for all rows of a stage."""
    return content_hash(stage.identity(), 32).encode()


def value_bytes(value: Any) -> bytes:
    """A column value as bytes, for row keys; types cannot be confused with each other."""
    if value is None:
        return b"\x00"
    if isinstance(value, bytes):
        return b"\x01" + value
    if isinstance(value, str):
        return b"\x02" + value.encode()
    return b"\x03" + json.dumps(value, sort_keys=True).encode()  # unlike ids, also for NaN
