"""Ablation over the shards of a run: another selection, half of it, other ways to think; judged on its test split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from typer.testing import CliRunner

from manifests.run import load_run
from model.datasets import ShardDataset
from pipeline.build import build
from pipeline.cli import app
from pipeline.reselect import reselected
from pipeline.verify import verify_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of the tone engines that keeps nothing of one label."""
    document = yaml.safe_load((ROOT / "manifests" / "runs" / "tone.yaml").read_text())
    file = tmp_path_factory.mktemp("manifest") / "tone.yaml"
    file.write_text(yaml.safe_dump(document))
    folder = tmp_path_factory.mktemp("run") / "out"
    build(load_run(file), file, folder, quiet=True)
    return folder


def shorter(run: Path) -> dict[str, Any]:
    """A selection that the longer half of the queries fails."""
    shards = ShardDataset(run / "shards" / "current", "train")
    seconds = sorted(json.loads(shards.document(item))["turns"][0]["query"]["seconds"] for item in range(len(shards)))
    return {"query_seconds": [0.2, seconds[len(seconds) // 2]]}


def test_another_selection_shares_the_speech(run: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    shards = reselected(run, shorter(run), tmp_path)
    folder = shards.parents[1]
    whole = json.loads((run / "shards" / "current" / "dataset.json").read_bytes())
    strict = json.loads((shards / "dataset.json").read_bytes())
    assert sum(s["rows"] for s in strict["shards"]) < sum(s["rows"] for s in whole["shards"])
    assert not verify_run(folder)
    spoken = [path for path in (folder / "stages" / "speak_query").iterdir() if path.suffix == ".parquet"]
    assert spoken and all(path.stat().st_nlink > 1 for path in spoken), "the audio is linked, not made or copied"
    assert {path: path.stat().st_mtime_ns for path in before} == before, "the run itself is as it was"
    assert reselected(run, shorter(run), tmp_path) == shards


def manifest(run: Path, **changes: Any) -> dict[str, Any]:
    shards = str(run / "shards" / "current")
    small = {"steps": 4, "lr": 1e-3, "warmup": 2}
    return {
        "name": "ways", "baseline": "tag", "seeds": 2, "workers": {"address": "inline"},
        "train": {
            "data": {"shards": shards}, "batch": {"items": 4, "window": 16}, "threads": 1, "validate_every": 4,
            "model": {"codebook_size": codebook(run)},
            "stages": [{"name": "empathy", "tasks": {"think_tag": 1, "understand": 1}, **small}],
        },
        "evaluate": {"test": {"shards": shards, "split": "test", "families": ["emotion", "gender"]}},
        "metrics": ["emotion.nll"],
        "variants": {
            "tag": {}, "off": {"think": "off"}, "natural": {"think": "natural"},
            "half": {"data": {"share": 0.5}}, "other": {"data": {"shards": "elsewhere"}},
            "short": {"select": shorter(run)},
        },
        **changes,
    }  # fmt: skip


def codebook(run: Path) -> int:
    shards = ShardDataset(run / "shards" / "current", "train")
    return json.loads(shards.document(0))["turns"][0]["reply"]["codebook_size"]


def test_every_kind_of_variant_trains_on_what_it_says(run: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(run / "shards" / "current")
    file = tmp_path / "ways.yaml"
    file.write_text(yaml.safe_dump(manifest(run)))
    result = CliRunner().invoke(app, ["ablate", str(file), "--out", str(tmp_path / "out"), "--quiet", "--json"])
    assert result.exit_code == 0, result.output
    variants = {variant["name"]: variant for variant in json.loads(result.stdout)["variants"]}
    everything = variants["tag"]["train_items"][0]
    assert variants["off"]["train_items"] == variants["natural"]["train_items"] == [everything]
    assert all(0 < items < everything for items in variants["half"]["train_items"] + variants["short"]["train_items"])
    assert variants["other"]["train_items"] == [everything]
    assert all(variant["ended"] == 2 for variant in variants.values())


@pytest.mark.parametrize(
    ("metric", "variant"), [("think.emotion", "off"), ("reply.emotion", "natural"), ("speech.sane", "mute")]
)
def test_a_metric_that_a_variant_cannot_give_is_refused(run: Path, tmp_path: Path, metric: str, variant: str) -> None:
    values = manifest(run, metrics=[metric])
    values["evaluate"]["test"]["replies"] = True
    mute = [{**values["train"]["stages"][0], "tasks": {"s2t": 1}}]
    values["variants"] = {"tag": {}, variant: {"stages": mute} if variant == "mute" else {"think": variant}}
    file = tmp_path / "odd.yaml"
    file.write_text(yaml.safe_dump(values))
    result = CliRunner().invoke(app, ["ablate", str(file), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert f"gives no {metric}" in result.output and f"variants.{variant} replies as" in result.output


def test_training_rows_are_no_evaluation(run: Path, tmp_path: Path) -> None:
    shards = str(run / "shards" / "current")
    file = tmp_path / "leak.yaml"
    file.write_text(yaml.safe_dump(manifest(run, evaluate={"seen": {"shards": shards, "split": "train"}})))
    result = CliRunner().invoke(app, ["ablate", str(file), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "are in its training and in evaluate.seen" in result.output
