"""A shard's JSON and what describes the set: nothing that was not measured looks measured, no licence is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import merged
from planning import BASE

from manifests.run import RunManifest
from manifests.schema import PLAN
from pipeline.dag import Dag, build_dag
from pipeline.ingest.events import ingest_events
from pipeline.label_cells import Block
from pipeline.sample import sample_json
from pipeline.shards import describe


def dag_of(**changes: Any) -> Dag:
    return build_dag(RunManifest.model_validate(merged(BASE, changes)), "mine.yaml")


def made(dag: Dag) -> dict[str, Any]:
    """One row through all stages."""
    names = ["id", "turn", *[f"plan.{name}" for name in PLAN.names]]
    row: dict[str, Any] = dict(zip(names, dag.planner.rows(Block("neutral", 0, 0, 1))[0], strict=True))
    for stage in dag.stages:
        row |= {f"{stage.name}.{name}": value for name, value in stage.open().process([row])[0].items()}
    return row


@pytest.fixture(scope="module")
def scored() -> tuple[Dag, dict[str, Any]]:
    """A row outside of the sample that is scored, by a recognizer that does not measure mismatches."""
    dag = dag_of(mos={"engine": "dnsmos", "share": 0.0})
    return dag, made(dag)


def test_what_was_not_measured_is_minus_one(scored: tuple[Dag, dict[str, Any]]) -> None:
    dag, row = scored
    turn = sample_json(dag, [row])["turns"][0]
    for role in ("query", "reply"):
        assert turn[role]["mismatch"] == -1.0
        assert turn[role]["mos"] == {"ovrl": -1.0, "sig": -1.0, "bak": -1.0}


def test_what_was_measured_is_told_even_if_it_is_zero(scored: tuple[Dag, dict[str, Any]]) -> None:
    dag, row = scored
    measured = {"transcribe.query_mismatch": 0.0, "transcribe.reply_mismatch": 0.51239, "mos.query_ovrl": 3.14159}
    turn = sample_json(dag, [{**row, **measured}])["turns"][0]
    assert (turn["query"]["mismatch"], turn["reply"]["mismatch"]) == (0.0, 0.5124)
    assert turn["query"]["mos"]["ovrl"] == 3.142


def test_licences_of_recorded_events_reach_the_set(tmp_path: Path) -> None:
    source = tmp_path / "recordings" / "laugh"
    source.mkdir(parents=True)
    sound = (0.3 * np.random.default_rng(0).standard_normal(12000)).clip(-0.9, 0.9)
    soundfile.write(source / "one.wav", sound, 24000)
    ingest_events(source.parent, tmp_path / "bank", "CC BY-NC 3.0", "mine")
    kokoro = {"engine": "kokoro", "events": str(tmp_path / "bank")}
    changes = {"speak_query": kokoro, "speak_reply": {"engine": "kokoro"}, "plan": {"quotas": {"neutral": 1}}}
    assert describe(dag_of(**changes), [])["licences"]["events"] == ["CC BY-NC 3.0"]
    changes["speak_query"] = {"engine": "kokoro"}
    assert describe(dag_of(**changes), [])["licences"]["events"] == []
