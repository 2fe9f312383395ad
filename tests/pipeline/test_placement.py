"""How many whole GPUs the workers of some pools take: none spans two."""

from __future__ import annotations

import pytest
import yaml
from conftest import ROOT

from manifests.workers import Pool
from pipeline.estimate import whole_gpus


@pytest.mark.parametrize(
    ("workers", "whole"),
    [
        ([(3, 0.0)], 0),
        ([(5, 1.0)], 5),
        ([(2, 4.0)], 8),
        ([(7, 0.4)], 4),
        ([(7, 0.3)], 3),
        ([(10, 0.1)], 1),
        ([(3, 0.3333), (1, 0.0001)], 1),
        ([(2, 0.3), (5, 0.3), (2, 0.1)], 3),
        ([(4, 0.6), (4, 0.4), (1, 0.1)], 5),
        ([(1, 0.7), (1, 0.5), (1, 0.3), (1, 0.5)], 2),
        ([(1_000_000, 0.3), (1_000_000, 0.05)], 350_000),
    ],
)
def test_workers_fill_the_fullest_gpu_that_has_room(workers: list[tuple[int, float]], whole: int) -> None:
    assert whole_gpus([Pool(count=count, gpus=gpus) for count, gpus in workers]) == whole


def test_the_run_for_eight_gpus_fits_eight() -> None:
    run = yaml.safe_load((ROOT / "manifests" / "runs" / "echat200k.yaml").read_text())
    assert whole_gpus([Pool(**pool) for pool in run["workers"]]) == 8
