"""The plan: quotas, pairs, splits and voices."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning import (
    QUOTAS,
    SHIPPED,
    Rows,
    drawn,
    growing,
    ids,
    label,
    pairs,
    planning,
)
from planning import rows as rows

from manifests.labels import CUES, NONE, SPLITS
from pipeline.draws import partner
from pipeline.stages.plan import part_table


@settings(deadline=None, max_examples=25)
@given(growing(), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_a_larger_plan_contains_the_smaller_one(quotas: tuple[dict, dict], contrastive: float) -> None:
    small, large = (planning(quota, contrastive=contrastive) for quota in quotas)
    assert ids(small) <= ids(large)
    assert {row["seed"] for row in drawn(small)} <= {row["seed"] for row in drawn(large)}


@settings(deadline=None, max_examples=25)
@given(QUOTAS)
def test_every_quota_is_met_exactly_by_different_dialogues(quotas: dict[str, Any]) -> None:
    planner = planning(quotas)
    plan = drawn(planner)
    tasks = Counter(row["task"] for row in plan)
    labels = Counter((row["task"], label(row)) for row in plan)
    for task, quota in quotas.items():
        if isinstance(quota, dict):
            assert {name: labels[task, name] for name in quota} == quota
        assert tasks[task] == (sum(quota.values()) if isinstance(quota, dict) else quota)
    assert len({row["id"] for row in plan}) == len({row["seed"] for row in plan}) == len(plan)
    assert planner.num_dialogues == len(plan)
    assert planner.counts == dict(labels)


@pytest.mark.parametrize(("task", "quota"), [("emotion", 61), ("age", 7), ("gender", 5), ("event", 20), ("multi", 300)])
def test_a_number_is_spread_evenly_over_the_labels(task: str, quota: int) -> None:
    planner = planning({task: quota})
    counts = [planner.counts.get((task, cell.name), 0) for cell in planner.cells[task]]
    assert sum(counts) == quota
    assert max(counts) - min(counts) <= 1


def test_a_small_quota_favours_no_family_of_many_labels() -> None:
    planner = planning({"multi": 60}, multi=["age", "gender", "emotion", "event"])
    for family in CUES:
        values = Counter(row[family] for row in drawn(planner))
        expected = planner.capabilities.of(family)
        assert len(values) == len([value for value in expected if value != "neutral"])
        assert max(values.values()) <= 3 * min(values.values())


def test_rows_have_the_columns_of_the_plan_with_values_that_fit(rows: Rows) -> None:
    table = part_table((tuple(row.values()) for row in rows), "key")
    assert table.num_rows == len(rows)
    assert all(table[name].null_count == 0 for name in table.column_names)
    for row in rows:
        assert set(row["cues"]) == {
            "multi": {"age", "gender", "emotion", "event"},
            "neutral": set(),
        }.get(row["task"], {row["task"]})
        assert row["split"] in SPLITS
        assert (row["turn"], row["num_turns"], row["language"], row["source"]) == (0, 1, "en", "synthetic")
        for family in ("age", "gender", "emotion"):
            assert row[family] in CUES[family]
        assert row["event"] in (*CUES["event"], NONE)


def test_only_the_cues_of_a_dialogue_are_marked(rows: Rows) -> None:
    for row in rows:
        assert (row["emotion"] != "neutral") == ("emotion" in row["cues"])
        assert (row["event"] != NONE) == ("event" in row["cues"])
        assert row["age"] == "adult" or "age" in row["cues"]


def test_voices_have_the_labels_asked_for_and_are_of_the_split(rows: Rows) -> None:
    voices = {voice.voice: voice for voice in SHIPPED.voices.voices}
    for row in rows:
        voice = voices[row["query_voice"]]
        assert (voice.role, voice.split, voice.language) == ("query", row["split"], row["language"])
        assert (voice.age, voice.gender, voice.speaker) == (row["age"], row["gender"], row["query_speaker"])
        assert voices[row["reply_voice"]].role == "reply"


@pytest.mark.parametrize("column", ["scenario", "query_speaker", "pair"])
def test_splits_share_nothing(rows: Rows, column: str) -> None:
    splits = defaultdict(set)
    for row in rows:
        splits[row[column]].add(row["split"])
    splits.pop("", None)
    assert {split for found in splits.values() for split in found} == set(SPLITS)
    assert all(len(found) == 1 for found in splits.values())


def test_slots_fill_the_scenario(rows: Rows) -> None:
    scenarios = {scenario.id: scenario for scenario in SHIPPED.bank.scenarios}
    for row in rows:
        scenario = scenarios[row["scenario"]]
        assert (row["topic"], row["scenario_hash"]) == (scenario.topic, scenario.content_hash())
        slots = json.loads(row["slots"])
        assert all(slots[name] in values for name, values in scenario.slots.items())
        assert slots.keys() == scenario.slots.keys()


def test_many_scenarios_slots_and_voices_are_used(rows: Rows) -> None:
    train = [row for row in rows if row["split"] == "train"]
    scenarios = [scenario for scenario in SHIPPED.bank.scenarios if scenario.split == "train"]
    assert len({row["scenario"] for row in train}) > 0.9 * len(scenarios)
    assert {row["query_voice"] for row in train} == {
        voice.voice
        for voice in SHIPPED.voices.voices
        if (voice.split, voice.role, voice.language) == ("train", "query", "en")
    }
    assert len({(row["scenario"], row["slots"]) for row in train}) > 0.5 * len(train)


def test_a_pair_says_the_same_in_contrasting_cues(rows: Rows) -> None:
    groups = pairs(rows)
    assert len(groups) > 200
    for group in groups.values():
        one, two = group
        for column in ("task", "split", "scenario", "slots", "scenario_hash", "language", "reply_voice"):
            assert one[column] == two[column]
        assert one["cues"] == two["cues"]
        assert label(one) != label(two)
        assert one["id"] != two["id"]
        assert one["seed"] != two["seed"]


@settings(deadline=None, max_examples=25)
@given(QUOTAS, st.floats(0, 1))
def test_both_members_of_a_pair_are_there(quotas: dict[str, Any], contrastive: float) -> None:
    assert all(len(group) == 2 for group in pairs(drawn(planning(quotas, contrastive=contrastive))).values())


@pytest.mark.parametrize("contrastive", [0.0, 0.25, 0.5, 0.8, 1.0])
@pytest.mark.parametrize(("task", "quota"), [("emotion", 600), ("gender", 200)])
def test_as_many_rows_are_paired_as_asked(task: str, quota: int, contrastive: float) -> None:
    plan = drawn(planning({task: quota}, contrastive=contrastive))
    assert sum(bool(row["pair"]) for row in plan) / len(plan) == pytest.approx(contrastive, abs=0.02)


@pytest.mark.parametrize("contrastive", [0.25, 0.5, 1.0])
@pytest.mark.parametrize(("task", "labels"), [("age", 3), ("event", 7)])
def test_an_odd_number_of_labels_is_paired_as_much_as_asked_or_can_be(
    task: str, labels: int, contrastive: float
) -> None:
    plan = drawn(planning({task: labels * 100}, contrastive=contrastive))
    share = sum(bool(row["pair"]) for row in plan) / len(plan)
    assert share == pytest.approx(min(contrastive, (labels - 1) / labels), abs=0.02)
    paired = Counter(label(row) for row in plan if row["pair"])
    assert max(paired.values()) < 1.4 * min(paired.values())


def test_as_many_ages_are_paired_as_asked() -> None:
    plan = drawn(planning({"age": 300}, contrastive=0.5))
    assert sum(bool(row["pair"]) for row in plan) / len(plan) == pytest.approx(0.5, abs=0.05)


def test_every_label_is_contrasted_with_every_other() -> None:
    met = {tuple(sorted(map(label, group))) for group in pairs(drawn(planning({"emotion": 240}))).values()}
    emotions = [emotion for emotion in CUES["emotion"] if emotion != "neutral"]
    assert met == {(one, two) for one in emotions for two in emotions if one < two}


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 40), st.integers(0, 1000), st.data())
def test_a_partner_is_another_and_its_partner_in_turn(cells: int, turn: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, cells - 1))
    other = partner(index, turn, cells)
    if other is None:
        assert cells % 2
    else:
        assert other != index
        assert 0 <= other < cells
        assert partner(other, turn, cells) == index


@pytest.mark.parametrize("cells", [*range(2, 13), 252])
def test_over_the_rounds_everyone_meets_everyone(cells: int) -> None:
    rounds = cells - 1 + cells % 2
    for index in range(cells):
        met = [partner(index, turn, cells) for turn in range(rounds)]
        assert sorted(other for other in met if other is not None) == [n for n in range(cells) if n != index]


def test_nobody_is_a_partner_of_one() -> None:
    assert partner(0, 5, 1) is None
