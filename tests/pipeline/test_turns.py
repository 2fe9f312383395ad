"""Dialogues of several turns in the plan: how many, what is said next, and which cues every turn carries."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, merged
from hypothesis import given, settings
from hypothesis import strategies as st
from planning import BASE, NAMES, Rows, drawn, growing, ids, planning

from manifests.errors import UserError
from manifests.labels import CUES, NONE, SPLITS
from manifests.run import RunManifest
from manifests.trajectories import trajectories
from pipeline.dag import Dag, build_dag
from pipeline.planner import Block, Planner
from pipeline.stages.plan import part_table

SHARES = {1: 0.3, 2: 0.2, 3: 0.2, 4: 0.1, 5: 0.2}
QUOTAS = {"emotion": 300, "age": 60, "gender": 60, "event": 210, "multi": 300, "neutral": 60}
MULTI = ["event", "emotion"]


def dag_of(**plan: Any) -> Dag:
    return build_dag(RunManifest.model_validate(merged(BASE, {"plan": plan})), "mine.yaml")


@cache
def several() -> Planner:
    """With follow-ups, which a plan of single turns does not read."""
    return dag_of(turns=SHARES).planner


def planner_of(**plan: Any) -> Planner:
    """A planner of several turns with other settings; banks take long to read."""
    document = merged(BASE, {"plan": {"turns": SHARES, "multi": MULTI, **plan}})
    return replace(several(), manifest=RunManifest.model_validate(document))


@cache
def dialogues() -> dict[str, Rows]:
    """A plan of some size with dialogues of all lengths, by id; turns in order."""
    found: dict[str, Rows] = defaultdict(list)
    for row in drawn(planner_of(quotas=QUOTAS)):
        found[row["id"]].append(row)
    return found


def cues_of(row: dict[str, Any]) -> dict[str, str]:
    return {family: row[family] for family in row["cues"]}


def test_turns_are_numbered_counted_and_shared_out_as_asked() -> None:
    lengths = Counter(len(turns) for turns in dialogues().values())
    assert set(lengths) == set(SHARES)
    for turns, share in SHARES.items():
        assert lengths[turns] / len(dialogues()) == pytest.approx(share, abs=0.05)
    for turns in dialogues().values():
        assert [row["turn"] for row in turns] == list(range(len(turns)))
        assert {row["num_turns"] for row in turns} == {len(turns)}


def test_the_rows_fill_the_plan_table() -> None:
    rows = [row for turns in dialogues().values() for row in turns]
    table = part_table((tuple(row[name] for name in NAMES) for row in rows), "key")
    assert table.num_rows == len(rows)
    assert all(table[name].null_count == 0 for name in table.column_names)


def test_a_plan_of_single_turns_is_as_if_there_were_no_turns() -> None:
    without, asked = planning(QUOTAS, multi=MULTI), dag_of(quotas=QUOTAS, turns={1: 1.0}, multi=MULTI).planner
    assert drawn(without) == drawn(asked)
    assert without.identity() == asked.identity()
    assert {(row["turn"], row["num_turns"], row["followup"], row["earlier"]) for row in drawn(without)} == {
        (0, 1, "", "[]")
    }


def test_dialogues_that_stay_single_keep_their_ids() -> None:
    single, mixed = ids(planning(QUOTAS, multi=MULTI)), drawn(planner_of(quotas=QUOTAS))
    assert {row["id"] for row in mixed if row["num_turns"] == 1} < single
    assert not {row["id"] for row in mixed if row["num_turns"] > 1} & single


def test_the_first_turn_is_that_of_a_single_dialogue() -> None:
    single = {row["seed"]: row for row in drawn(planning(QUOTAS, multi=MULTI))}
    for row in drawn(planner_of(quotas=QUOTAS)):
        if row["turn"] == 0:
            alone = single[row["seed"]]
            assert {k: v for k, v in row.items() if k not in ("id", "num_turns")} == {
                k: v for k, v in alone.items() if k not in ("id", "num_turns")
            }


@settings(deadline=None, max_examples=15)
@given(growing(), st.sampled_from([0.0, 0.5, 1.0]))
def test_a_larger_plan_contains_the_smaller_one(quotas: tuple[dict, dict], contrastive: float) -> None:
    small, large = (planner_of(quotas=quota, contrastive=contrastive) for quota in quotas)
    assert ids(small) <= ids(large)


def test_the_same_speaker_talks_on() -> None:
    same = ("split", "task", "language", "scenario", "slots", "topic", "age", "gender", "query_voice", "reply_voice",
            "query_speaker", "seed", "pair", "source")  # fmt: skip
    for turns in dialogues().values():
        for column in same:
            assert len({row[column] for row in turns}) == 1, column


def moves() -> Iterator[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """Task, first, earlier and later row of every step of a dialogue."""
    for turns in dialogues().values():
        for before, after in pairwise(turns):
            yield turns[0]["task"], turns[0], before, after


def test_emotions_change_along_the_trajectories_and_some_do() -> None:
    steps = Counter()
    for task, _, before, after in moves():
        if task in ("emotion", "multi"):
            assert after["emotion"] in trajectories()["emotion", before["emotion"]]
            steps[before["emotion"], after["emotion"]] += 1
        else:
            assert after["emotion"] == "neutral"
    for emotion in CUES["emotion"]:
        if emotion != "neutral":
            gone = sum(count for (start, _), count in steps.items() if start == emotion)
            stayed = steps[emotion, emotion] / gone
            assert 0.3 < stayed < 0.9, f"{emotion} stays in {stayed:.2f} of {gone} steps"


def test_events_come_again_now_and_then() -> None:
    again = Counter()
    for task, first, _, after in moves():
        assert after["event"] in (first["event"], NONE)
        if task in ("event", "multi"):
            again[after["event"] != NONE] += 1
        else:
            assert after["event"] == NONE
    assert 0.1 < again[True] / sum(again.values()) < 0.3


def test_cues_are_what_a_turn_has_to_answer() -> None:
    for turns in dialogues().values():
        families = set(turns[0]["cues"])
        for row in turns:
            assert set(row["cues"]) <= families
            for family in families:
                assert (family in row["cues"]) == (row[family] not in (NONE, "neutral"))


def test_intensity_is_there_with_an_emotion_alone() -> None:
    for turns in dialogues().values():
        for row in turns:
            assert (row["intensity"] > 0) == (row["emotion"] != "neutral")
            assert row["intensity"] <= 1


def test_a_turn_tells_all_that_came_before() -> None:
    """Row purity: the writer of a turn sees its own row alone."""
    for turns in dialogues().values():
        for number, row in enumerate(turns):
            earlier = json.loads(row["earlier"])
            assert [turn["cues"] for turn in earlier] == [cues_of(before) for before in turns[:number]]
            assert [turn["followup"] for turn in earlier] == [before["followup"] for before in turns[:number]]


def test_follow_ups_fit_their_place_and_none_is_said_twice() -> None:
    items = several().bank.followups.by_id  # type: ignore[union-attr]
    used = Counter()
    for turns in dialogues().values():
        names = [row["followup"] for row in turns]
        assert names[0] == ""
        assert len(set(names)) == len(names)
        for row in turns[1:]:
            item = items[row["followup"]]
            assert item.fits(row["split"], row["scenario"], row["topic"])
            assert item.fits_turn(row["turn"], row["num_turns"])
            used[row["followup"]] += 1
    assert set(used) == set(items), "all are used in a plan of this size"


@pytest.mark.parametrize("column", ["scenario", "query_speaker", "followup", "pair"])
def test_splits_share_nothing(column: str) -> None:
    splits = defaultdict(set)
    for turns in dialogues().values():
        for row in turns:
            splits[row[column]].add(row["split"])
    splits.pop("", None)
    assert {split for found in splits.values() for split in found} == set(SPLITS)
    assert all(len(found) == 1 for found in splits.values())


def test_a_pair_says_the_same_in_every_turn_and_contrasts_in_it() -> None:
    groups: dict[str, list[Rows]] = defaultdict(list)
    for turns in dialogues().values():
        if turns[0]["pair"]:
            groups[turns[0]["pair"]].append(turns)
    long = [group for group in groups.values() if len(group[0]) > 1]
    assert len(long) > 50
    for one, two in long:
        assert [row["followup"] for row in one] == [row["followup"] for row in two]
        for mine, theirs in zip(one, two, strict=True):
            if one[0]["task"] == "emotion":
                assert mine["emotion"] != theirs["emotion"]
            assert json.loads(mine["contrast"]) == cues_of(theirs)


def test_rows_do_not_depend_on_their_block() -> None:
    planner = planner_of(quotas={"emotion": 60})
    together = planner.rows(Block("emotion", 2, 0, 10))
    assert [row for number in range(10) for row in planner.rows(Block("emotion", 2, number, number + 1))] == together


def test_stages_of_several_turns_are_pure() -> None:
    """What becomes of a row depends on that row alone: not on its dialogue's other turns, nor on the order."""
    dag = dag_of(quotas={"emotion": 6, "multi": 6}, turns={3: 1.0}, multi=MULTI)
    rows = [
        {"id": row["id"], "turn": row["turn"]} | {f"plan.{name}": row[name] for name in NAMES[2:]}
        for row in drawn(dag.planner)[:12]
    ]
    for stage in dag.stages:
        together = stage.open().process(rows)
        alone = [stage.open().process([row])[0] for row in reversed(rows)][::-1]
        assert alone == together, stage.name
        for row, made in zip(rows, together, strict=True):
            row.update({f"{stage.name}.{key}": value for key, value in made.items()})  # type: ignore[union-attr]


def test_too_few_follow_ups_are_refused(tmp_path: Path) -> None:
    document = yaml.safe_load((ROOT / "manifests/scenarios/followups.en.yaml").read_text(encoding="utf-8"))
    kept = [item for item in document["followups"] if item["split"] != "test" or item["stage"] != "middle"]
    file = tmp_path / "few.yaml"
    file.write_text(yaml.safe_dump({**document, "followups": kept}), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        _ = dag_of(turns={1: 0.5, 3: 0.5}, followups=file).planner.counts
    for part in ("mine.yaml: plan.turns", "3 turns need 2", "split test", "has 0", "plan.followups"):
        assert part in str(caught.value)
    shares = {"train": 0.5, "validation": 0.5}
    assert dag_of(turns={1: 0.5, 3: 0.5}, followups=file, splits=shares).planner.counts, "nothing is said in test"
