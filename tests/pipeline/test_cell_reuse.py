"""A cell made again: what is copied, what is computed, what never reaches the engine; and joining cells."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench import (
    TEXTS,
    Bench,
    ShoutStage,
    benches,
    name,
    raising,
    two_stages,
)
from bench import bench as bench
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import UserError
from pipeline.cell import WORKER_DIED
from pipeline.join import by_dialogue, join_rows
from pipeline.stage import value_bytes


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
