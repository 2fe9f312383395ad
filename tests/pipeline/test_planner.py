"""The planner: counts as asked, pairs that contrast, splits that share nothing, and plans that only grow."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from conftest import ROOT, merged
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests import schema
from manifests.errors import UserError
from manifests.ids import bucket
from manifests.labels import CUES, NONE, SPLITS
from manifests.ledger import Ledger
from manifests.run import RunManifest
from manifests.voices import Voice, VoiceTable
from pipeline import planner as planner_module
from pipeline.dag import build_dag
from pipeline.planner import Block, Planner, partner
from pipeline.stages.plan import Plan, commit_part, expand, part_table

BASE: dict[str, Any] = yaml.safe_load((ROOT / "tests" / "data" / "tone.yaml").read_text())
SHIPPED = build_dag(RunManifest.model_validate(BASE), "mine.yaml").planner
NAMES = ["id", "turn", *schema.PLAN.names]
Rows = list[dict[str, Any]]


def planning(quotas: dict[str, Any] | None = None, seed: int = 1, **plan: Any) -> Planner:
    """The planner of the tone manifest with other settings."""
    changes = {**plan, "quotas": quotas} if quotas else plan
    document = {**BASE, "seed": seed, "plan": {**BASE["plan"], **changes}}
    return replace(SHIPPED, manifest=RunManifest.model_validate(document))


def drawn(planner: Planner) -> Rows:
    """All rows of a plan."""
    return [dict(zip(NAMES, row, strict=True)) for block in planner.blocks() for row in planner.rows(block)]


def ids(planner: Planner) -> set[str]:
    """Ids of a plan."""
    return {row["id"] for row in drawn(planner)}


def label(row: dict[str, Any]) -> str:
    """The label that a row counts for."""
    return "+".join(row[family] for family in row["cues"]) or "neutral"


def refusal(planner: Planner) -> str:
    """The sentence with which a plan is refused; it names the manifest."""
    with pytest.raises(UserError) as error:
        _ = planner.counts
    assert str(error.value).startswith("mine.yaml: ")
    return str(error.value)


COUNT = st.integers(0, 40)
QUOTAS = st.fixed_dictionaries(
    {"neutral": st.integers(1, 20)},
    optional={
        "emotion": COUNT | st.fixed_dictionaries({}, optional={"sad": COUNT, "happy": COUNT, "fear": COUNT}),
        "age": COUNT,
        "gender": COUNT | st.fixed_dictionaries({"female": COUNT}, optional={"male": COUNT}),
        "event": COUNT,
        "multi": COUNT,
    },
)


@st.composite
def growing(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Quotas, and larger ones."""
    small = draw(QUOTAS)
    large = {}
    for task, quota in small.items():
        if isinstance(quota, dict):
            large[task] = {name: count + draw(COUNT) for name, count in quota.items()}
        else:
            large[task] = quota + draw(COUNT)
    if "age" not in large:
        large["age"] = draw(COUNT)
    return small, large


@pytest.fixture(scope="module")
def rows() -> Rows:
    """A plan of some size: every task, pairs on."""
    return drawn(planning({"emotion": 240, "age": 120, "gender": 100, "event": 210, "multi": 600, "neutral": 30}))


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
        voice.voice for voice in SHIPPED.voices.voices if voice.split == "train" and voice.role == "query"
    }
    assert len({(row["scenario"], row["slots"]) for row in train}) > 0.5 * len(train)


def pairs(plan: Rows) -> dict[str, Rows]:
    """Paired rows by the pair's name."""
    groups = defaultdict(list)
    for row in plan:
        if row["pair"]:
            groups[row["pair"]].append(row)
    return groups


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


def without(planner: Planner, **labels: str) -> Planner:
    """The planner without the voices of these labels."""
    kept = [v for v in planner.voices.voices if any(getattr(v, name) != value for name, value in labels.items())]
    return replace(planner, voices=VoiceTable(Path("mine.csv"), tuple(kept)))


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
