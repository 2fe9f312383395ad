"""Quotas are of kept dialogues: `--top-up` fills them, however often it is interrupted, and says when it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import CHAOS, ECHAT, ROOT, calls, tree
from typer.testing import CliRunner

from manifests.run import load_run
from manifests.topup import read_topup, topup_path
from pipeline.build import build
from pipeline.cli import app
from pipeline.dag import build_dag
from pipeline.grid import Grid
from pipeline.replay import replay
from pipeline.status import status
from pipeline.topup import with_topup
from pipeline.verify import verify

QUOTAS = {"gender": 12, "emotion": {"sad": 6, "happy": 6}}
DEAF: dict[str, Any] = {
    **CHAOS,
    "plugins": ["chaos", "deaf"],
    "plan": {"quotas": QUOTAS, "part_rows": 16},
    "annotate": {"gender": {"engine": "deaf", "wrong": 0.3}},
    "select": {"agree": ["gender"]},
}
OFTEN_WRONG = {"annotate": {"gender": {"engine": "deaf", "wrong": 0.55}}, "plan": {**DEAF["plan"], "retries": 1}}


def run(file: Path, out: Path, rounds: int | None = None):
    return build(load_run(file), file, out, quiet=True, rounds=rounds)


def plan_of(out: Path) -> list[dict[str, Any]]:
    """Every planned row."""
    dag = with_topup(build_dag(load_run(out / "run.yaml"), out / "run.yaml"), out)
    grid = Grid.open(dag, out)
    assert len(grid.plan) == dag.planner.num_parts
    return [row for record in grid.plan for row in grid.ledger.load(record).to_pylist()]


def same_row(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two rows have the same number of the same label."""
    return all(one[name] == other[name] for name in ("task", "cues", "gender", "emotion", "number"))


def test_a_top_up_fills_the_quotas_and_makes_nothing_twice(tone_yaml, tmp_path, chaos):
    file, out = tone_yaml(**DEAF | {"plan": {**DEAF["plan"], "retries": 2}}), tmp_path / "out"
    first = run(file, out)
    assert first.short
    assert first.filled < first.asked == first.planned == 24
    result = run(file, out, rounds=9)
    assert result.findings == []
    assert result.short == ()
    assert result.filled == 24
    assert 1 <= result.rounds <= 9
    spoken = calls(chaos)
    assert len(spoken) == len(set(spoken)) == 2 * result.planned, "every row was spoken once"
    for (task, label), quota in {("emotion", "sad"): 6, ("gender", "male"): 6}.items():
        assert result.statistics["task"][task][label]["kept"] >= quota
    assert verify(out) == []
    assert (status(out).state, status(out).short) == ("finished", ())
    rows = plan_of(out)
    assert len(rows) == result.planned == sum(result.statistics["verdict"].values())
    again = [row for row in rows if row["attempt"]]
    assert again
    anew = {(*cell, *which) for item in read_topup(out).rounds for cell, some in item.anew.items() for which in some}
    for row in again:
        (other,) = [old for old in rows if same_row(old, row) and old["attempt"] == row["attempt"] - 1]
        # Of a contrastive pair that was lost nothing holds its rows to the words.
        fresh = (row["task"], row[row["task"]], row["number"], row["attempt"]) in anew
        for name in () if fresh else ("scenario", "slots", "query_voice", "split", "pair"):
            assert row[name] == other[name]
        assert row["id"] != other["id"]
        assert row["seed"] != other["seed"]


def test_a_filled_run_stays_as_it_is_until_more_is_asked_for(tone_yaml, tmp_path, chaos):
    file, out = tone_yaml(**DEAF), tmp_path / "out"
    result = run(file, out, rounds=9)
    assert result.short == ()
    assert not any(row["attempt"] for row in plan_of(out))
    before, spoken = tree(out), calls(chaos)
    for rounds in (9, None):
        again = run(file, out, rounds)
        assert (again.planned, again.rounds, again.statistics) == (result.planned, result.rounds, result.statistics)
        after = tree(out)
        assert {name for name in before | after if before.get(name) != after.get(name)} == {"events.jsonl"}
    assert replay(out, quiet=True)[1].planned == result.planned
    assert calls(chaos) == spoken
    more = tone_yaml("more.yaml", **DEAF | {"plan": {**DEAF["plan"], "quotas": {**QUOTAS, "gender": 16}}})
    larger = run(more, out, 20)
    assert larger.short == ()
    assert larger.findings == []
    assert len(calls(chaos)) == len(set(calls(chaos))) == 2 * larger.planned


def test_in_one_go_or_in_several_it_is_the_same_set(tone_yaml, tmp_path, chaos):
    file = tone_yaml(**DEAF | OFTEN_WRONG)
    whole = run(file, tmp_path / "whole", rounds=9)
    assert whole.rounds > 1
    for rounds in (None, 1, whole.rounds):
        parts = run(file, tmp_path / "parts", rounds)
        assert parts.rounds == (rounds or 0)
    assert read_topup(tmp_path / "parts") == read_topup(tmp_path / "whole")
    assert tree(tmp_path / "parts" / "shards" / "current") == tree(whole.shards)
    topup_path(tmp_path / "parts").unlink()
    assert tree(run(file, tmp_path / "parts", 9).shards) == tree(whole.shards), "lost rounds are decided on again"


def test_a_threshold_is_not_moved_by_a_top_up(tone_yaml, tmp_path, chaos):
    select = {"agree": ["gender"], "calibration_share": 0.7, "calibration_min": 5, "precision": 0.8}
    file, out = tone_yaml(**DEAF | {"select": select}), tmp_path / "out"
    run(file, out)
    before = (out / "select" / "current" / "thresholds.json").read_bytes()
    assert b"calibrated" in before
    result = run(file, out, 9)
    assert result.rounds
    assert (out / "select" / "current" / "thresholds.json").read_bytes() == before


def test_yields_spare_the_rounds_and_the_plan_says_so(tone_yaml, tmp_path, chaos):
    file, out = tone_yaml(**DEAF | {"plan": {**DEAF["plan"], "yields": 0.25}}), tmp_path / "out"
    said = CliRunner().invoke(app, ["plan", str(file), "--json"])
    document = json.loads(said.stdout)
    assert document["dialogues"] == 96
    assert sum(item["keep"] for item in document["quotas"]) == 24
    text = CliRunner().invoke(app, ["plan", str(file)]).stdout
    assert "to keep" in text
    built = CliRunner().invoke(app, ["build", str(file), "--out", str(out), "--quiet", "--top-up"])
    assert built.exit_code == 0, built.output
    assert "more than the 24 asked: quotas are minimums" in built.stdout
    assert read_topup(out).rounds == ()


def test_a_short_run_says_so_and_how_to_fill_it(tone_yaml, tmp_path, chaos):
    file, out = tone_yaml(**DEAF), tmp_path / "out"
    command = ["build", str(file), "--out", str(out), "--quiet"]
    plain = CliRunner().invoke(app, command)
    assert plain.exit_code == 0
    assert " of 24 asked; --top-up fills the rest" in plain.stdout
    assert "build --top-up fills the rest" in CliRunner().invoke(app, ["status", str(out)]).stdout
    document = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert document["filled"] + sum(item["quota"] - item["kept"] for item in document["short"]) == 24


def test_rounds_that_are_used_up_fail_with_the_labels(tone_yaml, tmp_path, chaos):
    annotate = {"gender": {"engine": "tone"}, "emotion": {"engine": "deaf", "wrong": 1.0}}
    quotas = {"gender": {"male": 2}, "emotion": {"sad": 1}}
    changes = {"annotate": annotate, "select": {"agree": ["emotion"]}, "plan": {**DEAF["plan"], "quotas": quotas}}
    file, out = tone_yaml(**DEAF | changes), tmp_path / "out"
    command = ["build", str(file), "--out", str(out), "--quiet", "--top-up", "--rounds", "2"]
    for _ in range(2):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 1
        assert "(emotion sad 0 of 1, gender male 0 of 2)" in result.stderr
        assert "the rounds of top-up (--rounds 2) are used up; allow more" in result.stderr
        assert len(read_topup(out).rounds) == 2


def test_a_supply_that_is_used_up_fails_with_the_labels(tone_yaml, tmp_path, chaos):
    bank = yaml.safe_load((ROOT / "tests" / "data" / "golden_bank.yaml").read_text())
    (scenario,) = [item for item in bank if item["id"] == "missed-train"]
    scenario["slots"] = {"time": ["early", "late"], "place": ["Boston"]}
    (tmp_path / "bank.yaml").write_text(yaml.safe_dump([scenario]))
    plan = {"quotas": {"gender": {"male": 3}}, "scenarios": "bank.yaml", "splits": {"train": 1.0}, "contrastive": 0.0}
    changes = {"plan": plan, "annotate": {"gender": {"engine": "deaf", "wrong": 0.6}}}
    file, out = tone_yaml(**DEAF | changes), tmp_path / "out"
    room = build_dag(load_run(file), file).planner.room("gender", "male")
    assert room == 4, "two texts and two adult male voices"
    result = CliRunner().invoke(app, ["build", str(file), "--out", str(out), "--quiet", "--top-up", "--rounds", "50"])
    assert result.exit_code == 1, result.output
    assert "nothing more is to be had; add scenarios, voices or plan.retries" in result.stderr
    assert len(plan_of(out)) == room
    assert verify(out) == []
    more = tone_yaml("more.yaml", **DEAF | changes | {"plan": {**plan, "retries": 30}})
    result = CliRunner().invoke(app, ["build", str(more), "--out", str(out), "--quiet", "--top-up", "--rounds", "50"])
    assert result.exit_code == 0, result.output
    assert verify(out) == []


def test_damaged_rounds_are_refused_by_every_command(tone_yaml, tmp_path, chaos):
    file, out = tone_yaml(**DEAF), tmp_path / "out"
    run(file, out, 1)
    topup_path(out).write_text("{")
    build_again = ["build", str(file), "--out", str(out), "--top-up"]
    commands = (["status", str(out)], ["verify", str(out)], ["replay", str(out)], build_again)
    for command in (*commands, ["plan", str(file), "--out", str(out)]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 2, command
        assert "topup.json: does not hold top-ups" in result.stderr


@pytest.mark.slow
def test_a_top_up_that_is_killed_again_and_again_ends_as_an_undisturbed_one(tone_yaml, tmp_path, chaos):
    calm = tone_yaml("calm.yaml", **DEAF | OFTEN_WRONG)
    whole = run(calm, tmp_path / "calm", 9)
    assert whole.rounds > 1
    (chaos / "calls").unlink()
    speaker = {"engine": "chaos", "pause_s": 0.1}
    slow = {"speak_query": speaker, "speak_reply": speaker}
    file, out = tone_yaml(**DEAF | OFTEN_WRONG | slow), tmp_path / "out"
    command = [str(ECHAT), "build", str(file), "--out", str(out), "--top-up", "--rounds", "9"]
    first = 2 * 24  # utterances of the first plan
    assert 2 * whole.planned > first + 20
    for target in (20, first + 2, first + 16, None):
        with (tmp_path / "log").open("a") as log:
            driver = subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ))
        while driver.poll() is None and (target is None or len(calls(chaos)) < target):
            time.sleep(0.02)
        if target is not None:
            assert driver.poll() is None, "it was to be killed before it is done"
            driver.kill()
            driver.wait()
    assert driver.returncode == 0, (tmp_path / "log").read_text()
    assert read_topup(out) == read_topup(tmp_path / "calm")
    assert tree(out / "shards" / "current") == tree(whole.shards)
    assert tree(out / "select" / "current") == tree(tmp_path / "calm" / "select" / "current")
