"""The loop over Ray's workers where some fail to start: a few are replaced, a pool of nothing else ends a build."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from manifests.errors import WorkFailedError
from manifests.workers import ExecutorConfig, Pool
from pipeline import executor
from pipeline.executor import RayExecutor
from pipeline.schedule import Node, Schedule


class Cluster:
    """Stands for Ray: a reference is what `get` calls; workers start and work as the test says."""

    def __init__(self, starts: Callable[[], Any], works: Callable[[Any], Any]) -> None:
        self.starts, self.works = starts, works

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: "here")

    def options(self, **_: Any) -> Any:
        actor = SimpleNamespace(
            ready=SimpleNamespace(remote=lambda: lambda: self.starts()),
            do=SimpleNamespace(remote=lambda job: lambda: self.works(job)),
        )
        return SimpleNamespace(remote=lambda *_: actor)

    def remote(self, _: type) -> Any:
        return self

    def wait(self, references: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return references[:1], references[1:]

    def get(self, reference: Callable[[], Any]) -> Any:
        return reference()

    def kill(self, *_: Any, **__: Any) -> None:
        """It is dead."""


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Cluster, cells: int) -> list[Any]:
    """The records of a schedule of one stage."""
    monkeypatch.setattr(executor, "start_ray", lambda *_, **__: cluster)
    made = list[Any]()
    pools = (Pool(count=1),)
    ray = RayExecutor(tmp_path, ExecutorConfig(), pools, lambda *_, **__: None)
    schedule = Schedule([Node("speak", (), "main")], list(range(cells)), set())
    ray.run(schedule, lambda cell: cell, lambda _, record: made.append(record))  # type: ignore[arg-type, return-value]
    return made


def dead() -> Exception:
    import ray.exceptions

    return ray.exceptions.RayActorError(error_msg="the node is gone")


def test_workers_that_are_lost_now_and_then_end_no_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on nodes that are taken away: each cell's first worker dies, and so does the next one before it begins."""
    tried, left = set[Any](), []

    def starts() -> None:
        if left:
            left.pop()
            raise dead()

    def works(job: Any) -> Any:
        if job not in tried:
            tried.add(job)
            left.append("one that will not start")
            raise dead()
        return job

    made = run(tmp_path, monkeypatch, Cluster(starts, works), 30)
    assert sorted(part for _, part in made) == list(range(30))


def test_a_pool_of_which_no_worker_starts_ends_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def starts() -> None:
        raise dead()

    with pytest.raises(WorkFailedError, match="workers of the pool main died 20 times before one began"):
        run(tmp_path, monkeypatch, Cluster(starts, lambda job: job), 1)
