"""The cluster of `echat plan --simulate`: a small YAML file, every key of which may be left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from manifests.errors import UserError
from manifests.run import Ratio, RunManifest, Strict, load_run
from manifests.yamlfile import load_model
from pipeline.dag import Dag
from pipeline.estimate import Estimate
from pipeline.grid import pool_of
from pipeline.schedule import Node
from pipeline.simulate import Cluster, Prediction, Simulation
from pipeline.throughput import Step, barriers, dispatch_s, learnt, planned, sizes, stated


class ClusterFile(Strict):
    """What is assumed of a cluster."""

    nodes: PositiveInt = 1
    workers: dict[str, PositiveInt] = Field(default_factory=dict)
    """Workers of each pool on every node; those that the manifest gives the pool otherwise."""
    speed: PositiveFloat = 1.0
    """Of a worker, against that on which the times were measured."""
    start_s: NonNegativeFloat | None = None
    """Until a worker begins its first cell; as in the run that times are taken from, or 10 s."""
    failures_per_day: NonNegativeFloat = 0.0
    """Of a node, on average."""
    restart_s: NonNegativeFloat = 300.0
    """Until a node is back."""
    stragglers: Ratio = 0.0
    """Share of the cells that take `straggler_factor` times as long."""
    straggler_factor: float = Field(default=3.0, ge=1)
    node_hour: NonNegativeFloat = 0.0
    """Price of a node for an hour, in whatever currency."""
    seed: int = 0

    def cluster(self, manifest: RunManifest, start_s: float, between_s: float) -> Cluster:
        """With what the manifest and an earlier run know."""
        workers = {pool.name: self.workers.get(pool.name, pool.count) for pool in manifest.workers}
        return Cluster(
            self.nodes, workers, self.speed, start_s if self.start_s is None else self.start_s, between_s,
            self.failures_per_day, self.restart_s, self.stragglers, self.straggler_factor, self.node_hour, self.seed,
        )  # fmt: skip


def load_cluster(path: Path | None, manifest: RunManifest) -> ClusterFile:
    """Read a cluster file, or assume one node.

    Raises:
        UserError: A key is unknown or wrong, or a pool is none of the manifest's; names the file.
    """
    if path is None:
        return ClusterFile()
    found = load_model(path, ClusterFile, "a cluster")
    pools = [pool.name for pool in manifest.workers]
    for name in found.workers:
        if name not in pools:
            raise UserError(f"{path}: workers.{name}: is no pool of the manifest: use {', '.join(pools)}")
    return found


def predict(dag: Dag, figures: Estimate, file: ClusterFile, like: Path | None = None) -> tuple[Prediction, Any]:
    """Replay a planned run; also wall seconds, cost and what was assumed, for people and machines.

    Args:
        like: A run folder whose records say how long cells take; what engines state of themselves otherwise.
    """
    steps: dict[str, Step] = {}
    if like is None:
        costs, between, start = stated(dag, figures), 0.0, 10.0
    else:
        costs, between = learnt(dag, like), dispatch_s(like, dag)
        steps, start = barriers(like, planned(like), bool(load_run(like / "run.yaml").executor.beam))
    cluster = file.cluster(dag.manifest, start, between)
    pools = dag.manifest.workers
    nodes = [Node(stage.name, stage.upstream, pool_of(pools, stage.name).name) for stage in dag.stages]
    rows = sizes(figures.dialogues, figures.parts, dag.manifest.seed, figures.turns / max(figures.dialogues, 1))
    done = Simulation(nodes, rows, costs, cluster, dag.manifest.executor.ahead).run()
    beside = {name: step.seconds(figures.dialogues) for name, step in steps.items()}
    wall = done.grid_s + sum(beside.values())
    document = {
        "nodes": cluster.nodes,
        "workers": {name: count * cluster.nodes for name, count in cluster.workers.items()},
        "cells": done.cells,
        "wall_s": round(wall, 1),
        "grid_s": round(done.grid_s, 1),
        "steps_s": {name: round(seconds, 1) for name, seconds in beside.items()},
        "steps_start_s": round(sum(step.start_s for step in steps.values()), 1),
        "steps_untold": [name for name, step in steps.items() if not step.told],
        "idle_share": round(done.idle_share, 4),
        "idle_share_by_pool": {name: round(done.idle(name), 4) for name in cluster.workers},
        "stage_worker_s": {name: round(value, 1) for name, value in done.stages.items()},
        "failures": done.failures,
        "lost_cells": done.lost_cells,
        "lost_worker_s": round(done.lost_s, 1),
        "cost": round(wall / 3600 * cluster.nodes * cluster.node_hour, 2),
        "times_from": str(like) if like else "what the engines state of themselves",
    }
    return done, document


def _time(seconds: float) -> str:
    return f"{seconds / 3600:,.2f} hours" if seconds >= 3600 else f"{seconds:,.0f} s"


def lines(document: dict[str, Any]) -> list[str]:
    """The prediction in sentences."""
    steps = ", ".join(f"{name} {seconds:,.0f} s" for name, seconds in document["steps_s"].items())
    idle = ", ".join(f"{name} {share:.0%}" for name, share in document["idle_share_by_pool"].items())
    workers = ", ".join(f"{count} {name}" for name, count in document["workers"].items())
    out = [
        f"simulated on {document['nodes']} nodes ({workers} workers), times from {document['times_from']}:",
        f"  {_time(document['wall_s'])} in all; {document['cells']:,} cells in {_time(document['grid_s'])}"
        + (f", beside them {steps}" if steps else "; plan, select and shards not counted"),
        f"  workers idle: {idle}",
    ]
    if steps:
        untold = ", ".join(document["steps_untold"])
        out.insert(
            2,
            f"  of the steps beside the cells {document['steps_start_s']:,.0f} s are start, the rest grows with the"
            " dialogues"
            + (f"; {untold}: little but start in that run, one of more dialogues tells more" if untold else ""),
        )
    if document["failures"]:
        out.append(
            f"  {document['failures']} failures of nodes ended {document['lost_cells']} cells,"
            f" {document['lost_worker_s']:,.0f} worker-seconds lost"
        )
    if document["cost"]:
        out.append(f"  cost {document['cost']:,.2f} at the prices of the file")
    return out
