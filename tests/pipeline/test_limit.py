"""A small run in the proportions of a large one."""

from __future__ import annotations

import pytest
from planning import BASE, ids, planning

from manifests.run import RunManifest
from pipeline.limit import limited

LABELS = {"emotion": ["sad", "happy", "fear"], "neutral": ["neutral"]}
QUOTAS = {("emotion", "sad"): 70, ("emotion", "happy"): 20, ("neutral", "neutral"): 10}


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (10, {"emotion": {"sad": 7, "happy": 2, "fear": 0}, "neutral": {"neutral": 1}}),
        (3, {"emotion": {"sad": 2, "happy": 1, "fear": 0}, "neutral": {"neutral": 0}}),
        (1, {"emotion": {"sad": 1, "happy": 0, "fear": 0}, "neutral": {"neutral": 0}}),
        (99, {"emotion": {"sad": 69, "happy": 20, "fear": 0}, "neutral": {"neutral": 10}}),
    ],
)
def test_quotas_shrink_in_proportion_and_sum_to_the_limit(number: int, expected: dict[str, dict[str, int]]) -> None:
    manifest = RunManifest.model_validate(BASE)
    assert limited(manifest, QUOTAS, LABELS, number).plan.quotas == expected
    assert sum(sum(labels.values()) for labels in expected.values()) == number


@pytest.mark.parametrize("number", [100, 1000])
def test_a_limit_beyond_the_quotas_changes_nothing(number: int) -> None:
    manifest = RunManifest.model_validate(BASE)
    assert limited(manifest, QUOTAS, LABELS, number) is manifest


@pytest.mark.parametrize("quotas", [{"emotion": 12, "gender": 6}, {"emotion": {"sad": 7, "happy": 4}, "neutral": 5}])
def test_the_large_run_holds_the_small_ones_dialogues(quotas: dict) -> None:
    whole = planning(quotas)
    labels = {task: whole.rivals(task) for task in quotas}
    for number in (3, 8, 14):
        small = limited(whole.manifest, whole.quotas, labels, number).plan.quotas
        found = ids(planning(small))
        assert len(found) == number
        assert found <= ids(whole)
