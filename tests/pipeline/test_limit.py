"""A small run in the proportions of a large one."""

from __future__ import annotations

import pytest
from planning import BASE

from manifests.run import RunManifest
from pipeline.limit import limited

QUOTAS = {("emotion", "sad"): 70, ("emotion", "happy"): 20, ("neutral", "neutral"): 10}


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (10, {"emotion": {"sad": 7, "happy": 2}, "neutral": {"neutral": 1}}),
        (3, {"emotion": {"sad": 2, "happy": 1}}),
        (1, {"emotion": {"sad": 1}}),
        (99, {"emotion": {"sad": 69, "happy": 20}, "neutral": {"neutral": 10}}),
    ],
)
def test_quotas_shrink_in_proportion_and_sum_to_the_limit(number: int, expected: dict[str, dict[str, int]]) -> None:
    manifest = RunManifest.model_validate(BASE)
    assert limited(manifest, QUOTAS, number).plan.quotas == expected
    assert sum(sum(labels.values()) for labels in expected.values()) == number


@pytest.mark.parametrize("number", [100, 1000])
def test_a_limit_beyond_the_quotas_changes_nothing(number: int) -> None:
    manifest = RunManifest.model_validate(BASE)
    assert limited(manifest, QUOTAS, number) is manifest
