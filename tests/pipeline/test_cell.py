"""Making a cell: rows keep their places, failing ones are quarantined alone."""

from __future__ import annotations

import pytest
from bench import (
    TEXTS,
    Bench,
    Fault,
    ShoutStage,
    benches,
    good,
    left_out,
    name,
    raising,
    writing,
)
from bench import bench as bench
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests import schema
from manifests.errors import UserError


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
