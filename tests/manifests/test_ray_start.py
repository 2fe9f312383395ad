"""A machine that is too busy for Ray's 30 seconds is waited for, and told apart from one that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from manifests.errors import WorkFailedError
from manifests.ray_start import start_ray

SLOW = "The current node timed out during startup. This could happen because some of the raylet failed to startup"


class Node:
    """Stands in for the machine: `ray.init` on it is as slow as told."""

    def __init__(self, slow: int, why: str = SLOW) -> None:
        self.slow, self.why, self.tried, self.cleared = slow, why, 0, 0

    def init(self, **options: Any) -> None:
        self.tried += 1
        if self.tried <= self.slow:
            raise Exception(self.why)

    def shutdown(self) -> None:
        self.cleared += 1


def on(monkeypatch: pytest.MonkeyPatch, node: Node) -> None:
    import ray

    monkeypatch.setattr(ray, "init", node.init)
    monkeypatch.setattr(ray, "shutdown", node.shutdown)


def test_a_slow_node_is_tried_again_after_its_remains_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(slow=2)
    on(monkeypatch, node)
    start_ray("local")
    assert (node.tried, node.cleared) == (3, 2)


def test_a_node_that_never_comes_up_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, Node(slow=100))
    with pytest.raises(WorkFailedError, match=r"Ray did not start.* timed out during startup.* same command again"):
        start_ray("local")


def test_another_fault_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(slow=100, why="no such cluster")
    on(monkeypatch, node)
    with pytest.raises(WorkFailedError, match="no such cluster"):
        start_ray("10.0.0.1:6379")
    assert node.tried == 1
