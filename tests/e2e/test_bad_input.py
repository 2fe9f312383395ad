"""Bad input, as a user meets it: one clear sentence, exit code 2, nothing half-written."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from conftest import ROOT, tree
from refusing import refuse
from typer.testing import CliRunner

from manifests.files import sha256
from manifests.ids import canonical_json
from manifests.ledger import CellRecord
from pipeline import estimate
from pipeline.cli import app


def scenario_file(folder: Path, **changes: object) -> Path:
    bank = yaml.safe_load((ROOT / "manifests" / "scenarios" / "en.yaml").read_text())
    bank[0].update(changes)
    path = folder / "bank.yaml"
    path.write_text(yaml.safe_dump(bank, allow_unicode=True))
    return path


BAD_RUNS = [
    ({"plan": {"quotas": {"emotion": {"bored": 3}}}}, ("plan.quotas.emotion", "bored", "happy")),
    ({"plan": {"quotas": {"joy": 3}}}, ("plan.quotas", "joy", "emotion")),
    ({"plan": {"quotas": {"neutral": -1}}}, ("plan.quotas", "neutral")),
    ({"plan": {"quotas": {"neutral": 10_000_000}}}, ("plan.quotas.neutral", "cannot be met", "split")),
    ({"plan": {"splits": {"train": 0.5, "test": 0.2, "validation": 0.1}}}, ("splits", "0.8")),
    ({"plan": {"part_row": 3}}, ("plan.part_row",)),
    ({"selekt": {}}, ("selekt",)),
    ({"language": "fr"}, ("language", "fr", "en")),
    ({"language": "en", "speak_query": {"engine": "kokro"}}, ("speak_query.engine", "kokro", "kokoro")),
    ({"speak_query": {"engine": "tone", "speed": 2}}, ("speak_query.speed",)),
    ({"speak_reply": {"engine": "tone", "voice": "nobody"}}, ("speak_reply.voice", "nobody", "t_reply_f")),
    ({"transcribe": {"engine": "pocketsphinx"}, "language": "zh"}, ("zh", "en")),
    ({"select": {"agree": ["age"]}, "annotate": {}}, ("select.agree", "age")),
    ({"workers": [{"name": "a", "stages": ["speak_query"]}]}, ("workers", "script")),
    ({"workers": [{"stages": ["speek"]}]}, ("workers", "speek")),
    ({"plugins": ["no_such_module"]}, ("plugins", "no_such_module")),
    ({"name": "../x"}, ("name",)),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "names"), BAD_RUNS, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize("command", ["plan", "build"])
def test_a_wrong_manifest_is_refused_by_file_and_key(tone_yaml, tmp_path, command, changes, names):
    file = tone_yaml(**changes)
    options = ["--out", tmp_path / "out"] if command == "build" else []
    refuse(command, file, *options, names=(str(file), *names))
    assert not (tmp_path / "out").exists(), "a refused build leaves no folder"


def test_yaml_that_is_no_yaml_names_line_and_column(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("name: x\nplan: {quotas: [\n")
    refuse("plan", path, names=(f"{path}:3",))
    refuse("plan", tmp_path / "absent.yaml", names=("absent.yaml", "No such file"))
    path.write_text("- a\n- b\n")
    refuse("plan", path, names=(str(path), "mapping"))
    path.write_text("!!python/object/apply:os.system ['true']")
    refuse("plan", path, names=(str(path),))


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"query": ""}, ("query",)),
        ({"query": "🙂🙂"}, ("query",)),
        ({"query": "word " * 800}, ("query", "characters")),
        ({"query": "What about the {nothing}?"}, ("nothing",)),
    ],
)
def test_a_wrong_scenario_is_refused_by_file_id_and_field(tone_yaml, tmp_path, changes, names):
    bank = scenario_file(tmp_path, **changes)
    first = yaml.safe_load(bank.read_text())[0]["id"]
    refuse("plan", tone_yaml(plan={"scenarios": str(bank)}), names=(str(bank), first, *names))


def test_missing_weights_are_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("ECHAT_KOKORO_WEIGHTS", str(tmp_path / "no.onnx"))
    refuse("build", "demo", "--out", tmp_path / "out", names=("voices", "kokoro", "no.onnx"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("gpus", "fits"), [(0.4, False), (0.3, True)])
def test_shares_of_a_gpu_that_need_more_whole_ones_are_refused(tone_yaml, monkeypatch, gpus: float, fits: bool) -> None:
    """Five workers of 0.4 are two GPUs, but no more than two of them fit on one."""
    monkeypatch.setattr(estimate, "count_gpus", lambda: 2)
    ears = {"name": "ears", "stages": ["transcribe"], "count": 5, "cpus": 0, "gpus": gpus}
    file = tone_yaml(executor={"kind": "ray"}, workers=[ears, {"count": 1}])
    if fits:
        assert CliRunner().invoke(app, ["plan", str(file)]).exit_code == 0
    else:
        refuse("plan", file, names=("the pools ears cannot be placed", "take 3 whole ones", "has 2", "workers.gpus"))


def test_no_worker_gets_parts_of_two_gpus(tone_yaml) -> None:
    refuse("plan", tone_yaml(workers=[{"gpus": 1.5}]), names=("workers", "no worker gets parts of two"))


def test_workers_that_cannot_be_placed_are_refused_by_stage(tone_yaml, tmp_path):
    file = tone_yaml(executor={"kind": "ray"}, workers=[{"name": "big", "stages": ["transcribe"], "gpus": 9}, {}])
    refuse("plan", file, names=("stage transcribe", "big", "GPU", "workers.big.count"))
    assert CliRunner().invoke(app, ["plan", str(file), "--assume-cluster"]).exit_code == 0


@pytest.fixture
def built(tone_yaml, tmp_path, build_once) -> tuple[Path, Path]:
    file, out = tone_yaml(plan={"quotas": {"neutral": 4}}), tmp_path / "out"
    build_once(file, out)
    return file, out


@pytest.mark.parametrize("content", [b"", b"PAR1 this is no parquet PAR1"])
def test_a_damaged_part_is_refused_by_name_and_made_again_once_deleted(built, content):
    file, out = built
    shards = tree(out / "shards" / "current")
    part = next((out / "stages" / "speak_query").glob("*.parquet"))
    size = part.stat().st_size
    part.write_bytes(content.ljust(size if content else 0, b"\0"))
    # A later stage must need the part, or nobody would read it.
    for path in (out / "stages" / "rate").glob("*"):
        path.unlink()
    before = tree(out / "shards")
    refuse("build", file, "--out", out, "--quiet", names=(str(part), "delete this file"))
    assert tree(out / "shards") == before
    part.unlink()
    assert CliRunner().invoke(app, ["build", str(file), "--out", str(out), "--quiet"]).exit_code == 0
    assert tree(out / "shards" / "current") == shards


def test_a_part_of_another_schema_version_is_refused(built):
    file, out = built
    part = next((out / "stages" / "script").glob("*.parquet"))
    table = pq.read_table(part)
    pq.write_table(table.replace_schema_metadata({"echat.schema_version": "99"}), part)
    record = part.with_name(part.name.split(".")[0] + ".json")
    held = CellRecord(**json.loads(record.read_text()))
    held = replace(held, size=part.stat().st_size, sha256=sha256(part)).sealed()
    record.write_bytes(canonical_json(asdict(held)))
    for path in (out / "stages" / "speak_query").glob("*"):
        path.unlink()
    refuse("build", file, "--out", out, "--quiet", names=(str(part), "schema version 99"))


def test_a_record_of_another_format_is_refused(built):
    file, out = built
    record = next((out / "stages" / "script").glob("*.json"))
    record.write_text(json.dumps(json.loads(record.read_text()) | {"format": 99}))
    refuse("build", file, "--out", out, "--quiet", names=(str(record), "format 99"))


@pytest.mark.parametrize("command", ["status", "verify", "replay", "inspect"])
def test_a_folder_that_is_no_run_is_refused(tmp_path, command):
    refuse(command, tmp_path, names=(str(tmp_path),))


def test_help_and_version_load_no_heavy_library():
    heavy = {"ray", "apache_beam", "torch", "pyarrow", "numpy", "pydantic"}
    code = f"import sys, pipeline.cli; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
