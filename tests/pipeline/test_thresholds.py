"""Thresholds: the target holds where it was chosen, few rows decide nothing, and no order matters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import merged
from hypothesis import given, settings
from hypothesis import strategies as st
from planning import BASE

from manifests.errors import UserError
from manifests.labels import HEARD
from manifests.run import RunManifest, SelectConfig
from manifests.textconfig import without_text_checks
from pipeline.dag import build_dag
from pipeline.thresholds import (
    BEST,
    CALIBRATED,
    DEFAULT,
    EDGES,
    Histogram,
    calibrate,
    choose,
    count_row,
    held_out,
    lower_bound,
    read_thresholds,
    report,
    rules_of,
    threshold_labels,
)
from pipeline.verdict import judge, judged_columns

Rows = list[tuple[float, bool]]


def counted(rows: Rows) -> np.ndarray:
    """The histogram of (probability, agrees) of one label."""
    histogram: Histogram = {}
    for sure, agrees in rows:
        row = {
            "plan.source": "synthetic",
            "plan.age": "adult",
            "plan.gender": "male" if agrees else "female",
            "annotate.heard_gender": "male",
        }
        count_row(histogram, {**row, "annotate.heard_gender_p": sure}, ["gender"])
    return histogram.get(("gender", "male"), np.zeros((2, len(EDGES)), np.int64))


def config(**settings: Any) -> SelectConfig:
    return SelectConfig(**settings)


PROBABILITIES = st.floats(0, 1) | st.sampled_from([0.0, 0.29, 0.57, 0.58, 1.0]) | st.sampled_from(EDGES.tolist())
ROWS = st.lists(st.tuples(PROBABILITIES, st.booleans() | st.just(True)), max_size=120)
TARGETS = st.floats(0.5, 0.99)


@settings(deadline=None, max_examples=150)
@given(ROWS, TARGETS, st.integers(1, 40))
def test_the_rows_that_a_threshold_was_chosen_on_reach_the_target(rows: Rows, target: float, least: int) -> None:
    choice = choose(counted(rows), config(precision=target, calibration_min=least), None, 0.0)
    above = [agrees for sure, agrees in rows if sure >= choice.threshold]
    assert (choice.rows, choice.above) == (len(rows), len(above))
    if above:
        assert choice.agreement == pytest.approx(sum(above) / len(above), abs=1e-4)
    if choice.basis == CALIBRATED:
        assert sum(above) / len(above) >= target
        assert choice.bound >= target - 1e-4
        assert len(rows) >= least


@settings(deadline=None, max_examples=150)
@given(ROWS, TARGETS)
def test_it_is_the_least_that_does(rows: Rows, target: float) -> None:
    choice = choose(counted(rows), config(precision=target, calibration_min=1), None, 0.0)
    for edge in EDGES[: int(np.searchsorted(EDGES, choice.threshold))]:
        above = [agrees for sure, agrees in rows if sure >= edge]
        bound = float(lower_bound(np.array(sum(above)), np.array(len(above))))
        if choice.basis == CALIBRATED:
            assert bound < target
        elif choice.basis == BEST:
            assert bound < min(target, choice.bound + 1e-4)


@settings(deadline=None, max_examples=150)
@given(ROWS, TARGETS, TARGETS, st.floats(0, 1), st.none() | st.floats(0, 1))
def test_a_higher_target_never_lowers_a_threshold(
    rows: Rows, one: float, other: float, floor: float, default: float | None
) -> None:
    low, high = (
        choose(counted(rows), config(precision=target, calibration_min=5), default, floor)
        for target in sorted((one, other))
    )
    assert low.threshold <= high.threshold
    assert low.threshold >= floor


@pytest.mark.parametrize(
    ("default", "floor", "threshold", "source"),
    [
        (None, 0.0, 0.0, "no threshold"),
        (None, 0.6, 0.6, "confidence_min"),
        (0.7, 0.0, 0.7, "the engine's default"),
        (0.7, 0.9, 0.9, "the engine's default"),
        (0.61234, 0.0, 0.613, "the engine's default"),
    ],
)
def test_few_rows_decide_nothing(default: float | None, floor: float, threshold: float, source: str) -> None:
    choice = choose(counted([(0.9, True)] * 29), config(), default, floor)
    assert (choice.basis, choice.threshold, choice.rows) == (DEFAULT, threshold, 29)
    assert choice.why == f"29 rows were recognised as it, of the 30 needed: {source}"
    assert choose(counted([(0.9, True)] * 30), config(), default, 0.0).basis == CALIBRATED


def test_one_disagreement_among_thirty_is_too_many_for_the_interval() -> None:
    rows = [(0.9, True)] * 29
    assert choose(counted([*rows, (0.8, False)]), config(), None, 0.0).threshold == 0.801
    best = choose(counted([*rows, (0.95, False)]), config(), None, 0.0)
    assert (best.basis, best.threshold, best.above) == (BEST, 0.0, 30)
    assert "no threshold reaches 0.95" in best.why


@pytest.mark.parametrize("agree", [0, 1, 15, 29, 30])
def test_the_interval_is_wilsons(agree: int) -> None:
    """Against the roots of (p - q)^2 = q (1 - q) / n, which define it."""
    found = float(lower_bound(np.array(agree), np.array(30)))
    ratio = agree / 30
    roots = np.roots([1 + 1 / 30, -(2 * ratio + 1 / 30), ratio**2])
    assert found == pytest.approx(float(np.real(roots).min()), abs=1e-9)


def test_what_agrees_at_any_probability_needs_no_threshold() -> None:
    assert choose(counted([(0.4, True)] * 40), config(), None, 0.0).threshold == 0.0


DAG = build_dag(RunManifest.model_validate(merged(BASE, {"select": {"calibration_min": 3, "precision": 0.7}})))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_neither_the_order_nor_the_cut_into_parts_matters(data: st.DataObject) -> None:
    label = st.sampled_from(HEARD["emotion"])
    rows = [
        {
            "plan.source": "synthetic",
            "plan.emotion": asked,
            "annotate.heard_emotion": heard,
            "annotate.heard_emotion_p": sure,
        }
        for asked, heard, sure in data.draw(st.lists(st.tuples(label, label, PROBABILITIES), max_size=60))
    ]
    whole: Histogram = {}
    for row in rows:
        count_row(whole, row, ["emotion"])
    parts: Histogram = {}
    for row in data.draw(st.permutations(rows)):
        count_row(parts, row, ["emotion"])
    assert calibrate(whole, DAG).to_json() == calibrate(parts, DAG).to_json()


def test_a_larger_share_holds_out_what_a_smaller_one_does() -> None:
    names = [f"{number:020x}" for number in range(4000)]
    small, large = ({name for name in names if held_out(name, share)} for share in (0.2, 0.5))
    assert small < large
    assert len(small) == pytest.approx(800, abs=100)
    assert not any(held_out(name, 0.0) for name in names)
    assert all(held_out(name, 1.0) for name in names)


def test_what_was_not_asked_for_is_not_counted_but_no_event_is() -> None:
    histogram: Histogram = {}
    row = {
        "plan.source": "synthetic",
        "plan.age": "none",
        "plan.event": "none",
        "annotate.heard_age": "old",
        "annotate.heard_event": "cough",
    }
    sure = {f"annotate.heard_{slot}_p": 0.9 for slot in ("age", "event", "speakers")}
    count_row(histogram, {**row, **sure, "annotate.heard_speakers": "several"}, ["age", "event", "speakers"])
    assert {key: counts.sum(axis=1).tolist() for key, counts in histogram.items()} == {
        ("event", "cough"): [1, 0],
        ("speakers", "several"): [1, 0],
    }
    assert threshold_labels("speakers") == ("one",)
    assert threshold_labels("event")[-1] == "none"
    assert "none" not in threshold_labels("emotion")


def frozen(path: Path, **changes: Any) -> Path:
    """A frozen file of the tone run with some keys changed."""
    document = json.loads(calibrate({}, DAG).to_json())
    path.write_text(json.dumps(merged(document, changes)))
    return path


def test_a_frozen_file_reads_as_it_was_written(tmp_path: Path) -> None:
    made = calibrate({}, DAG)
    again = read_thresholds(frozen(tmp_path / "t.json"), DAG)
    assert again.to_json() == made.to_json()
    assert again.content_hash() == made.content_hash()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format": 2}, "is of format 2, this version reads 1"),
        ({"extra": 1}, "is not a file of thresholds (extra)"),
        ({"target": "high"}, "is not a file of thresholds (target)"),
        ({"slots": {"age": {"old": {"threshold": 1.5}}}}, "is not a file of thresholds (slots.age.old.threshold)"),
        ({"slots": {"age": {"ancient": {**vars(choose(counted([]), config(), None, 0.0))}}}}, "slots.age: is for the"),
        ({"engines": {"age": {"revision": "tone/1"}}}, "engines.age: was calibrated with another engine"),
    ],
)
def test_a_file_for_something_else_is_refused_in_a_sentence(tmp_path: Path, changes: dict, told: str) -> None:
    path = frozen(tmp_path / "t.json", **changes)
    with pytest.raises(UserError) as error:
        read_thresholds(path, DAG)
    assert str(error.value).startswith(f"{path}: ")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 1}', '{"format": 1, "target": NaN}'])
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(UserError, match="is not a file of thresholds"):
        read_thresholds(tmp_path / "t.json", DAG)
    with pytest.raises(UserError, match="No such file"):
        read_thresholds(tmp_path / "none.json", DAG)


def test_a_file_without_an_annotator_of_the_run_is_refused(tmp_path: Path) -> None:
    document = json.loads(calibrate({}, DAG).to_json())
    del document["slots"]["event"]
    (tmp_path / "t.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match="has no thresholds of the annotator event"):
        read_thresholds(tmp_path / "t.json", DAG)


def test_the_report_tells_of_every_label() -> None:
    text = report(calibrate({}, DAG), False)
    assert "0 rows were recognised as it, of the 3 needed: no threshold" in text
    for family in DAG.manifest.select.agree:
        assert all(f"| {family} | {label} |" in text for label in threshold_labels(family))
    assert "precision" in text
    assert "none" in report(calibrate({}, build_dag(RunManifest.model_validate(SILENT))), False)


SILENT = {**BASE, "select": {"agree": []}}


def test_every_annotator_of_a_family_must_agree_and_be_sure() -> None:
    tone = {"engine": "tone"}
    changes = {
        "annotate": {"gender": [tone, tone]},
        "select": {"agree": ["gender"], "confidence_min": {"gender_2": 0.6}},
    }
    manifest = RunManifest.model_validate({**BASE, **changes})
    select = manifest.select.model_copy(update={"text": without_text_checks()})
    manifest = manifest.model_copy(update={"select": select})
    assert manifest.slots == ("gender", "gender_2")
    rules = rules_of(manifest, calibrate({}, build_dag(manifest)))
    columns = judged_columns(rules)
    texts = {name: "I hear you." for name in columns if name.startswith("script.") and name.endswith("_text")}
    row: dict[str, Any] = dict.fromkeys(columns, 0.0) | texts | {
        "plan.source": "synthetic", "plan.gender": "male", "speak_query.seconds": 1.0, "speak_reply.seconds": 1.0,
        "annotate.heard_gender": "male", "annotate.heard_gender_p": 0.5,
        "annotate.heard_gender_2": "male", "annotate.heard_gender_2_p": 0.6,
        **{f"rate.{role}_{name}": 99.0 for role in ("query", "reply") for name in ("speech_ratio", "snr_db")},
    }  # fmt: skip
    assert judge([row], "", rules) == ("kept", [])
    assert judge([{**row, "annotate.heard_gender_2_p": 0.512}], "", rules)[1] == ["gender_2_unsure 0.512 < 0.6"]
    assert judge([{**row, "annotate.heard_gender_2": "female"}], "", rules)[1] == [
        "gender_2_disagrees heard female, asked male"
    ]
