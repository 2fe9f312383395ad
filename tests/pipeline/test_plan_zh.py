"""A Mandarin plan and its texts: enough to say for hundreds of dialogues, every reply names its cue."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from functools import cache
from typing import Any

from conftest import merged
from planning import BASE, NAMES, drawn

from manifests.labels import SPLITS
from manifests.run import RunManifest
from manifests.think.natural import contradictions
from pipeline.dag import Dag, build_dag
from pipeline.writers.base import requested_cues

QUOTAS = {"emotion": 180, "age": 60, "gender": 40, "event": 70, "multi": 100, "neutral": 50}
OTHER_SCRIPTS = re.compile(r"[0-9A-Za-z０-９Ａ-Ｚａ-ｚ]")


@cache
def written() -> tuple[Dag, dict[str, list[dict[str, Any]]]]:
    """500 Mandarin dialogues of one to three turns with their texts, by id."""
    plan = {"quotas": QUOTAS, "turns": {1: 0.6, 2: 0.2, 3: 0.2}, "multi": ["event", "emotion"]}
    dag = build_dag(RunManifest.model_validate(merged(BASE, {"language": "zh", "plan": plan})), "mine.yaml")
    rows = [
        {"id": row["id"], "turn": row["turn"]} | {f"plan.{name}": row[name] for name in NAMES[2:]}
        for row in drawn(dag.planner)
    ]
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row, texts in zip(rows, dag.by_name["script"].open().process(rows), strict=True):  # type: ignore[attr-defined]
        assert isinstance(texts, dict), texts
        found[row["id"]].append(row | texts)
    return dag, found


def test_every_split_is_planned_with_mandarin_voices() -> None:
    dag, found = written()
    assert len(found) == 500
    rows = [turns[0] for turns in found.values()]
    assert {row["plan.split"] for row in rows} == set(SPLITS)
    voices = {voice.voice: voice for voice in dag.planner.voices.voices}
    for row in rows:
        assert voices[row["plan.query_voice"]].language == voices[row["plan.reply_voice"]].language == "zh"


def test_few_dialogues_are_the_same() -> None:
    _, found = written()
    whole = Counter(tuple((row["query_text"], row["reply_text"]) for row in turns) for turns in found.values())
    assert sum(count - 1 for count in whole.values()) <= 5
    # Follow-ups have no slots: only the first replies are this varied.
    replies = Counter(turns[0]["reply_text"] for turns in found.values())
    assert len(replies) > 0.95 * sum(replies.values())


def test_every_reply_names_its_cue_and_every_think_text_fits() -> None:
    dag, found = written()
    bank = dag.planner.bank
    for row in (row for turns in found.values() for row in turns):
        cues = requested_cues(row)
        for family in bank.kept(cues):
            assert bank.mentions(row["reply_text"], family, cues[family]), row["reply_text"]
        labels = {"event": "none", **cues}
        assert list(contradictions(row["think_text"], labels, "zh", row["query_text"])) == [], row["think_text"]


def test_texts_are_spoken_as_they_are_written() -> None:
    _, found = written()
    for row in (row for turns in found.values() for row in turns):
        for role in ("query", "reply"):
            assert not OTHER_SCRIPTS.search(row[f"{role}_spoken"]), row[f"{role}_spoken"]
            assert row[f"{role}_spoken"] == row[f"{role}_text"]


def test_no_sentence_is_said_twice_in_a_dialogue() -> None:
    _, found = written()
    for turns in found.values():
        said = [sentence for row in turns for sentence in re.findall(".+?[。？！]", row["reply_text"])]
        assert len(set(said)) == len(said), said
