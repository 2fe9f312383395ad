"""Engines that cannot live in one environment, in one build: each pool has a Python of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, SUPPORT
from conftest import echat_process as echat

QUOTAS = {"emotion": 2, "neutral": 2}


def environment(folder: Path, version: str) -> Path:
    """A virtual environment with one version of `gadget`, and behind it the packages of this one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (packages / "behind.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    (packages / "gadget.py").write_text(f"VERSION = {version!r}\n")
    about = packages / f"gadget-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: gadget\nVersion: {version}\n")
    return folder / "bin" / "python"


@pytest.fixture
def gadget_env(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, SUPPORT))))


@pytest.mark.slow
@pytest.mark.usefixtures("gadget_env")
def test_each_pool_runs_in_its_own_environment(tmp_path: Path, tone_yaml: Callable[..., Path]) -> None:
    first, second = environment(tmp_path / "one", "1.0"), environment(tmp_path / "two", "2.0")
    pools = [
        {
            "name": "voice",
            "stages": ["speak_query", "speak_reply"],
            "count": 1,
            "cpus": 0.5,
            "py_executable": str(first),
        },
        {"name": "ears", "stages": ["transcribe"], "count": 1, "cpus": 0.5, "py_executable": "two/bin/python"},
        {"name": "main", "count": 1, "cpus": 0.5},
    ]
    engines = {"speak_query": {"engine": "gadget1"}, "speak_reply": {"engine": "gadget1"}}
    changes = {"plugins": ["gadget_engines"], "transcribe": {"engine": "gadget2"}, **engines}
    run = tone_yaml(**changes, plan={"quotas": QUOTAS}, executor={"kind": "ray"}, workers=pools)

    doctor = echat("doctor", run, "--json")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    done = echat("build", run, "--out", tmp_path / "out", "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 planned = 4 kept" in done.stdout
    assert echat("verify", tmp_path / "out").returncode == 0
    made_by = json.loads((tmp_path / "out/shards/current/dataset.json").read_text())["engines"]
    assert (made_by["speak_reply"], made_by["transcribe"]) == (["gadget-1.0"], ["gadget-2.0"])
    cells = sorted(path.name for path in (tmp_path / "out" / "stages").glob("*/*"))
    assert echat("build", run, "--out", tmp_path / "out", "--quiet").returncode == 0
    assert sorted(path.name for path in (tmp_path / "out" / "stages").glob("*/*")) == cells, "nothing is made again"
    planned = echat("plan", run, "--out", tmp_path / "out")
    reused = [line for line in planned.stdout.splitlines() if "cells reused" in line]
    assert len(reused) > 5
    assert all("reused, 0 to make" in line for line in reused), planned.stdout

    # Whichever Python is wrong is told before anything is made: here the two are exchanged.
    pools[0]["py_executable"], pools[1]["py_executable"] = str(second), str(first)
    wrong = tone_yaml("wrong.yaml", **changes, plan={"quotas": QUOTAS}, executor={"kind": "ray"}, workers=pools)
    refused = echat("plan", wrong)
    assert refused.returncode == 2
    assert "gadget 1.0 is needed, found 2.0; pip install gadget==1.0" in refused.stderr
    assert echat("plan", wrong, "--assume-cluster").returncode == 0


@pytest.mark.usefixtures("gadget_env")
@pytest.mark.parametrize(
    ("python", "kind", "message"),
    [
        ("nowhere/bin/python", "ray", "cannot be run"),
        ("/bin/false", "ray", "cannot look at its engines"),
        ("python3", "inline", "needs workers of their own"),
    ],
)
def test_a_python_that_cannot_serve_is_a_sentence(
    tmp_path: Path, tone_yaml: Callable[..., Path], python: str, kind: str, message: str
) -> None:
    workers = [{"name": "main", "count": 1, "py_executable": python}]
    done = echat("build", tone_yaml(executor={"kind": kind}, workers=workers), "--out", tmp_path / "out")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
