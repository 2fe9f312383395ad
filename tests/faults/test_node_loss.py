"""A simulated cluster of Ray that loses a node: its cells are made on what is left, though it has room for less."""

from __future__ import annotations

import threading

import pytest
from conftest import CHAOS, calls, tree
from killing import events, wait_for

from manifests.run import load_run
from pipeline.build import build
from pipeline.verify import verify

pytestmark = pytest.mark.slow
QUICK = {"health_check_period_ms": 500, "health_check_timeout_ms": 1000, "health_check_failure_threshold": 2}


def test_a_lost_node_costs_only_what_was_in_flight(tone_yaml, tmp_path, chaos):
    from ray.cluster_utils import Cluster

    plan = {"quotas": {"emotion": 8, "neutral": 4}}
    calm_file = tone_yaml("calm.yaml", **CHAOS, plan=plan)
    calm = build(load_run(calm_file), calm_file, tmp_path / "calm", quiet=True)
    (chaos / "calls").unlink()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": QUICK})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        cluster.wait_for_nodes()
        speaker = {"engine": "chaos", "pause_s": 0.5}
        file = tone_yaml(
            **CHAOS | {"speak_query": speaker, "speak_reply": speaker},
            plan=plan,
            executor={"kind": "ray", "address": cluster.address},
            workers=[{"name": "all", "count": 2, "cpus": 1.0}],
        )
        lost = []

        def lose() -> None:
            if wait_for(lambda: len(calls(chaos)) >= 3, 120):
                cluster.remove_node(nodes[1], allow_graceful=False)
                lost.append(nodes[1])

        thread = threading.Thread(target=lose)
        thread.start()
        result = build(load_run(file), file, tmp_path / "out", quiet=True)
        thread.join()
    finally:
        cluster.shutdown()
    assert lost
    assert result.findings == [] and verify(tmp_path / "out") == []
    assert tree(result.shards) == tree(calm.shards)
    assert len(events(tmp_path / "out", "worker_lost")) == 1
