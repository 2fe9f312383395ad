"""Storage that is full, read-only, slow or fails now and then."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from pathlib import Path

import fsspec
import pytest
from conftest import tree
from disks import mounted
from fsspec.implementations.local import LocalFileSystem
from refusing import refuse
from tone_runs import build_tones
from typer.testing import CliRunner

from manifests.errors import UserError
from pipeline.cli import app
from pipeline.publish import upload as uploads
from pipeline.publish.release import Terms, make_release
from pipeline.verify import verify


def test_a_read_only_output_is_refused(tone_yaml, tmp_path):
    with mounted(tmp_path / "disk", "-o", "ro"):
        refuse(
            "build",
            tone_yaml(),
            "--out",
            tmp_path / "disk" / "out",
            names=("read-only", str(tmp_path / "disk")),
        )


@pytest.mark.parametrize("kind", ["inline", "ray"])
def test_a_full_disk_is_refused_and_the_run_goes_on_when_there_is_room(
    tone_yaml, build_once, tmp_path, monkeypatch, kind
):
    calm = build_once(tone_yaml("calm.yaml", executor={"kind": "inline"}), tmp_path / "calm").shards
    file = tone_yaml(executor={"kind": kind})
    with mounted(tmp_path / "disk", "-o", "size=900k"):
        out = tmp_path / "disk" / "out"
        refuse("build", file, "--out", out, "--quiet", names=("more on disk", str(tmp_path / "disk")))
        with monkeypatch.context() as later:
            # The disk fills up after the look at it.
            later.setattr("pipeline.build.check_disk", lambda *_: None)
            refuse("build", file, "--out", out, "--quiet", names=("disk is full", str(tmp_path / "disk")))
        assert not (out / "shards" / "current").exists()
        for record in out.glob("stages/*/*.json"):
            assert record.with_name(json.loads(record.read_text())["data"]).exists()
        subprocess.run(["mount", "-o", "remount,size=64m", tmp_path / "disk"], check=True)
        result = CliRunner().invoke(app, ["build", str(file), "--out", str(out), "--quiet"])
        assert result.exit_code == 0, result.output
        assert "40 kept" in result.output
        assert verify(out) == []
        assert tree(out / "shards" / "current") == tree(calm)


def test_slow_storage_changes_nothing(tmp_path, monkeypatch):
    quick, slow = tmp_path / "quick", tmp_path / "slow"
    for folder in (quick, slow):
        folder.mkdir()
    calm = build_tones(quick).shards
    sync, rename = os.fsync, os.replace

    def after(call):
        def slowly(*args, **kwargs):
            time.sleep(0.05)
            return call(*args, **kwargs)

        return slowly

    monkeypatch.setattr(os, "fsync", after(sync))
    monkeypatch.setattr(os, "replace", after(rename))
    assert build_tones(slow).findings == []
    assert tree(slow / "out" / "shards" / "current") == tree(calm)


class Stumbling(LocalFileSystem):
    """A local folder behind a network that drops every tenth call, or all of them."""

    protocol = "stumbling"
    cachable = False
    calls = itertools.count(1)
    one_in = 10
    failed = 0

    def _stumble(self) -> None:
        if next(Stumbling.calls) % Stumbling.one_in == 0:
            Stumbling.failed += 1
            raise OSError("connection reset by peer")

    def put_file(self, *args, **kwargs):
        self._stumble()
        return super().put_file(*args, **kwargs)

    def info(self, *args, **kwargs):
        self._stumble()
        return super().info(*args, **kwargs)

    def find(self, *args, **kwargs):
        self._stumble()
        return super().find(*args, **kwargs)

    def cat_file(self, *args, **kwargs):
        self._stumble()
        return super().cat_file(*args, **kwargs)

    def rm_file(self, *args, **kwargs):
        self._stumble()
        return super().rm_file(*args, **kwargs)

    def _open(self, *args, **kwargs):
        self._stumble()
        return super()._open(*args, **kwargs)


@pytest.fixture
def release(tmp_path, monkeypatch) -> Path:
    fsspec.register_implementation("stumbling", Stumbling, clobber=True)
    monkeypatch.setattr(uploads, "_PAUSES_S", (0.0, 0.0))
    Stumbling.calls, Stumbling.one_in, Stumbling.failed = itertools.count(1), 10, 0
    build_tones(tmp_path)
    return make_release(tmp_path / "out", Terms("CC-BY-4.0", anyway=True))


def test_storage_that_fails_every_tenth_call_is_filled_all_the_same(release, tmp_path):
    target = f"stumbling://{tmp_path}/place"
    uploads.upload(release, target, tmp_path / "notes")
    assert Stumbling.failed >= 5
    assert list(uploads.verify_remote(target)) == []
    Stumbling.one_in = 10**9
    assert tree(tmp_path / "place") == tree(release)
    assert verify(tmp_path / "place") == []


def test_storage_that_always_fails_is_a_sentence_and_what_is_there_is_not_called_complete(release, tmp_path):
    Stumbling.one_in = 1
    with pytest.raises(UserError, match=r"cannot be used \(connection reset by peer\); mend that and publish again"):
        uploads.upload(release, f"stumbling://{tmp_path}/place", tmp_path / "notes")
    assert not (tmp_path / "place" / "dataset.json").exists()
