"""Fixtures: run manifests of the `tone` engines, run in this process or as a user runs them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from disks import may_mount
from engine_cases import engines, unexercised  # noqa: F401  (a fixture)
from typer.testing import CliRunner

from manifests.run import load_run
from pipeline.build import BuildResult, build
from pipeline.cli import app

ROOT = Path(__file__).parent.parent
SUPPORT = ROOT / "tests" / "support"
ECHAT = Path(sys.executable).with_name("echat")
LONGEST = ("test_ablation", "test_engines", "test_environments_run", "test_kill", "test_kokoro_run", "test_node_loss")


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of a document with some keys changed; mappings are merged, but for quotas, engines and empty ones."""
    out = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        both = both and value and key != "quotas" and "engine" not in value
        out[key] = merged(out[key], value) if both else value
    return out


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that build and train come first, the longest before all, so that none is begun when others are done."""
    slow = ("e2e", "faults", "model")
    items.sort(key=lambda item: (item.path.parent.name not in slow, item.path.stem not in LONGEST))


@pytest.fixture
def tone_yaml(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run manifest of the tone engines with some keys changed."""
    base = yaml.safe_load((ROOT / "manifests" / "runs" / "tone.yaml").read_text())

    def write(name: str = "run.yaml", /, **changes: Any) -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(merged(base, changes)))
        return path

    return write


@pytest.fixture(scope="session")
def build_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, Path], BuildResult]:
    """Gives a finished run; it is built for the first test that asks and copied for all others.

    For manifests that name no other files: two of the same text are one run.
    """
    kept: dict[str, tuple[Path, BuildResult]] = {}

    def make(file: Path, out: Path) -> BuildResult:
        text = file.read_text()
        if text not in kept:
            first = tmp_path_factory.mktemp("once") / "out"
            kept[text] = first, build(load_run(file), file, first, quiet=True)
        first, result = kept[text]
        assert result.findings == []
        shutil.copytree(first, out, symlinks=True)
        return replace(result, shards=out / result.shards.relative_to(first))

    return make


@pytest.fixture
def chaos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that controls the `chaos` speaker, here and in subprocesses."""
    folder = tmp_path / "chaos"
    folder.mkdir()
    monkeypatch.setenv("ECHAT_CHAOS", str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(SUPPORT)]))
    return folder


CHAOS = {
    "plugins": ["chaos"],
    "speak_query": {"engine": "chaos"},
    "speak_reply": {"engine": "chaos"},
}


def calls(folder: Path) -> list[str]:
    """Seeds of the utterances spoken so far, in order."""
    try:
        return [line.split()[0] for line in (folder / "calls").read_text().splitlines()]
    except FileNotFoundError:
        return []


def echat(*args: object) -> subprocess.CompletedProcess[str]:
    """Run the command in this process: its libraries, which take seconds to import, are loaded once for all tests."""
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    stderr = result.stderr
    if result.exception and not isinstance(result.exception, SystemExit):
        stderr += "".join(traceback.format_exception(result.exception))
    return subprocess.CompletedProcess(["echat", *map(str, args)], result.exit_code, result.stdout, stderr)


def echat_process(*args: object, timeout: float = 300, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, in a process of its own.

    Where its start, its environment or its end matter, and where it looks at a remote place: clients of those keep
    in memory what they once saw there.
    """
    command = [ECHAT, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, **kwargs)


def tree(folder: Path) -> dict[str, str]:
    """sha256 of every file under a folder, by relative name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pytest_terminal_summary(terminalreporter: Any) -> None:
    left = "" if os.environ.get("ECHAT_TEST_LLM") else " a real language model behind a server (make test-llm),"
    left_out = unexercised()
    left += f" {', '.join(left_out)} (make test-engines)," if left_out else ""
    left += "" if os.environ.get("ECHAT_EMODB") else " label noise in real speech (ECHAT_EMODB=FOLDER of EMO-DB),"
    left += "" if may_mount() else " full and read-only disks (mounting needs privileges),"
    terminalreporter.write_line(
        f"not exercised here:{left} GPUs, Ray on several machines, Beam runners other than the in-process one,"
        " weights from a model hub"
    )
