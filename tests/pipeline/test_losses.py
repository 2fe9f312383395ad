"""Deaths of workers on a cell: which rows they are laid to, and which count against the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench import name
from conftest import ROOT

from manifests.errors import WorkFailedError
from manifests.run import load_run
from manifests.workers import ExecutorConfig, Pool
from pipeline.cell import CellJob
from pipeline.executor import RayExecutor, _Losses
from pipeline.runner import Runner, crumb_path, read_crumb

A, B = (name(0), 0), (name(1), 0)


def test_a_row_that_finds_no_memory_twice_counts_for_itself() -> None:
    losses = _Losses()
    for row in [(name(place), 0) for place in range(60)]:
        losses.add((row,), no_memory=True)
        assert losses.suspect == row
        assert losses.unexplained == 1
        losses.add((row,), no_memory=True)
        assert losses.suspect is None
        assert row in losses.no_memory
        assert losses.unexplained == 0
    assert losses.total == 120
    assert losses.poison == ()


def test_an_engine_that_leaks_blames_no_row_and_ends_the_run() -> None:
    losses = _Losses()
    for place in range(50):
        losses.add(((name(place % 7), 0),), no_memory=True)
    assert losses.no_memory == set()
    assert losses.unexplained == 50


def test_other_deaths_count_and_are_laid_to_the_row_that_was_alone() -> None:
    losses = _Losses()
    losses.add((A, B), no_memory=False)
    losses.add((A,), no_memory=False)
    losses.add((B,), no_memory=True)
    losses.add((A,), no_memory=False)
    losses.add((), no_memory=False)
    losses.add((B,), no_memory=True)
    assert losses.poison == (A,)
    assert losses.no_memory == set(), "between the two, another row was first"
    assert (losses.total, losses.unexplained, losses.blind) == (6, 6, 1)


@pytest.mark.parametrize("text", ["", "{", '{"rows": [["' + name(0)])
def test_a_crumb_that_was_never_written_whole_names_no_row(tmp_path: Path, text: str) -> None:
    path = crumb_path(tmp_path, "shout", 3)
    path.parent.mkdir()
    path.write_text(text)
    assert read_crumb(tmp_path, "shout", 3) == ((), False)
    path.write_text(json.dumps({"no_memory": True, "rows": [A, B]}))
    assert read_crumb(tmp_path, "shout", 3) == ((A, B), True)
    assert read_crumb(tmp_path, "shout", 4) == ((), False)


@pytest.mark.parametrize("starves", [False, True])
def test_a_worker_that_ends_for_want_of_memory_leaves_word_of_it(tmp_path: Path, starves: bool) -> None:
    seen: list[bool] = []
    manifest = load_run(ROOT / "manifests" / "runs" / "tone.yaml")
    runner = Runner(tmp_path, manifest, no_memory=lambda: seen.append(read_crumb(tmp_path, "script", 0)[1]))
    with runner._crumbs(CellJob("script", 0)) as (crumb, no_memory):
        crumb([A, B])
        crumb([B])
        if starves:
            no_memory()
        assert read_crumb(tmp_path, "script", 0) == ((B,), starves)
        crumb([A, B])
        assert read_crumb(tmp_path, "script", 0) == ((A, B), False)
    assert seen == [True] * starves
    assert not crumb_path(tmp_path, "script", 0).exists()


def test_ray_that_does_not_start_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine so busy that Ray's own limit of 30 s passes."""
    import ray

    def late(**kwargs: object) -> None:
        raise Exception("The current node timed out during startup.\nIt is overloaded.")

    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(WorkFailedError, match=r"address: local\): The current node timed .* run the same command"):
        RayExecutor(tmp_path, ExecutorConfig(), (Pool(),), lambda *args, **kwargs: None)
