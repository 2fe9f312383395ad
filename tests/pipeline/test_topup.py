"""Yields and top-ups in the plan: what is added leaves what was there, and a retry differs in its seed alone."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning import QUOTAS, SHIPPED, drawn, ids, label, planning, refusal

from manifests.errors import UserError
from manifests.ids import ID_FIELDS
from manifests.ledger import Ledger
from manifests.topup import NO_TOPUP, Round, TopUp, read_topup, topup_path, write_topup
from pipeline.planner import Planner
from pipeline.stages.plan import Plan, run_plan
from pipeline.topup import LEAST_YIELD, Shortage, added, shortages

SAD, HAPPY = ("emotion", "sad"), ("emotion", "happy")
SMALL: dict[str, Any] = {"emotion": {"sad": 6, "happy": 6}, "neutral": 3}


def topped(planner: Planner, *rounds: Round) -> Planner:
    """The planner of a run with these rounds."""
    return replace(planner, topup=TopUp(rounds))


@settings(deadline=None, max_examples=25)
@given(QUOTAS, st.floats(0.05, 1))
def test_quotas_are_divided_by_the_yield(quotas: dict[str, Any], ratio: float) -> None:
    plain, more = planning(quotas), planning(quotas, yields=ratio)
    assert more.quotas == plain.quotas == plain.counts
    for cell, quota in plain.counts.items():
        assert quota / ratio - 1e-6 <= more.counts[cell] < quota / ratio + 1
    assert ids(plain) <= ids(more)


@pytest.mark.parametrize(
    ("yields", "planned"),
    [
        (1.0, 21),
        (0.7, 30),
        (0.5, 42),
        ({"emotion": 0.7}, 30),
        ({"emotion": {"sad": 0.3}}, 70),
        ({"emotion": {"happy": 0.3}}, 21),
        ({"age": 0.1}, 21),
    ],
)
def test_a_yield_is_of_all_of_a_task_or_of_a_label(yields: Any, planned: int) -> None:
    assert planning({"emotion": {"sad": 21}}, yields=yields).counts == {SAD: planned}


def test_a_yield_of_a_label_that_there_is_not_is_refused() -> None:
    assert "plan.yields.emotion.bored" in refusal(planning({"emotion": 3}, yields={"emotion": {"bored": 0.5}}))


def test_a_yield_that_scenarios_and_voices_do_not_suffice_for_is_refused() -> None:
    room = planning({"neutral": 1}).room("neutral", "neutral")
    assert planning({"neutral": room}).counts
    assert "cannot be met in split" in refusal(planning({"neutral": room + 1}))
    assert "cannot be met in split" in refusal(planning({"neutral": room // 2}, yields=0.4))
    assert "cannot be met in split" in refusal(
        topped(planning({"neutral": room - 1}), Round({("neutral", "neutral"): 2}))
    )


CELLS = st.sampled_from([SAD, HAPPY, ("neutral", "neutral")])
ROUNDS = st.builds(
    Round,
    st.dictionaries(CELLS, st.integers(0, 5)),
    st.dictionaries(CELLS, st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3)), unique=True).map(tuple)),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(ROUNDS, max_size=3))
def test_a_round_adds_rows_and_changes_none(rounds: list[Round]) -> None:
    before, planner = drawn(planning(SMALL)), topped(planning(SMALL), *rounds)
    after = {row["id"]: row for row in drawn(planner)}
    assert len(after) == len(drawn(planner)) == planner.num_dialogues
    for row in before:
        assert {**after[row["id"]], "pair": ""} == {**row, "pair": ""}
    tries = {(cell, *row) for item in rounds for cell, rows in item.retries.items() for row in rows}
    tries = {(cell, number, attempt) for cell, number, attempt in tries if number < planner.counts[cell]}
    extra = sum(sum(item.extra.values()) for item in rounds)
    assert len(after) == len(before) + extra + len(tries)
    rows = Counter((row["task"], label(row), row["number"], row["attempt"]) for row in after.values())
    assert set(rows.values()) == {1}
    assert {((task, name), number, attempt) for task, name, number, attempt in rows if attempt} == tries
    for cell in planner.counts:
        ends = [planning(SMALL).counts[cell]]
        for item in rounds:
            ends.append(ends[-1] + item.extra.get(cell, 0))
        own = [row for row in after.values() if (row["task"], label(row)) == cell and not row["attempt"]]
        for row in own:
            assert row["number"] < ends[row["round"]]
            assert row["round"] == 0 or row["number"] >= ends[row["round"] - 1]


def test_no_retry_is_drawn_twice_over_rounds() -> None:
    rounds = [Round({}, {SAD: ((2, 1),)}), Round({}, {SAD: ((2, 2),)})]
    planner = topped(planning(SMALL), *rounds)
    again = [row for row in drawn(planner) if row["number"] == 2 and label(row) == "sad"]
    assert sorted((row["attempt"], row["round"]) for row in again) == [(0, 0), (1, 1), (2, 2)]


def test_a_retry_differs_in_its_seed_and_what_is_drawn_from_it() -> None:
    planner = topped(planning(SMALL, contrastive=1.0), Round({}, {SAD: ((2, 1), (2, 2), (4, 1))}))
    rows = drawn(planner)
    for again in (row for row in rows if row["attempt"]):
        (first,) = [
            row for row in rows if row["number"] == again["number"] and not row["attempt"] and label(row) == "sad"
        ]
        same = (*[name for name in ID_FIELDS if name not in ("seed", "intensity")], "scenario", "query_speaker", "pair")
        assert {name: again[name] for name in same} == {name: first[name] for name in same}
        assert again["id"] != first["id"]
        assert again["seed"] != first["seed"]
    assert len({row["id"] for row in rows}) == len({row["seed"] for row in rows}) == len(rows)


def test_a_pair_of_which_nothing_was_kept_is_made_anew_by_the_retries_of_a_round() -> None:
    cells = dict.fromkeys((SAD, ("emotion", "happy")), ((2, 1),))
    plain = planning(SMALL, contrastive=1.0)
    old = {label(row): row["pair"] for row in drawn(plain) if row["number"] == 2 and row["task"] == "emotion"}
    assert old["sad"] == old["happy"] != ""
    both = topped(plain, Round({}, cells, cells))
    new = {label(row): row for row in drawn(both) if row["attempt"]}
    assert new["sad"]["pair"] == new["happy"]["pair"] not in ("", old["sad"])
    assert new["sad"]["contrast"] != "{}"
    alone = topped(plain, Round({}, {SAD: ((2, 1),)}, {SAD: ((2, 1),)}))
    (row,) = [row for row in drawn(alone) if row["attempt"]]
    assert (row["pair"], row["contrast"]) == ("", "{}"), "nobody else says these words"
    # A later attempt stays in the pair of the earlier one, for the other row of it was kept.
    later = topped(plain, Round({}, cells, cells), Round({}, {SAD: ((2, 2),)}))
    tries = {row["attempt"]: row["pair"] for row in drawn(later) if label(row) == "sad" and row["number"] == 2}
    assert tries == {0: old["sad"], 1: new["sad"]["pair"], 2: new["sad"]["pair"]}


def test_retries_of_rows_that_are_not_planned_are_left_out() -> None:
    planner = topped(planning(SMALL), Round({}, {SAD: ((5, 1), (6, 1)), ("age", "old"): ((0, 1),)}))
    assert planner.num_dialogues == 16
    assert len(drawn(planner)) == 16


def test_what_a_round_adds_is_in_the_key_and_how_often_may_be_tried_is_not() -> None:
    plain = planning(SMALL)
    keys = {
        Plan(planner).cell_key([])
        for planner in (
            plain,
            topped(plain, Round({SAD: 1})),
            topped(plain, Round({SAD: 1}), Round({SAD: 1})),
            topped(plain, Round({}, {SAD: ((0, 1),)})),
            topped(plain, Round({}, {SAD: ((0, 2),)})),
        )
    }
    assert len(keys) == 5
    assert Plan(planning(SMALL, retries=3)).cell_key([]) == Plan(plain).cell_key([])
    assert Plan(topped(plain)).cell_key([]) == Plan(plain).cell_key([])


def test_a_part_to_which_nothing_is_added_stays_the_same_bytes(tmp_path: Path) -> None:
    plain = planning({"emotion": {"sad": 30}}, part_rows=4)
    before = run_plan(Plan(plain), Ledger(tmp_path))
    after = run_plan(Plan(topped(plain, Round({SAD: 1}))), Ledger(tmp_path))
    assert len(before) == len(after) == 4
    changed = [old.part for old, new in zip(before, after, strict=True) if old.sha256 != new.sha256]
    assert len(changed) == 1
    assert {record.key for record in before}.isdisjoint(record.key for record in after)


ROUND = Round({SAD: 2}, {HAPPY: ((1, 1), (3, 2))})


def test_rounds_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert read_topup(tmp_path) is NO_TOPUP or read_topup(tmp_path) == NO_TOPUP
    topup = added(added(NO_TOPUP, ROUND), Round({SAD: 1, HAPPY: 0}))
    write_topup(tmp_path, topup)
    assert read_topup(tmp_path).content_hash() == topup.content_hash()
    assert read_topup(tmp_path).rounds[0] == ROUND
    assert read_topup(tmp_path).extra(SAD) == 3
    assert not Round({SAD: 0}, {HAPPY: ()})


def test_any_other_number_is_damage(tmp_path: Path) -> None:
    write_topup(tmp_path, TopUp((ROUND,)))
    path = topup_path(tmp_path)
    good = path.read_text()
    rounds = good[good.index('"rounds"') :]
    digits = [good.index('"rounds"') + at for at, char in enumerate(rounds) if char.isdigit()]
    assert len(digits) == 5
    for at in digits:
        path.write_text(good[:at] + str((int(good[at]) + 1) % 10) + good[at + 1 :])
        with pytest.raises(UserError, match="does not hold top-ups"):
            read_topup(tmp_path)


def test_rounds_of_before_they_had_a_hash_are_read(tmp_path: Path) -> None:
    topup_path(tmp_path).parent.mkdir()
    topup_path(tmp_path).write_text('{"format": 1, "rounds": [{"extra": {"emotion": {"sad": 2}}, "retries": {}}]}')
    assert read_topup(tmp_path).extra(SAD) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": 2, "rounds": []}',
        '{"format": 1}',
        '{"format": 1, "rounds": [{"extra": {"emotion": {"sad": -1}}, "retries": {}}]}',
        '{"format": 1, "rounds": [{"extra": {}, "retries": {"emotion": {"sad": [[1]]}}}]}',
        '{"format": 1, "rounds": [], "more": 1}',
        '{"format": 1, "hash": "0123456789abcdef", "rounds": []}',
    ],
)
def test_damaged_rounds_are_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    path = topup_path(tmp_path)
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_topup(tmp_path)
    assert str(error.value).startswith(f"{path}: does not hold top-ups of format 1; delete it")


def statistics(**sad: int) -> dict[str, Any]:
    """Counts of a selection of `SMALL` in which only sad ones are short."""
    return {"task": {"emotion": {"sad": sad, "happy": {"kept": 7}}, "neutral": {"neutral": {"kept": 3}}}}


def test_short_is_what_fewer_were_kept_of_than_asked() -> None:
    planner = planning(SMALL)
    assert shortages(planner, statistics(kept=6, rejected=3)) == ()
    (short,) = shortages(planner, statistics(kept=4, rejected=3, quarantined=2))
    assert (short.missing, short.planned, str(short)) == (2, 9, "emotion sad 4 of 6")
    assert shortages(planner, {"task": {}})[-1] == Shortage("neutral", "neutral", 3, 0, 0)
    assert str(Shortage("neutral", "neutral", 3, 0, 0)) == "neutral 0 of 3"


@pytest.mark.parametrize(
    ("quota", "kept", "planned", "draws"),
    [(6, 4, 8, 4), (100, 70, 100, 44), (1, 0, 1, 3), (10, 0, 1000, 100), (48, 47, 48, 2)],
)
def test_as_many_are_drawn_as_the_yield_so_far_asks_for(quota: int, kept: int, planned: int, draws: int) -> None:
    short = Shortage("emotion", "sad", quota, kept, planned)
    assert short.draws == draws
    assert short.draws >= short.missing
    assert short.draws <= math.ceil(short.missing / LEAST_YIELD)


def test_the_shipped_plan_has_no_rounds() -> None:
    assert SHIPPED.topup == NO_TOPUP
    assert {(row["attempt"], row["round"]) for row in drawn(SHIPPED)} == {(0, 0)}
