"""The plan as its manifest changes, its parts, and what it refuses."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import merged
from hypothesis import given, settings
from hypothesis import strategies as st
from planning import (
    BASE,
    SHIPPED,
    drawn,
    ids,
    label,
    planning,
    refusal,
    without,
)

from manifests.ids import bucket
from manifests.labels import SPLITS
from manifests.ledger import Ledger
from manifests.run import RunManifest
from manifests.voices import Voice, VoiceTable
from pipeline import planner as planner_module
from pipeline.label_cells import Block
from pipeline.stages.plan import Plan, commit_part, expand


def test_another_seed_is_another_plan() -> None:
    one, two = drawn(planning(seed=1)), drawn(planning(seed=2))
    for column in ("id", "seed"):
        assert not {row[column] for row in one} & {row[column] for row in two}
    assert planning(seed=1).identity() != planning(seed=2).identity()


def test_the_same_manifest_is_the_same_plan() -> None:
    assert drawn(planning()) == drawn(planning())
    assert planning().identity() == SHIPPED.identity()


def test_blocks_do_not_decide_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    planner = planning({"emotion": 60, "event": 21})
    whole = drawn(planner)
    monkeypatch.setattr(planner_module, "BLOCK_ROWS", 4)
    assert len(list(planner.blocks())) > 13
    assert drawn(planner) == whole
    assert [planner.rows(Block("emotion", 2, n, n + 1))[0] for n in range(5)] == planner.rows(Block("emotion", 2, 0, 5))


def test_a_new_voice_takes_a_few_rows_and_leaves_the_rest() -> None:
    quotas = {"gender": 600, "emotion": 600}
    before = planning(quotas)
    new = Voice("new", "query", "train", "en", "female", "adult", "new", "CC0")
    old = before.voices.queries("train", "en", "adult", None)
    table = VoiceTable(Path("mine.csv"), tuple(sorted((*before.voices.voices, new), key=lambda v: v.voice)))
    after = replace(before, voices=table)
    kept = ids(before) & ids(after)
    moved = [row for row in drawn(after) if row["id"] not in kept]
    assert {row["query_voice"] for row in moved} == {"new"}
    assert {row["split"] for row in moved} == {"train"}
    assert 0 < len(moved) < 1.5 * 1200 / (len(old) + 1)


def test_a_new_scenario_takes_a_few_rows_and_leaves_the_rest() -> None:
    before = planning({"emotion": 1200})
    first = next(scenario for scenario in before.bank.scenarios if scenario.split == "train")
    new = first.model_copy(update={"id": "brand-new"})
    bank = before.bank.model_copy(update={"scenarios": (new, *before.bank.scenarios)})
    after = replace(before, bank=bank)
    kept = ids(before) & ids(after)
    moved = [row for row in drawn(after) if row["id"] not in kept]
    assert {row["scenario"] for row in moved} == {"brand-new"}
    assert 0 < len(moved) < 3 * 1200 / len(bank.scenarios)


def test_an_edited_scenario_changes_its_own_rows_alone() -> None:
    before = planning({"emotion": 600})
    first, *others = before.bank.scenarios
    edited = first.model_copy(update={"replies": {**first.replies, "neutral": "Another reply."}})
    after = replace(before, bank=before.bank.model_copy(update={"scenarios": (edited, *others)}))
    gone = ids(before) - ids(after)
    assert gone
    assert {row["scenario"] for row in drawn(before) if row["id"] in gone} == {first.id}
    assert {row["id"] for row in drawn(before) if row["scenario"] == first.id} == gone


@pytest.mark.parametrize("splits", [{"train": 0.8, "validation": 0.1, "test": 0.1}, {"train": 0.5, "test": 0.5}])
def test_splits_have_their_shares(splits: dict[str, float]) -> None:
    plan = drawn(planning({"emotion": 2000}, splits=splits))
    shares = Counter(row["split"] for row in plan)
    assert {split: count / 2000 for split, count in shares.items()} == pytest.approx(splits, abs=0.04)


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_can_have_everything(split: str) -> None:
    plan = drawn(planning({"emotion": 60}, splits={**dict.fromkeys(SPLITS, 0.0), split: 1.0}))
    assert {row["split"] for row in plan} == {split}


def test_intensity_is_in_its_range_and_zero_without_emotion() -> None:
    plan = drawn(planning({"emotion": 120, "gender": 40}, intensity=[0.3, 0.6]))
    shown = [row["intensity"] for row in plan if row["emotion"] != "neutral"]
    assert min(shown) >= 0.3
    assert max(shown) <= 0.6
    assert max(shown) - min(shown) > 0.25
    assert {row["intensity"] for row in plan if row["emotion"] == "neutral"} == {0.0}


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 2000), st.integers(1, 300))
def test_parts_are_a_power_of_two_and_hold_one_to_two_times_what_is_asked(quota: int, part_rows: int) -> None:
    parts = planning({"neutral": quota}, part_rows=part_rows).num_parts
    assert parts & (parts - 1) == 0
    assert quota / parts <= 2 * part_rows
    assert parts == 1 or quota / parts > part_rows


def test_every_row_is_written_to_the_part_of_its_id_once(tmp_path: Path) -> None:
    planner = planning({"emotion": 120, "event": 70}, part_rows=8)
    assert planner.num_parts == 16
    groups: dict[int, list] = {part: [] for part in range(planner.num_parts)}
    for block in planner.blocks():
        for part, dealt in expand(block, planner):
            groups[part].append(dealt)
    key = Plan(planner).cell_key([])
    for part, group in groups.items():
        assert commit_part((part, group), str(tmp_path), key, "row") == sum(map(len, group))
    found = []
    for part in groups:
        record = Ledger(tmp_path).find("plan", part, key)
        assert record is not None
        made = Ledger(tmp_path).load(record)["id"].to_pylist()
        assert made == sorted(made)
        assert {bucket(name, planner.num_parts) for name in made} <= {part}
        found += made
    assert sorted(found) == sorted(row["id"] for row in drawn(planner))


def test_the_order_in_which_rows_come_does_not_change_a_part(tmp_path: Path) -> None:
    dealt = [row for block in planning().blocks() for row in planning().rows(block)]
    for folder, groups in (("a", [dealt]), ("b", [dealt[20:][::-1], [], dealt[:20]])):
        commit_part((0, groups), str(tmp_path / folder), "0" * 16, "row")
        commit_part((0, groups[::-1]), str(tmp_path / folder), "0" * 16, "row")
    files = list(tmp_path.rglob("*.parquet"))
    assert len(files) == 2
    assert files[0].name == files[1].name
    assert pq.read_table(files[0]).num_rows == len(dealt)


def test_a_label_that_the_speaker_cannot_render_is_refused() -> None:
    able = replace(SHIPPED.capabilities, emotions=("neutral", "sad"), events=())
    planner = replace(planning({"emotion": {"happy": 3}}), capabilities=able)
    message = refusal(planner)
    assert "plan.quotas.emotion.happy" in message
    assert "tone cannot render it; use sad" in message
    assert "renders no event" in refusal(replace(planning({"event": 3}), capabilities=able))
    assert "renders no event" in refusal(replace(planning({"event": {"cough": 3}}), capabilities=able))
    kept = replace(planning({"emotion": 3, "event": 0}), capabilities=able)
    assert kept.counts == {("emotion", "sad"): 3}


@pytest.mark.parametrize("name", ["bored", "neutral", "happy+old"])
def test_an_unknown_label_is_refused_with_those_that_are_known(name: str) -> None:
    message = refusal(planning({"emotion": {name: 1}}))
    assert f"plan.quotas.emotion.{name}" in message
    assert "use happy, sad, angry, fear, disgust, surprise" in message


def test_a_label_of_multi_is_named_in_the_order_of_its_families() -> None:
    planner = planning({"multi": {"sad+male": 3}}, multi=["emotion", "gender"])
    assert {label(row) for row in drawn(planner)} == {"sad+male"}
    assert "male+sad" in refusal(planning({"multi": {"male+sad": 3}}, multi=["emotion", "gender"]))


@pytest.mark.parametrize("who", ["speak_query", "speak_reply"])
def test_a_language_that_is_not_spoken_is_refused(who: str) -> None:
    if who == "speak_query":
        planner = replace(SHIPPED, capabilities=replace(SHIPPED.capabilities, languages=("zh",)))
    else:
        planner = replace(SHIPPED, reply_languages=("zh",))
    message = refusal(planner)
    assert f"language: {who} cannot speak 'en'" in message
    assert "zh" in message


def test_a_quota_without_a_voice_is_refused() -> None:
    lacking = {"split": "test", "age": "old", "gender": "male"}
    assert without(planning({"age": 30, "gender": 30}), **lacking).num_dialogues == 60
    message = refusal(without(planning({"age": 30}), split="test", age="old"))
    assert "plan.quotas.age.old: cannot be met in split test: mine.csv has no query voice there for age old" in message
    message = refusal(without(planning({"multi": {"old+male": 1}}, multi=["age", "gender"]), **lacking))
    assert "age old, gender male" in message
    assert without(planning({"age": 30}, splits={"train": 1.0}), split="test").num_dialogues == 30


def test_a_quota_without_a_scenario_is_refused() -> None:
    planner = planning({"neutral": 3})
    scenarios = tuple(scenario for scenario in planner.bank.scenarios if scenario.split != "validation")
    message = refusal(replace(planner, bank=planner.bank.model_copy(update={"scenarios": scenarios})))
    assert "plan.quotas.neutral.neutral" in message
    assert "splits.validation: 0" in message


def test_more_than_there_is_to_say_is_refused() -> None:
    planner = planning({"neutral": 10**7})
    message = refusal(planner)
    assert "plan.quotas.neutral.neutral: cannot be met in split" in message
    assert "lower the quota or add scenarios or voices" in message


def test_a_reply_voice_is_one_of_the_table() -> None:
    assert {row["reply_voice"] for row in drawn(replace(SHIPPED, reply_voice="t_reply_m"))} == {"t_reply_m"}
    message = refusal(replace(SHIPPED, reply_voice="t_f_adult_0"))
    assert "speak_reply.voice: 't_f_adult_0' is not a reply voice: use t_reply_f, t_reply_m" in message


@pytest.mark.parametrize(
    "change",
    [
        {"plan": {"part_rows": 5}},
        {"plan": {"contrastive": 0.1}},
        {"plan": {"intensity": [0.1, 0.2]}},
        {"plan": {"quotas": {"emotion": 13}}},
        {"seed": 9},
    ],
)
def test_whatever_decides_the_rows_is_in_the_key(change: dict[str, Any]) -> None:
    manifest = RunManifest.model_validate(merged(BASE, change))
    assert Plan(replace(SHIPPED, manifest=manifest)).cell_key([]) != Plan(SHIPPED).cell_key([])


def test_what_does_not_decide_the_rows_is_not_in_the_key() -> None:
    manifest = RunManifest.model_validate(merged(BASE, {"name": "x", "shard": {"rows": 3}, "executor": {"ahead": 2}}))
    assert Plan(replace(SHIPPED, manifest=manifest)).cell_key([]) == Plan(SHIPPED).cell_key([])
