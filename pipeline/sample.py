"""The JSON of a dialogue in a shard: asked for, heard, scored, and made by what. It has no nulls."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from manifests.ids import seed_of
from manifests.labels import CUES, NONE, family_of
from manifests.think import render_tag
from pipeline.real import SOURCE, corpus_of
from pipeline.verdict import carried, comparable

if TYPE_CHECKING:
    from manifests.run import Vote
    from pipeline.dag import Dag

_MOS = ("ovrl", "sig", "bak")
UNMEASURED = -1.0
"""Stands in a shard's JSON, which has no nulls, for a score that was not measured: no score is negative."""
AGREED_WER = 0.3
"""Most word errors of a query whose words count as recognised, in tag-form think texts."""
_QUALITY = ("speech_ratio", "speech_seconds", "lead_seconds", "clipped_ratio", "snr_db", "rms_dbfs")


def sample_columns(dag: Dag) -> tuple[str, ...]:
    """Every column of every stage: what a shard is made of."""
    names = [f"plan.{name}" for name in dag.plan.writes.names]
    for stage in dag.stages:
        names += [f"{stage.name}.{name}" for name in stage.writes.names]
    return tuple(names)


def sample_json(dag: Dag, turns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Everything about a dialogue but its audio and tokens, which are members of their own."""
    first = turns[0]
    return {
        "id": first["id"],
        "split": first["plan.split"],
        "task": first["plan.task"],
        "language": first["plan.language"],
        "source": first["plan.source"],
        "query_language": first["plan.query_language"],
        "recording": first["plan.recording"],
        "corpus": _corpus(dag, first),
        "pair": first["plan.pair"],
        "num_turns": first["plan.num_turns"],
        "turns": [_turn(row, dag) for row in turns],
        "engines": dag.revisions,
    }


def _corpus(dag: Dag, row: Mapping[str, Any]) -> dict[str, str]:
    """Where a recorded query is from and what its speaker agreed to; empty texts for a synthetic one."""
    if row["plan.source"] != SOURCE:
        return {"name": "", "licence": "", "consent": ""}
    about = dag.planner.real.abouts[corpus_of(row["plan.query_speaker"])]
    return {"name": about.name, "licence": about.licence, "consent": about.consent}


def _turn(row: Mapping[str, Any], dag: Dag) -> dict[str, Any]:
    name, turn = row["id"], row["turn"]
    slots, scored = dag.manifest.slots, dag.manifest.mos is not None
    agreed = _agreed(row, slots, dag.manifest.select.vote)
    requested = {family: row[f"plan.{family}"] for family in CUES}
    return {
        "turn": turn,
        "scenario": row["plan.scenario"],
        "topic": row["plan.topic"],
        "followup": row["plan.followup"],
        "cues": row["plan.cues"],
        "seed": row["plan.seed"],
        "query": {
            **_utterance(row, "query", scored),
            "voice": row["plan.query_voice"],
            "speaker": row["plan.query_speaker"],
            "requested": {**requested, "intensity": row["plan.intensity"]},
            "event": {
                "start": round(row["speak_query.event_start"], 4),
                "end": round(row["speak_query.event_end"], 4),
                "position": row["speak_query.event_position"],
                "snr_db": round(row["speak_query.event_snr_db"], 2),
                "source": row["speak_query.event_source"],
            },
            "heard": {slot: _heard(row, slot) for slot in slots},
        },
        "reply": {
            **_utterance(row, "reply", scored),
            "voice": row["plan.reply_voice"],
            "emotion": row["script.reply_emotion"],
            "num_tokens": len(row["tokenize.reply_tokens"]),
            "token_rate": row["tokenize.token_rate"],
            "codebook_size": row["tokenize.codebook_size"],
        },
        "think_text": row["script.think_text"],
        "think_tag": render_tag(_words(row), agreed, row["script.reply_emotion"]),
        "seeds": {stage: seed_of(name, turn, stage) for stage in ("script", "speak_query", "speak_reply")},
    }


def _words(row: Mapping[str, Any]) -> str | None:
    """The words of a query that were recognised: those of its text, or None where too many were heard otherwise.

    A recognizer's slips are not what anybody said, so its own words stand in no think text. Of a recording that it has
    no language for, the words are those that the corpus states.
    """
    errors = row["transcribe.query_wer"]
    if errors is None:
        return row["script.query_text"] if row["plan.source"] == SOURCE else None
    return row["script.query_text"] if errors <= AGREED_WER else None


def _agreed(row: Mapping[str, Any], slots: Sequence[str], vote: Mapping[str, Vote]) -> dict[str, str | None]:
    """The labels of a query that were asked for and heard, by the vote of the family's annotators, one at least.

    Labels of a recording are people's and stand; that it has no event is only known where an annotator heard none.
    """
    known: dict[str, str | None] = {}
    for family in CUES:
        asked = row[f"plan.{family}"]
        heard = [row[f"annotate.heard_{slot}"] for slot in slots if family_of(slot) == family]
        agreed = bool(heard) and carried(vote.get(family, "all"), heard.count(asked), len(heard))
        if row["plan.source"] == SOURCE:
            stands = asked != NONE or (family == "event" and agreed)
        else:
            stands = agreed and comparable(row, family)
        known[family] = asked if stands else None
    return known


def _utterance(row: Mapping[str, Any], role: str, scored: bool) -> dict[str, Any]:
    mos = {name: _score(row[f"mos.{role}_{name}"], 3) for name in _MOS} if scored else {}
    words = row[f"transcribe.{role}_words"]
    return {
        "synthetic": role == "reply" or row["plan.source"] != SOURCE,
        "text": row[f"script.{role}_text"],
        "spoken": row[f"script.{role}_spoken"],
        "transcript": row[f"transcribe.{role}_transcript"] or "",
        "wer": _score(row[f"transcribe.{role}_wer"], 4),
        "cer": _score(row[f"transcribe.{role}_cer"], 4),
        "mismatch": _score(row[f"transcribe.{role}_mismatch"], 4),
        # Nothing is counted where the recognizer has no dictionary: JSON of shards has no nulls.
        "oov": -1 if row[f"transcribe.{role}_oov"] is None else row[f"transcribe.{role}_oov"],
        **({"words": json.loads(words)} if words is not None else {}),
        "audio_sha256": row[f"speak_{role}.audio_sha256"],
        "seconds": round(row[f"speak_{role}.seconds"], 4),
        "sample_rate": row[f"speak_{role}.sample_rate"],
        "quality": {name: round(row[f"rate.{role}_{name}"], 4) for name in _QUALITY},
        **({"mos": mos} if scored else {}),
    }


def _score(value: float | None, digits: int) -> float:
    return UNMEASURED if value is None or math.isnan(value) else round(value, digits)


def _heard(row: Mapping[str, Any], slot: str) -> dict[str, Any]:
    return {
        "label": row[f"annotate.heard_{slot}"],
        "probability": round(row[f"annotate.heard_{slot}_p"], 4),
        "probabilities": json.loads(row[f"annotate.heard_{slot}_probabilities"]),
        "evidence": json.loads(row[f"annotate.heard_{slot}_evidence"]),
    }
