"""A bench for cells: a small stage that fails on demand, on a real ledger."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from manifests import schema
from manifests.ids import content_hash
from manifests.ledger import CellRecord, Ledger
from pipeline.cell import CellJob, run_cell
from pipeline.stage import Row, Stage

TEXTS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


SOURCE = pa.schema([("text", pa.string()), ("weight", pa.float64()), ("unread", pa.string())])


Fault = Callable[[list[str]], Any]


class Shout:
    """A worker that writes a text in capitals and its length, with a fault to order; it notes what it was given."""

    def __init__(self, mark: str, fault: Fault | None = None) -> None:
        self.mark, self.fault = mark, fault
        self.batches: list[list[str]] = []

    @property
    def seen(self) -> list[str]:
        """Every text given, in order; more than once when a batch was halved."""
        return [text for batch in self.batches for text in batch]

    def process(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        texts = [row["source.text"] for row in rows]
        self.batches.append(texts)
        faulty = self.fault(texts) if self.fault else None
        if faulty is not None:
            return faulty
        return [good(text, self.mark) for text in texts]


def good(text: str, mark: str = "") -> dict[str, Any]:
    """What a faultless worker makes of a text."""
    return {"shout": text.upper() + mark, "length": len(text), "tokens": [len(text), 0]}


@dataclass(frozen=True)
class ShoutStage(Stage):
    """The stage of `Shout`; `mark` is in its key and `size`, its batch size, is not."""

    mark: str = ""
    size: int = 1
    columns: tuple[str, ...] = ("source.text",)

    name = "shout"
    version = 1
    writes = pa.schema([("shout", pa.string()), ("length", pa.int32()), ("tokens", pa.list_(pa.int32()))])

    @property
    def reads(self) -> tuple[str, ...]:
        return self.columns

    @property
    def batch_rows(self) -> int:
        return self.size

    def keyed(self) -> dict[str, Any]:
        return {"mark": self.mark}

    def audio_seconds(self, row: Any) -> float:
        return float(row["length"])


@dataclass
class Bench:
    """A run folder with a source, on which cells of the stage are made."""

    run: Path
    stage: ShoutStage = ShoutStage()
    source_key: str = ""
    crumbs: list[list[tuple[str, int]]] = field(default_factory=list)

    @property
    def ledger(self) -> Ledger:
        """A fresh one, as every process has."""
        return Ledger(self.run)

    def source(
        self, texts: Sequence[str | None], errors: dict[int, str] | None = None, part: int = 0, **columns: list[Any]
    ) -> None:
        """Commit the input cell."""
        num = len(texts)
        table = pa.table(
            {
                "id": [name(place) for place in range(num)],
                "turn": [0] * num,
                "row_key": ["k"] * num,
                "error": [(errors or {}).get(place, "") for place in range(num)],
                "text": texts,
                "weight": columns.get("weight", [1.0] * num),
                "unread": columns.get("unread", [""] * num),
            },
            schema=schema.stage_schema(SOURCE),
        )
        self.source_key = content_hash([texts, repr(errors), repr(columns)])
        self.ledger.commit("source", part, self.source_key, table, [], {})

    def make(self, worker: Shout | None = None, part: int = 0, **job: Any) -> CellRecord:
        """Make the cell; without a worker, opening one is a mistake."""

        def open_worker() -> Shout:
            assert worker is not None, "the worker is not needed"
            return worker

        self.crumbs.clear()
        return run_cell(
            self.stage,
            CellJob("shout", part, {"source": self.source_key}, **job),
            self.ledger,
            open_worker,
            lambda rows: self.crumbs.append(list(rows)),
        )

    def work(self, fault: Fault | None = None, **job: Any) -> tuple[CellRecord, Shout]:
        """Make the cell with a new worker."""
        worker = Shout(self.stage.mark, fault)
        return self.make(worker, **job), worker

    def column(self, record: CellRecord, column: str) -> list[Any]:
        """A column of a made cell."""
        return self.ledger.load(record)[column].to_pylist()


def name(place: int) -> str:
    """The id of a row."""
    return f"{place:020x}"


@contextmanager
def benches(number: int = 1) -> Iterator[list[Bench]]:
    """Benches for one example."""
    with tempfile.TemporaryDirectory() as folder:
        yield [Bench(Path(folder) / str(place)) for place in range(number)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.source(TEXTS)
    return made


def raising(*bad: str) -> Fault:
    """Fails for a whole batch when one of these texts is in it."""

    def fault(texts: list[str]) -> None:
        for text in texts:
            if text in bad:
                raise RuntimeError(f"cannot shout {text}")

    return fault


def writing(text: str, **columns: Any) -> Fault:
    """Writes other values for one text."""

    def fault(texts: list[str]) -> list[dict[str, Any]]:
        return [good(item) | (columns if item == text else {}) for item in texts]

    return fault


def left_out(texts: list[str]) -> list[dict[str, Any]]:
    """Leaves a column out for `two`."""
    return [{"shout": "X"} if text == "two" else good(text) for text in texts]


def two_stages(bench: Bench, ids: Sequence[str]) -> list[CellRecord]:
    """The source, and a second stage over rows of these ids."""
    bench.source(TEXTS[:3], errors={1: "plan:First", 2: "plan:First"})
    table = pa.table(
        {
            "id": list(ids),
            "turn": [0] * len(ids),
            "row_key": ["k"] * len(ids),
            "error": ["", "rate:Second", ""][: len(ids)],
            "text": ["a", "b", "c"][: len(ids)],
        },
        schema=schema.stage_schema(pa.schema([("text", pa.string())])),
    )
    second = bench.ledger.commit("second", 0, "0" * 16, table, [], {})
    first = bench.ledger.find("source", 0, bench.source_key)
    assert first is not None
    return [first, second]
