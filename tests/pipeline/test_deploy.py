"""The files for clusters fetch what `echat200k` names; they are checked as text, for no cluster is at hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from manifests.run import load_run
from pipeline.dag import build_dag

DEPLOY = ROOT / "deploy"
SCRIPT = "/opt/echat/deploy/fetch_models.sh"
USER = "1000"


def test_every_model_of_the_hub_that_the_run_names_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    file = ROOT / "manifests" / "runs" / "echat200k.yaml"
    dag = build_dag(load_run(file), file)
    fixes = [problem.fix for stage in dag.stages for engine in stage.engines for problem in engine.problems()]
    wanted = {fix for fix in fixes if fix.startswith("hf download")}
    fetched = {line for line in (DEPLOY / "fetch_models.sh").read_text().splitlines() if line.startswith("hf download")}
    assert fetched == wanted


def test_nodes_fetch_as_a_user_who_may_write_there() -> None:
    """The image is no root; the folders that hosts make for the cache are."""
    assert f"--uid {USER} echat" in (ROOT / "Dockerfile").read_text()
    ray = yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text())
    assert f"sudo chown {USER}:{USER} /mnt/models" in ray["initialization_commands"]
    assert [SCRIPT in command for command in ray["setup_commands"]] == [True]
    spec = yaml.safe_load((DEPLOY / "kuberay.yaml").read_text())["spec"]
    gpu = next(group for group in spec["workerGroupSpecs"] if group["groupName"] == "gpu")
    for group in (spec["headGroupSpec"], gpu):
        pod: dict[str, Any] = group["template"]["spec"]
        own, fetch = pod["initContainers"]
        assert own["securityContext"] == {"runAsUser": 0}
        assert own["command"] == ["chown", f"{USER}:{USER}", "/models"]
        assert fetch["command"] == [SCRIPT]
        assert pod["securityContext"]["fsGroup"] == int(USER)


def test_the_image_makes_its_user_where_the_number_is_taken() -> None:
    """Ubuntu's images have a user of that number from 24.04 on."""
    lines = (ROOT / "Dockerfile").read_text()
    assert "ubuntu24.04" in lines
    assert re.search(r"userdel --remove ubuntu.*&& useradd .*--uid 1000", lines)
