"""Planted duplicates across splits: the copy that is trained on goes, with its reason, and the set verifies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from conftest import ROOT
from typer.testing import CliRunner

from manifests.run import load_run
from pipeline.build import build
from pipeline.cli import app
from pipeline.select import load_statistics
from pipeline.verify import verify

SCENARIOS = yaml.safe_load((ROOT / "manifests" / "scenarios" / "en.yaml").read_text())


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A bank in which train says what test says, and validation says something of its own."""
    one, other = (next(item for item in SCENARIOS if item["split"] == split) for split in ("train", "validation"))
    one = {**one, "slots": {name: values[:3] for name, values in one["slots"].items()}}
    path = tmp_path / "planted.yaml"
    path.write_text(yaml.safe_dump([one, {**one, "id": "the-same", "split": "test"}, other]))
    return path


def judged(out: Path) -> dict[str, dict[str, Any]]:
    """Verdicts by dialogue."""
    parts = sorted((out / "select" / "current").glob("part-*.parquet"))
    return {row["id"]: row for part in parts for row in pq.read_table(part).to_pylist()}


def test_what_train_shares_with_test_goes_from_train(tone_yaml, tmp_path, planted):
    plan = {
        "quotas": {"emotion": {"sad": 40}},
        "splits": {"train": 0.4, "validation": 0.2, "test": 0.4},
        "scenarios": str(planted),
        "contrastive": 0.0,
    }
    file, out = tone_yaml(plan=plan), tmp_path / "out"
    result = build(load_run(file), file, out, quiet=True)
    assert result.findings == []
    rows = judged(out)
    near = {name: row for name, row in rows.items() if row["verdict"] == "rejected"}
    assert result.statistics["reason"] == {"near_duplicate": len(near)}
    across = 0
    for name, row in near.items():
        (reason,) = row["reasons"]
        kind, index, _, limit, _, first, split = reason.split()
        assert (kind, limit) == ("near_duplicate", "0.8") and 0.8 <= float(index) <= 1
        other = rows[first]
        assert f"({other['split']})" == split
        order = ("test", "validation", "train").index
        assert (order(other["split"]), first) < (order(row["split"]), name)
        across += other["split"] != row["split"]
    assert across > 3
    assert {row["split"] for row in rows.values() if row["verdict"] == "kept"} >= {"test", "validation"}
    share = result.statistics["text"]["en"]["near_duplicates"]
    assert share == pytest.approx(len(near) / len(rows), abs=1e-4)
    said = CliRunner().invoke(app, ["status", str(out)])
    assert f"texts in en: near_duplicates {share:g}, query_distinct_2" in said.output

    parts = tone_yaml("parts.yaml", plan={**plan, "part_rows": 40})
    assert build(load_run(parts), parts, tmp_path / "parts", quiet=True).findings == []
    assert judged(tmp_path / "parts") == rows, "neither the parts nor their order matter"

    off = tone_yaml("off.yaml", plan=plan, select={"text": {"near_duplicate": None}})
    assert build(load_run(off), off, out, quiet=True).statistics["verdict"] == {"kept": 40}


def test_a_copy_that_is_kept_all_the_same_is_found(tone_yaml, tmp_path, planted):
    plan = {"quotas": {"emotion": {"sad": 20}}, "scenarios": str(planted), "contrastive": 0.0}
    file, out = tone_yaml(plan=plan), tmp_path / "out"
    build(load_run(file), file, out, quiet=True)
    select = out / "select" / "current"
    for part in select.glob("part-*.parquet"):
        table = pq.read_table(part)
        rows = table.to_pylist()
        copies = [row for row in rows if row["verdict"] == "rejected"]
        if copies:
            copies[0] |= {"verdict": "kept", "reasons": []}
            pq.write_table(type(table).from_pylist(rows, table.schema), part)
            assert any(finding.row == copies[0]["id"] for finding in verify(out))
            return
    raise AssertionError("no copy was planted")


def test_words_that_may_not_be_in_it_reject_with_the_turns_name(tone_yaml, tmp_path):
    bank = [
        {**item, "query": item["query"] + " Hey Siri, what now?"} if item["split"] == "validation" else item
        for item in SCENARIOS
    ]
    path = tmp_path / "bank.yaml"
    path.write_text(yaml.safe_dump(bank))
    file, out = tone_yaml(plan={"scenarios": str(path)}), tmp_path / "out"
    result = build(load_run(file), file, out, quiet=True)
    assert result.findings == []
    assert result.statistics["split"]["validation"] == {"rejected": result.statistics["reason"]["query_assistants"]}
    reasons = {reason for row in judged(out).values() for reason in row["reasons"]}
    assert reasons == {"query_assistants Siri"}
    assert json.dumps(load_statistics(out / "select" / "current")["text"]).startswith('{"en": {"near_duplicates": 0')
