"""Making a cell: rows fail one by one, what is made is copied, and the result is decided by the inputs alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests import schema
from manifests.errors import UserError
from manifests.ids import content_hash
from manifests.ledger import CellRecord, Ledger
from pipeline.cell import WORKER_DIED, CellJob, run_cell
from pipeline.join import by_dialogue, join_rows
from pipeline.stage import Row, Stage, value_bytes

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


@pytest.mark.parametrize("size", [1, 2, 3, 8, 100])
def test_rows_keep_their_order_and_carry_what_the_stage_writes(bench: Bench, size: int) -> None:
    bench.stage = ShoutStage(size=size)
    record, worker = bench.work()
    assert worker.seen == TEXTS
    assert max(map(len, worker.batches)) == min(size, len(TEXTS))
    table = bench.ledger.load(record)
    assert table.schema.metadata[b"echat.schema_version"] == str(schema.SCHEMA_VERSION).encode()
    assert table.column_names == ["id", "turn", "row_key", "error", "shout", "length", "tokens"]
    assert table["id"].to_pylist() == [name(place) for place in range(len(TEXTS))]
    assert table["shout"].to_pylist() == [text.upper() for text in TEXTS]
    assert table["tokens"].to_pylist() == [[len(text), 0] for text in TEXTS]
    assert set(table["error"].to_pylist()) == {""}
    assert len(set(table["row_key"].to_pylist())) == len(TEXTS)
    assert (record.rows, record.failures) == (len(TEXTS), [])
    assert record.metrics["made"] == len(TEXTS)
    assert record.metrics["audio_s"] == sum(map(len, TEXTS))


def test_an_empty_part_is_made_without_a_worker(bench: Bench) -> None:
    bench.source([])
    assert bench.make().rows == 0


@settings(deadline=None, max_examples=25)
@given(st.sets(st.sampled_from(TEXTS)), st.sampled_from([1, 2, 8]), st.permutations(TEXTS))
def test_exactly_the_failing_rows_are_quarantined_whatever_their_company(bad, size, texts) -> None:
    with benches() as [bench]:
        bench.stage = ShoutStage(size=size)
        bench.source(texts)
        record, worker = bench.work(raising(*bad))
        assert bench.column(record, "shout") == [None if text in bad else text.upper() for text in texts]
        assert bench.column(record, "error") == ["shout:RuntimeError" if text in bad else "" for text in texts]
        assert [failure["id"] for failure in record.failures] == [name(texts.index(t)) for t in texts if t in bad]
        assert set(worker.seen) == set(texts)
        assert record.metrics["made"] == len(texts) - len(bad)


@pytest.mark.parametrize("bad", TEXTS[:8])
def test_a_failing_row_is_found_by_halving_its_batch(bench: Bench, bad: str) -> None:
    bench.stage = ShoutStage(size=8)
    bench.source(TEXTS[:8])
    _, worker = bench.work(raising(bad))
    assert sorted(map(len, worker.batches), reverse=True) == [8, 4, 4, 2, 2, 1, 1]


def test_a_failure_tells_what_happened(bench: Bench) -> None:
    record, _ = bench.work(raising("three"))
    [failure] = record.failures
    assert failure["stage"] == "shout"
    assert (failure["id"], failure["turn"], failure["attempt"]) == (name(3), 0, 1)
    assert (failure["type"], failure["message"]) == ("RuntimeError", "cannot shout three")
    assert "Traceback" in failure["traceback"]
    assert "cannot shout three" in failure["traceback"]
    assert len(record.failures) == 1


def left_out(texts: list[str]) -> list[dict[str, Any]]:
    """Leaves a column out for `two`."""
    return [{"shout": "X"} if text == "two" else good(text) for text in texts]


@pytest.mark.parametrize("size", [1, 8])
@pytest.mark.parametrize(
    "fault",
    [
        left_out,
        writing("two", extra="column"),
        writing("two", shout=None),
        writing("two", length=None),
        writing("two", tokens=None),
        writing("two", shout=5),
        writing("two", length="long"),
        writing("two", length=2**40),
        writing("two", tokens=7),
        writing("two", tokens=["a"]),
        writing("two", shout="\ud800"),
        lambda texts: [None if text == "two" else good(text) for text in texts],
        lambda texts: [["list"] if text == "two" else good(text) for text in texts],
        writing("two", length=1.5),
        writing("two", tokens=[1, None]),
    ],
    ids=[
        *("column left out", "column too many", "no text", "no number", "no list", "number as text"),
        *("text as number", "number too big", "number as list", "text in list", "no unicode"),
        *("no row", "list as row", "fraction as integer", "hole in list"),
    ],
)
def test_what_does_not_fit_the_columns_is_a_failure_of_its_row(bench: Bench, fault: Fault, size: int) -> None:
    bench.stage = ShoutStage(size=size)
    record, _ = bench.work(fault)
    assert [failure["id"] for failure in record.failures] == [name(2)]
    expected = [text.upper() for text in TEXTS]
    expected[2] = None
    assert bench.column(record, "shout") == expected


@pytest.mark.parametrize(
    "results", [lambda texts: [], lambda texts: [good(text) for text in texts] * 2, lambda texts: 7, lambda texts: ()]
)
def test_a_wrong_number_of_results_is_a_failure_of_each_row(bench: Bench, results: Fault) -> None:
    bench.stage = ShoutStage(size=4)
    record, _ = bench.work(results)
    assert len(record.failures) == len(TEXTS)
    assert record.metrics["made"] == 0


def test_a_worker_that_loses_count_in_batches_is_asked_row_by_row(bench: Bench) -> None:
    bench.stage = ShoutStage(size=8)
    record, _ = bench.work(lambda texts: [good(text) for text in texts[: max(1, len(texts) - 1)]])
    assert record.failures == []
    assert bench.column(record, "shout") == [text.upper() for text in TEXTS]


def test_wrong_input_is_no_failure_of_a_row(bench: Bench) -> None:
    def missing(texts: list[str]) -> None:
        raise UserError("the model is missing")

    with pytest.raises(UserError, match="model is missing"):
        bench.work(missing)
    assert list(bench.ledger.history("shout", [0])) == []


def test_a_failure_in_words_that_are_no_unicode_is_a_failure_of_its_row(bench: Bench) -> None:
    def fault(texts: list[str]) -> None:
        if "two" in texts:
            raise RuntimeError("no such file: caf\udce9")

    record, _ = bench.work(fault)
    assert [item["id"] for item in record.failures] == [name(2)]


def test_a_long_story_is_cut(bench: Bench) -> None:
    def fault(texts: list[str]) -> None:
        raise RuntimeError("x" * 10**6)

    record, _ = bench.work(fault)
    assert all(len(failure["message"]) + len(failure["traceback"]) < 10_000 for failure in record.failures)


@pytest.mark.parametrize("size", [1, 8])
def test_what_failed_before_is_carried_and_not_tried(bench: Bench, size: int) -> None:
    bench.stage = ShoutStage(size=size)
    texts: list[str | None] = [*TEXTS[:4], None]
    bench.source(texts, errors={1: "rate:ValueError", 4: "plan:Oops"})
    record, worker = bench.work(raising("three"))
    assert set(worker.seen) == {"zero", "two", "three"}
    assert bench.column(record, "error") == ["", "rate:ValueError", "", "shout:RuntimeError", "plan:Oops"]
    assert bench.column(record, "shout") == ["ZERO", None, "TWO", None, None]
    assert [failure["id"] for failure in record.failures] == [name(3)], "those of other stages are in their records"
    assert record.metrics["skipped"] == 2


def test_nothing_to_do_opens_no_worker(bench: Bench) -> None:
    bench.source(TEXTS, errors=dict.fromkeys(range(len(TEXTS)), "rate:ValueError"))
    assert bench.make().metrics["made"] == 0


def test_a_second_run_gives_the_record_and_does_no_work(bench: Bench) -> None:
    record, _ = bench.work(raising("two"))
    assert bench.make() == record


@settings(deadline=None, max_examples=12)
@given(st.sets(st.sampled_from(TEXTS), max_size=4), st.integers(2, 12))
def test_the_size_of_batches_decides_nothing(bad: set[str], size: int) -> None:
    with benches(3) as [one, many, single]:
        records = []
        for bench, rows, job in ((one, 1, {}), (many, size, {}), (single, size, {"one_by_one": True})):
            bench.stage = ShoutStage(size=rows)
            bench.source(TEXTS)
            records.append(bench.work(raising(*bad), **job)[0])
        assert len({(record.key, record.sha256) for record in records}) == 1
        assert all(len(batch) == 1 for batch in single.crumbs)


def test_only_rows_with_other_inputs_are_made_again(bench: Bench) -> None:
    first, _ = bench.work()
    bench.source([*TEXTS[:5], "changed", *TEXTS[6:], "added"])
    second, worker = bench.work()
    assert worker.seen == ["changed", "added"]
    assert second.key != first.key
    assert bench.column(second, "shout")[4:7] == ["FOUR", "CHANGED", "SIX"]
    assert (second.metrics["made"], second.metrics["copied"]) == (2, len(TEXTS) - 1)
    assert second.metrics["audio_s"] == len("changed") + len("added"), "copied audio does not count as made"


def test_a_column_that_is_not_read_makes_nothing_again(bench: Bench) -> None:
    first, _ = bench.work()
    bench.source(TEXTS, unread=["x"] * len(TEXTS))
    second = bench.make()
    assert second.key != first.key
    assert second.metrics["copied"] == len(TEXTS)
    assert second.sha256 == first.sha256


@pytest.mark.parametrize("change", ["config", "version"])
def test_another_stage_makes_every_row_again_and_going_back_none(
    bench: Bench, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = bench.stage
    first, _ = bench.work()
    with monkeypatch.context() as patch:
        if change == "config":
            bench.stage = replace(plain, mark="!")
        else:
            patch.setattr(ShoutStage, "version", 2)
        second, worker = bench.work()
        assert worker.seen == TEXTS
        assert second.key != first.key
        assert not set(bench.column(second, "row_key")) & set(bench.column(first, "row_key"))
        assert bench.make() == second
    bench.stage = plain
    assert bench.make() == first


def test_swapped_inputs_are_not_mixed_up(bench: Bench) -> None:
    bench.work()
    bench.source(["one", "zero", *TEXTS[2:]])
    record, worker = bench.work()
    assert worker.seen == ["one", "zero"]
    assert bench.column(record, "shout")[:3] == ["ONE", "ZERO", "TWO"]


def test_after_retiring_only_failed_rows_are_tried_and_attempts_count_up(bench: Bench) -> None:
    for attempt, bad in enumerate([("two", "four", "six"), ("four", "six"), ("six",)], start=1):
        record, worker = bench.work(raising(*bad))
        tried = TEXTS if attempt == 1 else ["two", "four", "six"][attempt - 2 :]
        assert worker.seen == tried
        assert [(item["id"], item["attempt"]) for item in record.failures] == [
            (name(TEXTS.index(text)), attempt) for text in bad
        ]
        bench.ledger.retire(record)
    record, worker = bench.work()
    assert worker.seen == ["six"]
    assert record.failures == []
    assert bench.column(record, "shout") == [text.upper() for text in TEXTS]
    assert bench.column(record, "error") == [""] * len(TEXTS)


def test_rows_made_under_another_number_of_parts_are_copied(bench: Bench) -> None:
    bench.source(TEXTS, part=0)
    bench.work(part=0)
    bench.source(TEXTS, part=1, unread=["x"] * len(TEXTS))
    assert bench.make(part=1, related=(0, 1)).metrics["copied"] == len(TEXTS)
    bench.source(TEXTS, part=2, unread=["y"] * len(TEXTS))
    assert bench.work(part=2, related=(2,))[0].metrics["copied"] == 0


@pytest.mark.parametrize("size", [1, 8])
def test_poison_never_reaches_the_worker(bench: Bench, size: int) -> None:
    bench.stage = ShoutStage(size=size)
    poison = ((name(2), 0), (name(9), 0), ("another row", 0), (name(3), 1))
    record, worker = bench.work(poison=poison)
    assert worker.seen == [text for text in TEXTS if text not in ("two", "nine")]
    assert [(item["id"], item["type"]) for item in record.failures] == [(name(2), WORKER_DIED), (name(9), WORKER_DIED)]
    assert bench.column(record, "error")[2] == f"shout:{WORKER_DIED}"
    assert not {row for batch in bench.crumbs for row in batch} & set(poison)


def test_poison_alone_opens_no_worker(bench: Bench) -> None:
    assert len(bench.make(poison=tuple((name(place), 0) for place in range(len(TEXTS)))).failures) == len(TEXTS)


def test_the_rows_in_hand_are_noted_before_each_batch(bench: Bench) -> None:
    bench.stage = ShoutStage(size=4)
    noted: list[int] = []
    _, worker = bench.work(lambda texts: noted.append(len(bench.crumbs)))
    assert noted == [1, 2, 3]
    assert bench.crumbs == [[(name(TEXTS.index(text)), 0) for text in batch] for batch in worker.batches]


def test_vanished_inputs_are_wrong_input(bench: Bench) -> None:
    for path in bench.ledger.folder("source").glob("*.parquet"):
        path.unlink()
    with pytest.raises(UserError, match="run build again"):
        bench.work()


def test_a_measurement_that_is_no_number_can_be_read(bench: Bench) -> None:
    bench.stage = ShoutStage(columns=("source.text", "source.weight"))
    bench.source(TEXTS, weight=[float("nan")] * len(TEXTS))
    record, _ = bench.work()
    assert record.rows == len(TEXTS)


def test_values_of_different_types_have_different_keys() -> None:
    values = [None, "", b"", "1", b"1", 1, 1.0, True, [1], ["1"], [], "null", "[]", b"\x00"]
    assert len({value_bytes(value) for value in values}) == len(values)


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


def test_stages_are_joined_by_place_and_the_first_error_stands(bench: Bench) -> None:
    records = two_stages(bench, [name(0), name(1), name(2)])
    rows, errors = join_rows(bench.ledger, records, ("second.text", "source.text", "elsewhere.text"))
    assert rows[2] == {"id": name(2), "turn": 0, "source.text": "two", "second.text": "c"}
    assert errors == ["", "plan:First", "plan:First"]


@pytest.mark.parametrize("places", [(0, 2, 1), (0, 1), (0, 1, 3)])
def test_other_rows_are_never_joined(bench: Bench, places: tuple[int, ...]) -> None:
    records = two_stages(bench, [name(place) for place in places])
    with pytest.raises(UserError, match="does not hold the rows of part 0") as error:
        join_rows(bench.ledger, records, ("source.text", "second.text"))
    assert records[1].data in str(error.value)


def test_turns_are_grouped_by_dialogue_with_the_first_error() -> None:
    rows = [{"id": name, "turn": turn} for name, turn in (("a", 0), ("a", 1), ("b", 0), ("c", 0), ("c", 1))]
    grouped = by_dialogue(rows, ["", "", "one:X", "", "two:Y"])
    assert [([row["turn"] for row in turns], error) for turns, error in grouped] == [
        ([0, 1], ""),
        ([0], "one:X"),
        ([0, 1], "two:Y"),
    ]
