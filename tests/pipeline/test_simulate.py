"""The replay of a run on a cluster: cases that can be computed by hand, and rules that must hold for all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import UserError
from manifests.ledger import CellRecord
from manifests.run import load_run
from pipeline.cluster import load_cluster
from pipeline.schedule import Node
from pipeline.simulate import Cluster, Cost, Prediction, Simulation
from pipeline.throughput import STEPS, barriers, fit, sizes

ONE = (Node("speak", (), "main"),)
TWO = (Node("speak", (), "voice"), Node("hear", ("speak",), "ears"))
CALM = Cluster(1, {"main": 1})


def play(
    nodes: Any, parts: Mapping[int, int], costs: Mapping[str, Cost], cluster: Cluster, ahead: int = 16
) -> Prediction:
    return Simulation(nodes, parts, costs, cluster, ahead).run()


def test_one_worker_takes_the_sum() -> None:
    done = play(ONE, {0: 10, 1: 20}, {"speak": Cost(2.0, 1.0)}, CALM)
    assert done.grid_s == 10 * 2 + 1 + 20 * 2 + 1
    assert (done.cells, done.idle_share, done.failures) == (2, 0.0, 0)


def test_starting_loading_and_handing_out_take_their_time() -> None:
    cluster = replace(CALM, start_s=5.0, dispatch_s=0.5)
    done = play(ONE, {0: 10, 1: 10}, {"speak": Cost(1.0, load_s=3.0)}, cluster)
    assert done.grid_s == 5 + 3 + 2 * 10.5, "the model is loaded once"
    assert done.idle_share == pytest.approx(5 / 29)


def test_two_workers_share_and_the_biggest_part_is_first() -> None:
    done = play(ONE, {0: 1, 1: 2, 2: 3}, {"speak": Cost(1.0)}, Cluster(2, {"main": 1}))
    assert done.grid_s == 3, "3 beside 2 and 1"
    assert done.idle_share == 0


def test_a_pipeline_of_two_pools_is_as_fast_as_its_slower_one() -> None:
    parts, costs = dict.fromkeys(range(4), 1), {"speak": Cost(2.0), "hear": Cost(3.0)}
    done = play(TWO, parts, costs, Cluster(1, {"voice": 1, "ears": 1}))
    assert done.grid_s == 2 + 4 * 3
    assert done.idle("voice") == pytest.approx(1 - 8 / 14)
    assert done.idle("ears") == pytest.approx(2 / 14)
    held = play(TWO, parts, costs, Cluster(1, {"voice": 1, "ears": 1}), ahead=1)
    assert held.grid_s == 4 * (2 + 3), "with a lead of one part a stage waits for its reader"


def test_speed_and_stragglers() -> None:
    parts, costs = dict.fromkeys(range(8), 1), {"speak": Cost(4.0)}
    assert play(ONE, parts, costs, replace(CALM, speed=2.0)).grid_s == 16
    assert play(ONE, parts, costs, replace(CALM, stragglers=1.0, straggler_factor=3.0)).grid_s == 96


def test_a_failed_node_loses_what_it_has_in_hand_and_comes_back() -> None:
    cluster = Cluster(1, {"main": 1}, start_s=1.0, restart_s=10.0, failures_per_day=3000.0, seed=3)
    done = play(ONE, dict.fromkeys(range(10), 1), {"speak": Cost(5.0)}, cluster)
    assert done.failures > 0 and done.cells == 10
    assert done.busy_s["main"] == pytest.approx(50)
    assert done.lost_cells <= done.failures
    # Every second is of a cell that was made, of one that was lost, of a start, or of waiting for the node.
    starts = 1 + 11 * done.failures
    assert 50 + done.lost_s <= done.grid_s <= 50 + done.lost_s + starts + 1e-6


def test_what_can_never_end_is_refused() -> None:
    storm = Cluster(1, {"main": 1}, failures_per_day=86_400.0, restart_s=1.0)
    with pytest.raises(UserError, match="speak, part 0, is lost 50 times"):
        play(ONE, {0: 1}, {"speak": Cost(100.0)}, storm)


def test_what_is_missing_is_told() -> None:
    with pytest.raises(UserError, match="nothing says how long it takes"):
        play(ONE, {0: 1}, {}, CALM)
    with pytest.raises(UserError, match="the pool ears, which runs hear, has no workers"):
        play(TWO, {0: 1}, {"speak": Cost(1.0), "hear": Cost(1.0)}, Cluster(1, {"voice": 1}))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 3), st.integers(1, 3), st.integers(0, 99), st.sampled_from([0.0, 200.0]))
def test_a_replay_is_its_seeds_and_no_faster_than_its_work(
    parts: int, nodes: int, workers: int, seed: int, failures: float
) -> None:
    costs = {"speak": Cost(1.0, 0.5, 2.0, (0.5, 1.0, 1.5)), "hear": Cost(2.0)}
    cluster = Cluster(nodes, {"voice": workers, "ears": 1}, 1.0, 1.0, 0.1, failures, 20.0, 0.1, 2.0, 0.0, seed)
    rows = sizes(parts * 8, parts, seed)
    done = play(TWO, rows, costs, cluster)
    again = play(TWO, rows, costs, cluster)
    assert vars(done) == vars(again)
    assert done.cells == 2 * parts
    assert all(0 <= done.idle(pool) <= 1 for pool in ("voice", "ears"))
    longest = max(done.busy_s["voice"] / (nodes * workers), done.busy_s["ears"] / nodes)
    assert done.grid_s >= longest + cluster.start_s - 1e-6


def test_the_slow_cells_are_the_same_whoever_makes_them() -> None:
    costs, parts = {"speak": Cost(1.0, spread=(0.5, 1.0, 4.0))}, dict.fromkeys(range(20), 10)
    few, many = (play(ONE, parts, costs, Cluster(count, {"main": 1}, seed=5)) for count in (1, 7))
    assert few.stages["speak"] == pytest.approx(many.stages["speak"])


def record(rows: int, wall: float, finished: float, worker: str = "a") -> CellRecord:
    metrics = {"made": rows, "wall_s": wall - 0.25, "commit_s": 0.25, "finished": finished, "worker": worker}
    return CellRecord("speak", 0, "k", "d", "s", 1, rows, [], metrics)


def test_costs_are_learnt_from_records_without_the_loading_of_the_first_cells() -> None:
    later = [record(rows, 2 + 0.5 * rows, 100 + rows) for rows in (10, 20, 40)]
    cost = fit([record(10, 7 + 9, 1), *later])
    assert (cost.row_s, cost.cell_s, cost.load_s) == pytest.approx((0.5, 2.0, 9.0))
    assert cost.spread == pytest.approx((1.0, 1.0, 1.0), abs=1e-3)
    even = fit([record(10, 5, number) for number in range(3)])
    assert (even.row_s, even.cell_s) == pytest.approx((0.5, 0.0)), "cells of one size tell no line"
    assert fit([record(10, 5, 1)]).load_s == 0


def test_parts_hold_every_row_of_a_plan() -> None:
    rows = sizes(1000, 8, 1)
    assert sum(rows.values()) == 1000 and len(rows) == 8 and len(set(rows.values())) > 1
    assert sizes(1000, 8, 1) == rows != sizes(1000, 8, 2)


def test_a_cluster_file_is_checked(tmp_path: Path) -> None:
    manifest, file = load_run(Path("tone")), tmp_path / "cluster.yaml"
    assert load_cluster(None, manifest).nodes == 1
    file.write_text("nodes: 3\nworkers: {main: 4}\nnode_hour: 2.5\n")
    found = load_cluster(file, manifest).cluster(manifest, 7.0, 0.01)
    assert (found.nodes, found.workers, found.start_s, found.dispatch_s) == (3, {"main": 4}, 7.0, 0.01)
    for text, why in (
        ("nodes: 0", "nodes"),
        ("[1]", "a cluster is a mapping"),
        ("workers: {gpu: 1}", "workers.gpu: is no pool of the manifest: use main"),
        ("stragglers: 2", "stragglers"),
        ("nods: 1", "nods"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=why):
            load_cluster(file, manifest)


@pytest.mark.parametrize("number", [2000, 20_000])
def test_steps_beside_the_grid_grow_as_they_were_measured_to(tmp_path: Path, number: int) -> None:
    """A step's start is counted once, not by dialogue: from 2,000 dialogues that was four times too much."""
    runs = json.loads((ROOT / "benchmarks" / "results" / "scale.json").read_bytes())["build"]
    took = {line["dialogues"]: line["wall_s_by_step"] for line in runs}
    (tmp_path / "profile.json").write_text(json.dumps({"steps": took[number], "first_cell_s": 5.0}))
    steps, start = barriers(tmp_path, number, beam=True)
    assert start == 5.0
    real = sum(took[100_000][name] for name in STEPS if name in took[100_000])
    assert sum(step.seconds(100_000) for step in steps.values()) == pytest.approx(real, rel=0.15)
    assert sum(step.seconds(number) for step in steps.values()) == pytest.approx(sum(took[number][n] for n in steps))
    assert [name for name, step in steps.items() if not step.told] == (["plan", "select"] if number == 2000 else [])


def test_a_run_too_small_to_tell_and_references_of_voices_do_not_grow(tmp_path: Path) -> None:
    (tmp_path / "profile.json").write_text("[]")
    assert barriers(tmp_path, 10, beam=False) == ({}, 0.0), "it is no profile"
    profile = {"steps": {"plan": 2.0, "voices": 30.0, "shard": 1.0, "grid": 9.0}, "first_cell_s": 1.0}
    (tmp_path / "profile.json").write_text(json.dumps(profile))
    steps, _ = barriers(tmp_path, 10, beam=False)
    assert {name: step.seconds(1000) for name, step in steps.items()} == {"plan": 2.0, "voices": 30.0, "shard": 100.0}
    assert [step.told for step in steps.values()] == [False, True, True]
