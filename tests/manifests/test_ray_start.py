"""Ray that does not start, or cannot be joined, is a sentence and no traceback."""

from __future__ import annotations

import pytest
import ray

from manifests.errors import WorkFailedError
from manifests.ray_start import start_ray


def test_ray_that_does_not_start_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(**options: object) -> None:
        raise Exception("The current node timed out during startup.")  # as Ray does

    monkeypatch.setattr(ray, "init", slow)
    with pytest.raises(WorkFailedError, match=r"Ray did not start.* timed out during startup.* same command again"):
        start_ray("local")
