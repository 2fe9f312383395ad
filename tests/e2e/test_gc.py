"""`echat gc`, and whether the disk holds what is planned."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections import namedtuple

import pytest
from conftest import echat, tree
from tone_runs import build_tones

from manifests.errors import UserError
from manifests.files import temporary
from pipeline.gc import collect
from pipeline.lock import RunLock, releases_held
from pipeline.publish.release import Terms, make_release
from pipeline.verify import verify

LESS = {"plan": {"quotas": {"emotion": 5, "neutral": 2}}}
TERMS = Terms("CC-BY-4.0", anyway=True)


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory):
    """A run that was built twice, the second time with one dialogue less, and once released before that."""
    folder = tmp_path_factory.mktemp("gc")
    build_tones(folder)
    make_release(folder / "out", TERMS)
    build_tones(folder, **LESS)
    return folder


@pytest.fixture
def folder(rebuilt, tmp_path):
    shutil.copytree(rebuilt, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def test_a_look_changes_nothing(folder):
    before = tree(folder / "out" / "stages") | tree(folder / "out" / "select") | tree(folder / "out" / "shards")
    result = echat("gc", folder / "out")
    assert result.returncode == 0, result.stderr
    assert "would be freed" in result.stdout
    assert before == tree(folder / "out" / "stages") | tree(folder / "out" / "select") | tree(folder / "out" / "shards")


def test_what_is_left_verifies_and_a_build_makes_nothing_again(folder):
    run = folder / "out"
    current = tree(run / "shards" / "current"), tree(run / "select" / "current")
    found = json.loads(echat("gc", run, "--json").stdout)
    done = collect(run, sure=True)
    assert {item.kind for item in done.waste} == {"cells", "selections", "shards"}
    assert done.removed
    assert done.freed == found["bytes_freed"] > 0
    assert not any(item.path.exists() for item in done.waste)
    assert verify(run) == []
    before = tree(run / "stages")
    assert build_tones(folder, **LESS).findings == []
    assert tree(run / "stages") == before
    assert (tree(run / "shards" / "current"), tree(run / "select" / "current")) == current
    assert collect(run, sure=False).waste == ()


def test_bytes_freed_are_those_that_the_disk_gives_back(folder):
    def used():
        files = (path.lstat() for path in (folder / "out").rglob("*") if path.is_file() and not path.is_symlink())
        return sum({(about.st_dev, about.st_ino): about.st_size for about in files}.values())

    log = folder / "out" / "events.jsonl"
    before, said = used(), log.stat().st_size
    done = collect(folder / "out", sure=True, releases=True)
    assert {item.kind for item in done.waste} == {"cells", "selections", "shards", "releases"}
    assert done.freed == before - used() + (log.stat().st_size - said)


def test_releases_go_only_when_asked_and_only_old_ones(folder):
    run = folder / "out"
    (old,) = (run / "release").iterdir()
    new = make_release(run, TERMS)
    collect(run, sure=True)
    assert old.exists()
    with releases_held(run, alone=False):  # as publish does
        result = echat("gc", run, "--releases", "--yes")
    assert result.returncode == 2 and "a release of it is being published by another process" in result.stderr
    assert f"echat gc {run} --releases --yes" in echat("gc", run, "--releases").stdout.replace("\n", "")
    collect(run, sure=True, releases=True)
    assert not old.exists()
    assert verify(new) == []
    with releases_held(run, alone=True):
        result = echat("publish", run, run.parent / "place", "--licence", "CC-BY-4.0", "--anyway")
    assert result.returncode == 2 and "releases of it are being removed by another process" in result.stderr


def test_what_cannot_be_removed_is_not_called_freed(folder, monkeypatch):
    def refuse(path, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(UserError, match="permission is denied"):
        collect(folder / "out", sure=True)


def test_old_debris_goes_and_young_debris_and_what_is_not_ours_stays(folder):
    run = folder / "out"
    collect(run, sure=True)
    young = temporary(run / "stages" / "rate" / "part-0000.parquet")
    young.write_bytes(b"x")
    old = [temporary(run / name / "thing") for name in ("release", "report", "stages/rate", "select")]
    orphan = run / "stages" / "rate" / f"part-0000@{'a' * 16}.{'b' * 12}.parquet"
    mine = [run / "stages" / "rate" / "notes.txt", run / "select" / "mine" / "a.txt", run / "shards" / "x.tar"]
    crumb = run / "crumbs" / "rate-0000.json"
    for path in (*old, orphan, *mine, crumb):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
    done = collect(run, sure=True)
    assert {item.path for item in done.waste} == {*old, orphan, crumb}
    assert all(path.exists() for path in (young, *mine))


def test_a_build_clears_the_debris_of_releases_and_reports(folder):
    paths = [temporary(folder / "out" / name / "thing") for name in ("release", "report", "inputs")]
    for path in paths:
        path.mkdir(parents=True)
        os.utime(path, (0, 0))
    build_tones(folder, **LESS)
    assert not any(path.exists() for path in paths)


def test_a_folder_in_use_or_unfinished_is_refused(folder, tmp_path):
    with RunLock(folder / "out"):
        result = echat("gc", folder / "out", "--yes")
    assert result.returncode == 2
    assert "is being built by process" in result.stderr
    (folder / "out" / "shards" / "current").unlink()
    with pytest.raises(UserError, match="not finished; run echat build again, then gc"):
        collect(folder / "out", sure=True)
    with pytest.raises(UserError, match="is not a run folder"):
        collect(tmp_path / "none", sure=True)
    assert not (tmp_path / "none").exists()


def test_a_killed_collection_leaves_a_run_that_verifies(folder, monkeypatch):
    removed = []

    def remove(path):
        if len(removed) == 7:
            raise KeyboardInterrupt
        removed.append(path)
        path.unlink() if path.is_file() else shutil.rmtree(path)

    monkeypatch.setattr("pipeline.gc.remove", remove)
    with pytest.raises(KeyboardInterrupt):
        collect(folder / "out", sure=True)
    monkeypatch.undo()
    assert verify(folder / "out") == []
    old = time.time() - 10_000
    for path in (folder / "out" / "stages").rglob("*.parquet"):
        os.utime(path, (old, old))
    collect(folder / "out", sure=True)
    assert verify(folder / "out") == []
    assert collect(folder / "out", sure=False).waste == ()


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(tmp_path, tone_yaml, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**6, 10**6 - 1000, 1000))
    with pytest.raises(UserError, match=r"needs about 0\.0\d GB more on disk, and 0\.00 GB are free there; free some"):
        build_tones(tmp_path)
    assert not (tmp_path / "out" / "run.yaml").exists()
    assert not (tmp_path / "out" / "stages").exists()


def test_what_is_there_needs_no_second_place(folder, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**9, 10**9, 500_000))
    assert build_tones(folder, **LESS).findings == []


def test_plan_says_what_the_disk_must_hold(folder):
    result = echat("plan", folder / "run.yaml", "--out", folder / "out")
    assert result.returncode == 0, result.stderr
    assert "GB more on disk, and" in " ".join(result.stdout.split())
    document = json.loads(echat("plan", folder / "run.yaml", "--json").stdout)
    assert document["disk_free_bytes"] > document["disk_needed_bytes"] > 0
