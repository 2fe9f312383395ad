"""A shard's JSON and what describes the set: nothing that was not measured looks measured, no licence is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import merged
from planning import BASE

from manifests.labels import NONE
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


def test_word_times_stand_where_they_are_known(scored: tuple[Dag, dict[str, Any]]) -> None:
    dag, row = scored
    times = '[{"word": "one", "start": 0.0, "end": 0.5, "score": 0.9}]'
    turn = sample_json(dag, [{**row, "transcribe.query_words": times}])["turns"][0]
    assert turn["query"]["words"] == [{"word": "one", "start": 0.0, "end": 0.5, "score": 0.9}]
    assert "words" not in turn["reply"], "this recognizer tells none"


@pytest.fixture(scope="module")
def agreed() -> tuple[Dag, dict[str, Any]]:
    """A sad old woman without an event, whom two annotators of gender and one of each other family heard right."""
    dag = dag_of(annotate={"gender": [{"engine": "tone"}, {"engine": "tone"}]})
    labels = {"age": "old", "gender": "female", "emotion": "sad", "event": NONE}
    heard = {f"annotate.heard_{slot}": labels[slot.partition("_")[0]] for slot in dag.manifest.slots}
    return dag, made(dag) | {f"plan.{family}": label for family, label in labels.items()} | heard


def tag(agreed: tuple[Dag, dict[str, Any]], **changes: Any) -> str:
    """The tag-form think text of the row with changes, without its last fields."""
    dag, row = agreed
    row = row | {key.replace("__", "."): value for key, value in changes.items()}
    words = row["script.query_text"]
    text = sample_json(dag, [row])["turns"][0]["think_tag"]
    return text.replace(words, "WORDS").removeprefix("<think>heard: ").partition(" | reply_emotion")[0]


GOOD_TAG = "WORDS | age=<OLD> | gender=<FEMALE> | emotion=<SAD> | sound=<OTHER>"
UNKNOWN_TAG = "WORDS | age=<&&> | gender=<&&> | emotion=<&&> | sound=<&&>"


def test_the_think_tag_tells_what_was_heard_and_agreed(agreed: tuple[Dag, dict[str, Any]]) -> None:
    assert tag(agreed) == GOOD_TAG
    assert tag(agreed, annotate__heard_age="adult") == GOOD_TAG.replace("<OLD>", "<&&>")
    assert tag(agreed, annotate__heard_gender_2="male") == GOOD_TAG.replace("<FEMALE>", "<&&>"), "all must agree"
    assert tag(agreed, annotate__heard_event="cough") == GOOD_TAG.replace("<OTHER>", "<&&>")
    assert tag(agreed, plan__event="cough", annotate__heard_event="cough") == GOOD_TAG.replace("<OTHER>", "<COUGH>")
    child = {"plan__age": "child", "annotate__heard_age": "child"}
    assert tag(agreed, **child) == "WORDS | age=<CHILD> | gender=<&&> | emotion=<SAD> | sound=<OTHER>"
    assert tag(agreed, plan__emotion=NONE, annotate__heard_emotion=NONE) == GOOD_TAG.replace("<SAD>", "<&&>")


def test_the_think_tag_claims_no_label_that_nobody_listened_for(agreed: tuple[Dag, dict[str, Any]]) -> None:
    deaf = dag_of(annotate={}, select={"agree": []})
    assert deaf.manifest.slots == ()
    assert tag((deaf, agreed[1])) == UNKNOWN_TAG


def test_the_think_tag_tells_words_that_were_recognised(agreed: tuple[Dag, dict[str, Any]]) -> None:
    assert tag(agreed, transcribe__query_wer=0.3) == GOOD_TAG
    assert tag(agreed, transcribe__query_wer=0.31) == GOOD_TAG.replace("WORDS", "<&&>")
    assert tag(agreed, transcribe__query_wer=None) == GOOD_TAG.replace("WORDS", "<&&>")


def test_labels_and_words_of_a_recording_are_peoples_and_stand(
    agreed: tuple[Dag, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.sample._corpus", lambda dag, row: {"name": "", "licence": "", "consent": ""})
    wrong = {f"annotate__heard_{slot}": NONE for slot in agreed[0].manifest.slots}
    real = {"plan__source": "real", "transcribe__query_wer": None}
    assert tag(agreed, **real, **wrong) == GOOD_TAG
    assert tag(agreed, **real, annotate__heard_event="laugh") == GOOD_TAG.replace("<OTHER>", "<&&>")
    assert tag(agreed, **real, plan__age=NONE, annotate__heard_age="old") == GOOD_TAG.replace("<OLD>", "<&&>")


def test_licences_of_recorded_events_reach_the_set(tmp_path: Path) -> None:
    source = tmp_path / "recordings" / "laugh"
    source.mkdir(parents=True)
    sound = (0.3 * np.random.default_rng(0).standard_normal(12000)).clip(-0.9, 0.9)
    soundfile.write(source / "one.wav", sound, 24000)
    ingest_events(source.parent, tmp_path / "bank", "CC BY-NC 3.0", "mine", "yes")
    kokoro = {"engine": "kokoro", "events": str(tmp_path / "bank")}
    changes = {"speak_query": kokoro, "speak_reply": {"engine": "kokoro"}, "plan": {"quotas": {"neutral": 1}}}
    assert describe(dag_of(**changes), [])["licences"]["events"] == ["CC BY-NC 3.0"]
    changes["speak_query"] = {"engine": "kokoro"}
    assert describe(dag_of(**changes), [])["licences"]["events"] == []
