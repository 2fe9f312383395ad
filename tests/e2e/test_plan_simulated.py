"""`build --profile`, and `plan --simulate`, `--cluster`, `--like` on what it wrote, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, echat, merged

from pipeline.throughput import planned

TURNS = {"1": 0.4, "2": 0.3, "3": 0.3}


def manifest(path: Path, quota: int, **changes: Any) -> Path:
    base = yaml.safe_load((ROOT / "manifests" / "runs" / "tone.yaml").read_text())
    plan = {"quotas": {"neutral": quota}, "turns": {int(number): share for number, share in TURNS.items()}}
    path.write_text(yaml.safe_dump(merged(base, {"plan": plan, **changes})))
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of dialogues of several turns, in a folder in which another plan was built before."""
    folder = tmp_path_factory.mktemp("like")
    out = folder / "out"
    for quota in (6, 10):
        file = manifest(folder / "run.yaml", quota)
        done = echat("build", file, "--out", out, "--profile")
        assert done.returncode == 0, done.stderr
        assert "The run is bound by" in done.stdout and "worker-seconds" in done.stdout
    return folder


def simulated(*args: object) -> dict[str, Any]:
    done = echat("plan", *args, "--assume-cluster", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["simulated"]


def test_a_profile_is_written_for_machines(built: Path) -> None:
    found = json.loads((built / "out" / "profile.json").read_bytes())
    assert found["steps"].keys() == {"plan", "grid", "select", "shard", "verify"}
    assert found["stages"]["speak_reply"]["rows"] > 0 and found["bound"]


def test_a_run_is_simulated_without_another(built: Path) -> None:
    assert echat("plan", built / "run.yaml").stdout.count("simulated on") == 0
    done = echat("plan", built / "run.yaml", "--simulate")
    assert done.returncode == 0, done.stderr
    assert "simulated on 1 nodes (2 main workers), times from what the engines state of themselves:" in done.stdout
    assert "plan, select and shards not counted" in done.stdout


def test_a_cluster_shortens_a_run_and_has_a_price(built: Path) -> None:
    cluster = built / "cluster.yaml"
    cluster.write_text("nodes: 2\nworkers: {main: 4}\nnode_hour: 3000\n")
    alone, many = simulated(built / "run.yaml", "--simulate"), simulated(built / "run.yaml", "--cluster", cluster)
    assert (alone["workers"], many["workers"], alone["cells"]) == ({"main": 2}, {"main": 8}, many["cells"])
    assert many["grid_s"] < alone["grid_s"] and alone["cost"] == 0 < many["cost"]
    cluster.write_text("nodes: 0\n")
    done = echat("plan", built / "run.yaml", "--cluster", cluster)
    assert done.returncode == 2 and "cluster.yaml: nodes" in done.stderr


def test_a_built_run_says_how_long_a_larger_one_takes(built: Path) -> None:
    out, large = built / "out", manifest(built / "large.yaml", 200)
    small, more = simulated(built / "run.yaml", "--like", out), simulated(large, "--like", out)
    assert small["steps_s"].keys() == {"plan", "select", "shard", "verify"}
    assert more["grid_s"] > 5 * small["grid_s"], "cells grow with the dialogues"
    assert more["steps_s"]["plan"] < 5 * small["steps_s"]["plan"], "the start of Beam does not"
    assert "plan" in more["steps_untold"]
    done = echat("plan", large, "--like", out, "--assume-cluster")
    assert f"times from {out}" in done.stdout and "one of more dialogues tells more" in done.stdout
    done = echat("plan", large, "--like", built / "nothing")
    assert done.returncode == 2 and "is not a run folder" in done.stderr


def test_dialogues_of_the_plan_are_counted_not_turns_nor_earlier_plans(built: Path) -> None:
    rows = len(list((built / "out" / "stages" / "plan").glob("*.json")))
    assert rows > 2, "parts of both plans are there"
    assert planned(built / "out") == 10
