"""Ablation as a user runs it: it finds what wrong labels cost, calls copies equal, and survives being killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ECHAT, ROOT
from tones import tones
from typer.testing import CliRunner

from pipeline.cli import app

pytestmark = pytest.mark.slow


def manifest(**changes: Any) -> dict[str, Any]:
    stage = {
        "name": "understanding", "steps": 60, "tasks": {"understand": 1}, "wanted": ["emotion"], "warmup": 10,
        "augment": "none",
    }  # fmt: skip
    return {
        "name": "noise", "baseline": "clean", "seeds": 3, "workers": {"address": "inline"},
        "train": {
            "threads": 1, "data": {"corpus": "corpus", "hold_out": ["e", "f"]}, "batch": {"items": 12, "window": 48},
            "stages": [stage],
        },
        "evaluate": {"held": {"corpus": "corpus", "speakers": ["e", "f"], "families": ["emotion"]}},
        "metrics": ["emotion.nll", "emotion.uar"],
        "variants": {
            "clean": {}, "again": {"copy": 1},
            "noisy": {"data": {"corrupt": {"emotion": 0.35}, "seed": 5}, "about": "a third of the labels is wrong"},
        },
        "trends": {"noise": {"levels": {"clean": 0, "noisy": 0.35}}},
        "map": {"variant": "noisy", "checkpoints": 3},
        **changes,
    }  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablation")
    tones(folder / "corpus", "abcdef")
    (folder / "ablation.yaml").write_text(yaml.safe_dump(manifest()))
    return folder


def ablate(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["ablate", *map(str, arguments)])


@pytest.fixture(scope="module")
def found(place: Path) -> dict[str, Any]:
    result = ablate(place / "ablation.yaml", "--out", place / "out", "--quiet", "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def of(found: dict[str, Any], metric: str) -> dict[str, Any]:
    return next(told for told in found["metrics"] if told["metric"] == metric)


def test_wrong_labels_hurt_and_a_copy_does_not(found: dict[str, Any]) -> None:
    nll = of(found, "emotion.nll")
    assert nll["differences"]["noisy"]["word"] == "hurts"
    assert nll["differences"]["noisy"]["p_corrected"] < 0.05
    assert nll["differences"]["again"]["word"] == "no evidence"
    assert "would have been found" in nll["differences"]["again"]["sentence"]
    assert nll["trends"]["noise"]["word"] == "rises"
    assert of(found, "emotion.uar")["variants"]["clean"]["value"] > 0.9, "the task is learned"


def test_planted_labels_are_listed_first(found: dict[str, Any]) -> None:
    planted = found["map"]["planted"]
    assert planted["k"] == sum(wrong for *_, wrong in found["map"]["points"]) > 10
    assert planted["precision"] > 1.6 * planted["chance"]
    assert all(set(row) >= {"item", "label", "confidence", "margin", "spread"} for row in found["map"]["rows"])


def test_again_trains_nothing_and_says_the_same(place: Path, found: dict[str, Any]) -> None:
    before = (place / "out" / "ablation.json").read_bytes()
    started = {path: path.stat().st_mtime_ns for path in (place / "out" / "jobs").glob("*/result.json")}
    assert len(started) == 9
    again = ablate(place / "ablation.yaml", "--out", place / "out", "--quiet")
    assert again.exit_code == 0 and "hurts: emotion.nll" in again.output
    assert (place / "out" / "ablation.json").read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in started} == started
    plan = json.loads(ablate(place / "ablation.yaml", "--out", place / "out", "--plan", "--json").stdout)
    assert (plan["jobs"], plan["done"]) == (9, 9)


def test_equal_variants_train_once(place: Path) -> None:
    values = manifest(map=None)
    values["variants"] = {"clean": {}, "twin": {"data": {"share": 1.0}}}
    values["trends"] = {}
    (place / "twin.yaml").write_text(yaml.safe_dump(values))
    plan = json.loads(ablate(place / "twin.yaml", "--out", place / "out", "--plan", "--json").stdout)
    assert (plan["jobs"], plan["done"]) == (3, 3), "the clean trainings of the other ablation are taken"


def test_killed_anywhere_it_ends_with_the_same_table(place: Path) -> None:
    values = manifest(seeds=2, map=None)
    del values["variants"]["again"]
    values["train"]["stages"][0]["steps"] = 12
    (place / "inline.yaml").write_text(yaml.safe_dump(values))
    (place / "ray.yaml").write_text(yaml.safe_dump({**values, "workers": {"count": 1}}))
    quiet = ablate(place / "inline.yaml", "--out", place / "left-alone", "--quiet", "--json")
    assert quiet.exit_code == 0, quiet.output
    command = [str(ECHAT), "ablate", "ray.yaml", "--out", "killed"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=place, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
    jobs = place / "killed" / "jobs"
    deadline = time.monotonic() + 240
    while not list(jobs.glob("*/result.json")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    first = {path: path.stat().st_mtime_ns for path in jobs.glob("*/result.json")}
    assert 1 <= len(first) < 4, "it was killed after a job or two"
    again = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=400)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in first} == first, "what was finished is not repeated"
    killed = json.loads((place / "killed" / "ablation.json").read_bytes())
    assert killed["metrics"] == json.loads(quiet.stdout)["metrics"]


def test_a_failing_training_leaves_the_others(place: Path, found: dict[str, Any]) -> None:
    values = manifest(map=None, trends={})
    stage = {**values["train"]["stages"][0], "lr": 1e30}
    values["variants"] = {"clean": {}, "broken": {"stages": [stage]}}
    (place / "broken.yaml").write_text(yaml.safe_dump(values))
    result = ablate(place / "broken.yaml", "--out", place / "out", "--quiet", "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    broken = next(variant for variant in told["variants"] if variant["name"] == "broken")
    assert broken["ended"] == 0 and len(broken["failed"]) == 3
    assert all("is no number" in error for error in broken["failed"].values())
    assert of(told, "emotion.nll")["differences"]["broken"]["word"] == "no verdict"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": 1}, "ask for two seeds or more"),
        ({"baseline": "dirty"}, "'dirty' is none of the variants"),
        ({"evaluate": {"held": {"corpus": "corpus", "speakers": ["d", "e"]}}}, "10 recordings|20 recordings"),
        ({"metrics": ["emotion"]}, "is no metric"),
        ({"metrics": ["other/emotion.uar"]}, "write SET/METRIC"),
        ({"variants": {"clean": {}, "long": {"stages": [{"name": "a", "steps": 31, "tasks": {"understand": 1}}]}}},
         "trains 31 steps of 12 items, clean 60"),
        ({"variants": {"clean": {}, "odd": {"data": {"colour": 1}}}}, "variants.odd.data.colour"),
        ({"variants": {"clean": {}, "cut": {"select": {"query_wer_max": 0.1}}}}, "the base trains on a corpus"),
        ({"metrics": ["emotoin.uar"]}, "gives no emotoin.uar: use one of emotion.uar"),
        ({"metrics": ["reply.nll"]}, "those of replies need replies: true"),
        ({"units": "speaker"}, "has 2 speakers, too few"),
        ({"variants": {"clean": {}, "few": {"data": {"share": 0.05}}}}, "items to train on, and a batch takes 12"),
        ({"evaluate": {"held": {"corpus": "corpus", "speakers": ["e", "typo"]}}}, "has no speaker 'typo': use a, b"),
        ({"evaluate": {"held": {"corpus": "corpus", "speakers": ["e"], "replies": True}}}, "recordings .* have none"),
        ({"evaluate": {"held": {"shards": "corpus", "speakers": ["e"]}}}, "shards have a split"),
        ({"evaluate": {"held": {"corpus": "corpus", "speakers": ["e"], "families": ["event"]}},
          "metrics": ["event.nll"]}, "nothing in evaluate.held has a label of event"),
    ],
)  # fmt: skip
def test_a_wrong_design_is_refused_with_the_reason(place: Path, changes: dict[str, Any], said: str) -> None:
    values = {**manifest(), "trends": {}, "map": None, **changes}
    (place / "wrong.yaml").write_text(yaml.safe_dump(values))
    result = ablate(place / "wrong.yaml", "--out", place / "wrong")
    assert result.exit_code == 2, result.output
    assert re.search(said, result.output), result.output
    assert not (place / "wrong" / "jobs").exists()


def test_two_folders_of_one_corpus_share_their_speakers(place: Path) -> None:
    tones(place / "more" / "corpus", "xa", seconds=0.5)  # other recordings of somebody called a
    values = manifest(trends={}, map=None, evaluate={"held": {"corpus": "more/corpus", "families": ["emotion"]}})
    (place / "wrong.yaml").write_text(yaml.safe_dump(values))
    result = ablate(place / "wrong.yaml", "--out", place / "wrong")
    assert result.exit_code == 2 and "1 speakers are in its training and in evaluate.held (corpus:a)" in result.output


def test_a_map_does_not_tell_of_interruptions(place: Path) -> None:
    values = manifest(seeds=2, trends={}, metrics=["emotion.nll"], map={"variant": "clean", "checkpoints": 3})
    values["variants"] = {"clean": {}, "again": {"copy": 1}}
    values["train"]["stages"][0]["steps"] = 30
    (place / "map.yaml").write_text(yaml.safe_dump(values))
    whole = ablate(place / "map.yaml", "--out", place / "whole", "--quiet", "--json")
    assert whole.exit_code == 0, whole.output
    command = [str(ECHAT), "ablate", "map.yaml", "--out", "stopped", "--quiet"]
    process = subprocess.Popen(command, cwd=place, env={**os.environ, "PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + 240
    while not list((place / "stopped" / "jobs").glob("*/train/metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=240) == 130
    assert len(list((place / "stopped" / "jobs").glob("*/train/step-*"))) % 3, "it saved where it was"
    again = ablate(place / "map.yaml", "--out", place / "stopped", "--quiet", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["map"] == json.loads(whole.stdout)["map"]


def test_tokens_in_place_of_items_are_no_equal_budget(place: Path) -> None:
    values = manifest()
    del values["train"]["batch"]["items"]
    (place / "wrong.yaml").write_text(yaml.safe_dump(values))
    result = ablate(place / "wrong.yaml", "--out", place / "wrong")
    assert result.exit_code == 2 and "train.batch.items: must be given" in result.output


def test_what_a_model_was_started_from_counts(place: Path) -> None:
    before = {"data": {"corpus": str(place / "corpus"), "hold_out": ["a"]}, "model": {}, "seed": 0}
    (place / "older").mkdir()
    (place / "older" / "model.json").write_text(json.dumps({"format": 1, "recipe": before}))
    values = manifest(map=None, trends={})
    values["train"]["model"] = {"checkpoint": "older"}
    (place / "wrong.yaml").write_text(yaml.safe_dump(values))
    result = ablate(place / "wrong.yaml", "--out", place / "wrong")
    assert result.exit_code == 2 and "40 recordings are in its training and in evaluate.held" in result.output
