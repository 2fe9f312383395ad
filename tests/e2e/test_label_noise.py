"""Planted label noise in real speech (EMO-DB), smaller than `benchmarks/label_noise.py`: two levels, three seeds.

EMO-DB's licence is research-only, so it is not here: `ECHAT_EMODB=FOLDER` names it, with its `labels.csv`.
"""

from __future__ import annotations

import json
import os
from argparse import Namespace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from benchmarks.label_noise import manifest
from pipeline.cli import app

EMODB = os.environ.get("ECHAT_EMODB", "")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not EMODB, reason="ECHAT_EMODB does not name EMO-DB")]


def test_wrong_labels_of_real_speech_cost_and_are_listed(tmp_path: Path) -> None:
    variants = {
        "clean": {}, "noise40": {"data": {"corrupt": {"emotion": 0.4}}},
        "planted": {"data": {"corrupt": {"emotion": 0.1}, "seed": 7}},
    }  # fmt: skip
    options = Namespace(seeds=3, steps=120, jobs=2)
    more = {
        "map": {"variant": "planted", "checkpoints": 6},
        "trends": {"noise": {"levels": {"clean": 0, "noise40": 0.4}}},
    }
    file = tmp_path / "noise.yaml"
    file.write_text(yaml.safe_dump(manifest(Path(EMODB), options, variants, **more)))
    result = CliRunner().invoke(app, ["ablate", str(file), "--out", str(tmp_path / "out"), "--quiet", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    nll = next(told for told in found["metrics"] if told["metric"] == "emotion.nll")
    change = nll["differences"]["noise40"]
    assert change["value"] > 0.1 and nll["trends"]["noise"]["value"] > 0
    assert change["word"] == "hurts" or "would have been found" in change["sentence"]
    assert found["map"]["planted"]["precision"] >= 0.4 > 3 * found["map"]["planted"]["chance"]
