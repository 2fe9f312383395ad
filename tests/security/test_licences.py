"""The licences of what is installed are listed by a command."""

from __future__ import annotations

import importlib.metadata
import json

from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.licences import UNKNOWN, licences


def test_the_command_lists_every_package_that_echat_needs() -> None:
    result = CliRunner().invoke(app, ["doctor", "--licences", "--json"])
    assert result.exit_code == 0, result.output
    listed = {item["package"]: item for item in json.loads(result.stdout)}
    for name in ("echat-pipeline", "ray", "apache-beam", "pyarrow", "torch", "pyyaml", "libcst", "greenlet"):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if name in listed:
            assert listed[name]["version"] == version
    assert listed["echat-pipeline"]["licence"] == "Apache-2.0"
    assert listed["pyyaml"]["licence"] == "MIT License"
    assert "numpy" in listed and "aiosignal" in listed, "what is needed by what is needed"
    stated = [item for item in listed.values() if item["licence"] != UNKNOWN]
    assert len(stated) > 0.9 * len(listed)
    assert all(len(item["licence"].splitlines()) == 1 for item in listed.values())


def test_a_package_that_is_not_installed_is_left_out() -> None:
    assert licences("no-such-package") == []
