"""The gate: what annotators do not hear is rejected, and thresholds are frozen, reported and verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from manifests.errors import UserError
from manifests.run import load_run
from pipeline.build import build
from pipeline.cli import app
from pipeline.dag import build_dag
from pipeline.grid import Grid
from pipeline.select import verdicts
from pipeline.status import status
from pipeline.thresholds import Thresholds, freeze, thresholds_of
from pipeline.verify import verify

TONE = {"engine": "tone"}
GATE: dict[str, Any] = {
    "plugins": ["deaf"],
    "plan": {"quotas": {"gender": 120}},
    "annotate": {"gender": [TONE, {"engine": "deaf"}]},
    "select": {"agree": ["gender"], "calibration_share": 0.6, "calibration_min": 20, "precision": 0.9},
}


def run(file: Path, out: Path, **more: Any):
    return build(load_run(file), file, out, quiet=True, **more)


def judged(out: Path) -> dict[str, list[str]]:
    """Reasons by dialogue."""
    parts = sorted((out / "select" / "current").glob("part-*.parquet"))
    return {
        row["id"]: row["reasons"]
        for number in range(len(parts))
        for row in verdicts(out / "select" / "current", number).to_pylist()
    }


def heard(out: Path, slot: str) -> dict[str, tuple[str, str, float]]:
    """Asked, recognised and its probability by dialogue."""
    grid = Grid.open(build_dag(load_run(out / "run.yaml"), out / "run.yaml"), out)
    found = {}
    for cells in grid.records.values():
        plan = grid.ledger.load(cells["plan"], ["id", "gender"]).to_pylist()
        labels = grid.ledger.load(cells["annotate"], [f"heard_{slot}", f"heard_{slot}_p"]).to_pylist()
        for row, label in zip(plan, labels, strict=True):
            found[row["id"]] = (row["gender"], label[f"heard_{slot}"], label[f"heard_{slot}_p"])
    return found


@pytest.fixture
def gated(tone_yaml, tmp_path, build_once) -> tuple[Path, Path]:
    file, out = tone_yaml(**GATE), tmp_path / "out"
    build_once(file, out)
    return file, out


def chosen(out: Path) -> dict[str, Any]:
    return json.loads((out / "select" / "current" / "thresholds.json").read_text())


def test_rows_are_kept_that_every_annotator_is_sure_of(gated):
    _, out = gated
    thresholds = chosen(out)["slots"]
    assert {label: choice["threshold"] for label, choice in thresholds["gender"].items()} == {"female": 0, "male": 0}
    assert all(0.6 < choice["threshold"] < 0.85 for choice in thresholds["gender_2"].values())
    assert all(choice["basis"] == "calibrated" for choice in thresholds["gender_2"].values())
    labels, reasons = heard(out, "gender_2"), judged(out)
    kept = 0
    for name, (asked, label, sure) in labels.items():
        if label != asked:
            assert reasons[name] == [f"gender_2_disagrees heard {label}, asked {asked}"]
        elif sure < thresholds["gender_2"][label]["threshold"]:
            assert reasons[name] == [f"gender_2_unsure {sure:.3f} < {thresholds['gender_2'][label]['threshold']:g}"]
        else:
            assert reasons[name] == []
            kept += 1
    assert 0 < kept < len(labels)
    assert verify(out) == []


def test_statistics_tell_yields_and_the_agreement_that_was_not_chosen_on(gated):
    _, out = gated
    counts = json.loads((out / "select" / "current" / "statistics.json").read_text())
    for label, verdict in counts["task"]["gender"].items():
        assert counts["yield"]["gender"][label] == pytest.approx(verdict["kept"] / sum(verdict.values()), abs=1e-4)
    thresholds, labels = chosen(out)["slots"]["gender_2"], heard(out, "gender_2").values()
    for label, found in counts["agreement"]["gender_2"].items():
        choice = thresholds[label]
        assert sum(found["chosen_on"].values()) == choice["above"]
        assert found["chosen_on"]["agree"] / choice["above"] == pytest.approx(choice["agreement"], abs=1e-4)
        above = [asked == label for asked, name, sure in labels if name == label and sure >= choice["threshold"]]
        assert sum(found["chosen_on"].values()) + sum(found["rest"].values()) == len(above)
        assert found["chosen_on"]["agree"] + found["rest"]["agree"] == sum(above)
    report = (out / "select" / "current" / "thresholds.md").read_text()
    assert all(f"| gender_2 | {label} | {thresholds[label]['threshold']:g} |" in report for label in thresholds)


def test_too_few_rows_leave_it_to_the_engine(tone_yaml, tmp_path):
    known = {"engine": "deaf", "known": {"male": 0.9}}
    changes = {**GATE, "annotate": {"gender": [known, {"engine": "deaf", "salt": "x"}]}}
    changes["select"] = {"agree": ["gender"], "confidence_min": {"gender_2": 0.7}}
    out = tmp_path / "out"
    assert run(tone_yaml(**changes), out).findings == []
    slots = chosen(out)["slots"]
    assert {label: (choice["threshold"], choice["basis"]) for label, choice in slots["gender"].items()} == {
        "female": (0.0, "default"),
        "male": (0.9, "default"),
    }
    assert "the engine's default" in slots["gender"]["male"]["why"]
    assert {choice["threshold"] for choice in slots["gender_2"].values()} == {0.7}
    for name, (asked, label, sure) in heard(out, "gender").items():
        if asked == label == "male" and sure < 0.9:
            assert f"gender_unsure {sure:.3f} < 0.9" in judged(out)[name]


def test_thresholds_are_the_same_however_the_plan_is_cut_into_parts(gated, tone_yaml, tmp_path):
    _, out = gated
    other = tmp_path / "other"
    run(tone_yaml("other.yaml", **{**GATE, "plan": {**GATE["plan"], "part_rows": 50}}), other)
    assert chosen(other) == chosen(out)
    assert judged(other) == judged(out)


def test_a_threshold_that_the_cells_do_not_give_is_found(gated):
    file, out = gated
    select = out / "select" / "current"
    good = (select / "thresholds.json").read_bytes()
    (select / "thresholds.json").write_bytes(good.replace(b'"target":0.9', b'"target":0.8'))
    assert "earlier state" in verify(out)[0].problem or "calibrate" in verify(out)[0].problem
    assert status(out).state == "stopped"
    assert run(file, out).findings == []
    assert (out / "select" / "current" / "thresholds.json").read_bytes() == good
    (out / "select" / "current" / "thresholds.md").write_text("All is well.\n")
    assert any("thresholds.md" in finding.file for finding in verify(out))
    assert run(file, out).findings == []


def test_frozen_thresholds_judge_another_run_alike(gated, tone_yaml, tmp_path):
    _, out = gated
    path = tmp_path / "frozen.json"
    made = CliRunner().invoke(app, ["calibrate", "thresholds", str(out), "--out", str(path)])
    assert made.exit_code == 0, made.output
    assert "| gender_2 | male |" in made.output
    assert path.read_bytes() == (out / "select" / "current" / "thresholds.json").read_bytes()
    select = {**GATE["select"], "thresholds": str(path), "calibration_share": 0.1, "precision": 0.5}
    file = tone_yaml("frozen.yaml", **{**GATE, "select": select, "plan": {"quotas": {"gender": 60}}})
    other = tmp_path / "other"
    assert run(file, other).findings == []
    assert chosen(other) == json.loads(path.read_text())
    assert judged(other).items() <= judged(out).items(), "a smaller plan, judged by the same thresholds"
    counts = json.loads((other / "select" / "current" / "statistics.json").read_text())
    assert all(set(found) == {"rest"} for found in counts["agreement"]["gender_2"].values())
    path.unlink()
    assert verify(other) == [], "the run keeps the file that it was judged by"
    assert status(other).state == "finished"
    with pytest.raises(UserError, match=r"frozen\.json: cannot be read"):
        run(file, other)


def test_frozen_thresholds_of_other_annotators_are_refused_before_any_work(gated, tone_yaml, tmp_path):
    _, out = gated
    freeze(out, tmp_path / "frozen.json")
    select = {**GATE["select"], "thresholds": "frozen.json"}
    changes = {**GATE, "annotate": {"gender": [TONE, {"engine": "deaf", "wrong": 0.1}]}, "select": select}
    file = tone_yaml("other.yaml", **changes)
    for command in (["plan", str(file)], ["build", str(file), "--out", str(tmp_path / "new")]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 2
        assert "engines.gender_2: was calibrated with another engine or settings" in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_run_that_is_not_finished_has_no_thresholds_to_freeze(gated, tmp_path):
    _, out = gated
    next((out / "stages" / "annotate").glob("*.json")).unlink()
    with pytest.raises(UserError, match="not every cell is made"):
        freeze(out, tmp_path / "frozen.json")


def test_calibration_is_a_function_of_the_cells(gated):
    _, out = gated
    dag = build_dag(load_run(out / "run.yaml"), out / "run.yaml")
    grid = Grid.open(dag, out)
    parts = list(grid.all_cells.values())
    made: list[Thresholds] = [thresholds_of(dag, grid.ledger, order) for order in (parts, parts[::-1])]
    assert made[0].to_json() == made[1].to_json() == (out / "select" / "current" / "thresholds.json").read_bytes()
