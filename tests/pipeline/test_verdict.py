"""The verdict: kept, or rejected for every threshold missed, or quarantined."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.labels import CUES, NONE
from manifests.run import SelectConfig
from manifests.textconfig import TextConfig, without_text_checks
from pipeline.verdict import KEPT, QUARANTINED, REJECTED, Rules, judge, judged_columns, settle

FAMILIES = tuple(CUES)
CONFIG = SelectConfig(
    query_wer_max=0.25,
    reply_wer_max=0.5,
    query_seconds=(0.5, 10.0),
    reply_seconds=(1.0, 20.0),
    speech_ratio_min=0.4,
    clipped_ratio_max=0.02,
    snr_db_min=12.0,
    agree=FAMILIES,
    text=without_text_checks(),
)
LEAST = {
    "age": dict.fromkeys(CUES["age"], 0.6) | {"child": 0.1},
    "event": dict.fromkeys((*CUES["event"], NONE), 0.7),
}
STRICT = Rules(CONFIG, FAMILIES, LEAST)


def changed(**settings: Any) -> Rules:
    """The rules with other settings."""
    return replace(STRICT, config=CONFIG.model_copy(update=settings))


GOOD: dict[str, Any] = {
    "plan.split": "train",
    "plan.task": "multi",
    "plan.num_turns": 1,
    "plan.source": "synthetic",
    "plan.language": "en",
    "plan.query_language": "en",
    "plan.recording": "",
    "script.query_text": "They want to check my ears again on Friday.",
    "script.reply_text": "At your age that takes patience. Plan something gentle for after Friday.",
    "script.think_text": "What they say is plain. It is the voice of an old person.",
    "script.judge_neutral": None,
    "script.judge_plausible": None,
    "script.judge_relevant": None,
    "speak_query.audio_sha256": "0" * 64,
    "tokenize.token_rate": 25,
    "transcribe.query_oov": None,
    "plan.round": 0,
    "plan.cues": ["age"],
    "plan.age": "old",
    "plan.gender": "male",
    "plan.emotion": "sad",
    "plan.event": NONE,
    "speak_query.seconds": 3.0,
    "speak_reply.seconds": 4.0,
    "transcribe.query_wer": 0.1,
    "transcribe.reply_wer": 0.1,
    "transcribe.query_mismatch": 0.2,
    "transcribe.reply_mismatch": None,
    "annotate.heard_age": "old",
    "annotate.heard_gender": "male",
    "annotate.heard_emotion": "sad",
    "annotate.heard_event": NONE,
    **{f"annotate.heard_{family}_p": 0.9 for family in FAMILIES},
    **{f"rate.{role}_speech_ratio": 0.8 for role in ("query", "reply")},
    **{f"rate.{role}_clipped_ratio": 0.0 for role in ("query", "reply")},
    **{f"rate.{role}_snr_db": 30.0 for role in ("query", "reply")},
}
MISSES = [
    ("transcribe.query_wer", 0.3, "query_wer 0.300 > 0.25"),
    ("transcribe.reply_wer", 1.5, "reply_wer 1.500 > 0.5"),
    ("transcribe.query_mismatch", 0.95, "query_mismatch 0.950 > 0.9"),
    ("transcribe.reply_mismatch", 0.91, "reply_mismatch 0.910 > 0.9"),
    ("speak_query.seconds", 0.25, "query_seconds 0.25 not in 0.5..10"),
    ("speak_query.seconds", 10.5, "query_seconds 10.50 not in 0.5..10"),
    ("speak_reply.seconds", 0.9, "reply_seconds 0.90 not in 1..20"),
    ("speak_reply.seconds", 21.0, "reply_seconds 21.00 not in 1..20"),
    ("rate.query_speech_ratio", 0.1, "query_speech_ratio 0.100 < 0.4"),
    ("rate.reply_speech_ratio", 0.39, "reply_speech_ratio 0.390 < 0.4"),
    ("rate.query_clipped_ratio", 0.03, "query_clipped_ratio 0.0300 > 0.02"),
    ("rate.reply_clipped_ratio", 1.0, "reply_clipped_ratio 1.0000 > 0.02"),
    ("rate.query_snr_db", 11.5, "query_snr_db 11.5 < 12"),
    ("rate.reply_snr_db", -20.0, "reply_snr_db -20.0 < 12"),
    ("annotate.heard_age", "child", "age_disagrees heard child, asked old"),
    ("annotate.heard_gender", NONE, "gender_disagrees heard none, asked male"),
    ("annotate.heard_event", "laugh", "event_disagrees heard laugh, asked none"),
    ("plan.event", "cough", "event_disagrees heard none, asked cough"),
    ("annotate.heard_age_p", 0.5, "age_unsure 0.500 < 0.6"),
    ("annotate.heard_event_p", 0.1, "event_unsure 0.100 < 0.7"),
]


def test_what_misses_nothing_is_kept() -> None:
    assert judge([GOOD], "", STRICT) == (KEPT, [])
    assert judge([GOOD, GOOD], "", STRICT) == (KEPT, [])


def test_it_reads_the_declared_columns_alone() -> None:
    assert set(GOOD) == set(judged_columns(STRICT))
    assert not any(column.endswith(".audio") for column in judged_columns(STRICT))
    rules = replace(changed(agree=("gender",)), slots=("gender",))
    row = {column: GOOD[column] for column in judged_columns(rules)}
    assert judge([row], "", rules) == (KEPT, [])


@pytest.mark.parametrize(("column", "value", "reason"), MISSES)
def test_each_missed_threshold_is_a_reason_with_value_and_limit(column: str, value: Any, reason: str) -> None:
    assert judge([{**GOOD, column: value}], "", STRICT) == (REJECTED, [reason])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("transcribe.query_wer", 0.25),
        ("transcribe.reply_wer", 0.5),
        ("speak_query.seconds", 0.5),
        ("speak_query.seconds", 10.0),
        ("speak_reply.seconds", 1.0),
        ("speak_reply.seconds", 20.0),
        ("rate.query_speech_ratio", 0.4),
        ("rate.reply_clipped_ratio", 0.02),
        ("rate.query_snr_db", 12.0),
        ("annotate.heard_age_p", 0.6),
        ("annotate.heard_gender_p", 0.0),
    ],
)
def test_a_threshold_itself_is_good_enough(column: str, value: float) -> None:
    assert judge([{**GOOD, column: value}], "", STRICT) == (KEPT, [])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(MISSES), unique_by=lambda miss: miss[0], min_size=1))
def test_every_miss_is_told(misses: list) -> None:
    row = GOOD | {column: value for column, value, _ in misses}
    names = {reason.split()[0] for _, _, reason in misses}
    names -= {f"{family}_unsure" for family in FAMILIES if f"{family}_disagrees" in names}
    verdict, reasons = judge([row], "", STRICT)
    assert verdict == REJECTED
    assert sorted(reason.split()[0] for reason in reasons) == sorted(names)


def test_a_turn_is_named_from_the_second_on() -> None:
    bad = {**GOOD, "transcribe.query_wer": 0.3}
    assert judge([bad, GOOD, bad], "", STRICT) == (
        REJECTED,
        ["query_wer 0.300 > 0.25", "query_wer 0.300 > 0.25 (turn 2)"],
    )
    assert judge([GOOD, bad], "", STRICT)[1] == ["query_wer 0.300 > 0.25 (turn 1)"]


def test_a_failed_row_is_quarantined_whatever_else_it_misses() -> None:
    assert judge([{**GOOD, "transcribe.query_wer": 9.0}], "rate:ValueError", STRICT) == (QUARANTINED, [])
    assert judge([dict.fromkeys(GOOD)], "speak_query:RuntimeError", STRICT) == (QUARANTINED, [])


def test_families_that_need_not_agree_are_not_compared() -> None:
    row = {**GOOD, "annotate.heard_emotion": "angry", "annotate.heard_age": "child"}
    assert judge([row], "", changed(agree=("gender",))) == (KEPT, [])
    assert [reason.split()[0] for reason in judge([row], "", STRICT)[1]] == ["age_disagrees", "emotion_disagrees"]


@pytest.mark.parametrize("heard", ["child", NONE])
def test_nothing_asked_is_nothing_to_agree_with_except_for_events(heard: str) -> None:
    assert judge([{**GOOD, "plan.age": NONE, "annotate.heard_age": heard}], "", STRICT) == (KEPT, [])
    row = {**GOOD, "plan.event": NONE, "annotate.heard_event": "sigh"}
    assert judge([row], "", STRICT) == (REJECTED, ["event_disagrees heard sigh, asked none"])


@pytest.mark.parametrize(("asked", "heard"), [("male", "female"), ("female", "male"), ("male", NONE)])
def test_a_childs_gender_is_not_compared(asked: str, heard: str) -> None:
    rules = replace(
        changed(agree=("gender",)),
        slots=("gender", "gender_2"),
        thresholds={slot: dict.fromkeys(CUES["gender"], 0.8) for slot in ("gender", "gender_2")},
    )
    labels = {
        f"annotate.heard_{slot}{tail}": value for slot in rules.slots for tail, value in (("", heard), ("_p", 0.5))
    }
    child = {**GOOD, **labels, "plan.age": "child", "plan.gender": asked}
    assert judge([child], "", rules) == (KEPT, [])
    for age in ("adult", "old", NONE):
        reasons = judge([{**child, "plan.age": age}], "", rules)[1]
        assert [reason.split()[0] for reason in reasons] == ["gender_disagrees", "gender_2_disagrees"]


def test_an_unsure_wrong_label_is_one_reason() -> None:
    row = {**GOOD, "annotate.heard_age": "child", "annotate.heard_age_p": 0.1}
    assert judge([row], "", STRICT)[1] == ["age_disagrees heard child, asked old"]


@pytest.mark.parametrize("column", ["speak_query.seconds", "speak_reply.seconds"])
def test_a_duration_that_is_no_number_is_rejected(column: str) -> None:
    assert judge([{**GOOD, column: float("nan")}], "", STRICT)[0] == REJECTED


@pytest.mark.parametrize(
    "column",
    [
        "transcribe.query_wer",
        "transcribe.reply_wer",
        "rate.query_speech_ratio",
        "rate.query_clipped_ratio",
        "rate.reply_snr_db",
        "annotate.heard_age_p",
    ],
)
def test_a_measurement_that_is_no_number_is_rejected(column: str) -> None:
    assert judge([{**GOOD, column: float("nan")}], "", STRICT)[0] == REJECTED


def test_a_threshold_is_of_the_label() -> None:
    row = {**GOOD, "annotate.heard_age_p": 0.2}
    assert judge([row], "", STRICT)[1] == ["age_unsure 0.200 < 0.6"]
    assert judge([{**row, "plan.age": "child", "annotate.heard_age": "child"}], "", STRICT) == (KEPT, [])


def test_one_speaker_is_always_asked_for() -> None:
    rules = replace(changed(agree=("speakers",)), slots=("speakers",), thresholds={"speakers": {"one": 0.5}})
    row = {**GOOD, "annotate.heard_speakers": "one", "annotate.heard_speakers_p": 0.9}
    assert judge([row], "", rules) == (KEPT, [])
    assert judge([{**row, "annotate.heard_speakers_p": 0.4}], "", rules)[1] == ["speakers_unsure 0.400 < 0.5"]
    row["annotate.heard_speakers"] = "several"
    assert judge([row], "", rules)[1] == ["speakers_disagrees heard several, asked one"]


@pytest.mark.parametrize(
    ("query", "reply", "reasons"),
    [
        (3.0, 4.0, []),
        (None, None, []),
        (2.5, None, ["query_mos 2.50 < 3"]),
        (None, 2.0, ["reply_mos 2.00 < 3"]),
        (float("nan"), 3.5, ["query_mos nan < 3"]),
    ],
)
def test_opinion_scores_reject_where_there_are_any(query: float | None, reply: float | None, reasons: list) -> None:
    rules = changed(mos_min=3.0)
    row = {**GOOD, "mos.query_ovrl": query, "mos.reply_ovrl": reply}
    assert judge([row], "", rules) == ((REJECTED if reasons else KEPT), reasons)
    assert {"mos.query_ovrl", "mos.reply_ovrl"} <= set(judged_columns(rules))
    assert not any(column.startswith("mos.") for column in judged_columns(STRICT))
    assert judge([{**GOOD, "transcribe.query_wer": 0.3}], "", STRICT)[0] == REJECTED


def test_what_the_words_miss_is_told_too_and_duplicates_last() -> None:
    rules = changed(text=TextConfig())
    copy = "near_duplicate 0.912 >= 0.8 of 00ff (test)"
    assert judge([GOOD], "", rules) == (KEPT, [])
    assert settle(KEPT, [], [copy]) == (REJECTED, [copy])
    assert settle(QUARANTINED, [], []) == (QUARANTINED, [])
    bad = {**GOOD, "transcribe.query_wer": 0.3, "script.reply_text": "As an AI, I can only ask you to rest on Friday."}
    assert judge([GOOD, bad], "", rules)[1] == [
        "query_wer 0.300 > 0.25 (turn 1)",
        "reply_assistants As an AI (turn 1)",
    ]


THREE = ("emotion", "emotion_2", "emotion_3")


def voted(vote: str, *heard: tuple[str, float]) -> list[str]:
    """Why a sad query is rejected that three annotators heard so, each with its probability; a threshold is 0.6."""
    config = CONFIG.model_copy(update={"agree": ("emotion",), "vote": {"emotion": vote}})
    rules = Rules(config, THREE, {slot: {"sad": 0.6} for slot in THREE})
    row = {**GOOD, "plan.emotion": "sad"}
    for slot, (label, sure) in zip(THREE, heard, strict=True):
        row |= {f"annotate.heard_{slot}": label, f"annotate.heard_{slot}_p": sure}
    return judge([row], "", rules)[1]


SAD, UNSURE, ANGRY = ("sad", 0.9), ("sad", 0.5), ("angry", 0.9)


@pytest.mark.parametrize(
    ("vote", "heard", "kept"),
    [
        ("all", (SAD, SAD, SAD), True), ("all", (SAD, SAD, ANGRY), False), ("majority", (SAD, SAD, ANGRY), True),
        ("majority", (SAD, UNSURE, ANGRY), False), ("any", (ANGRY, UNSURE, SAD), True),
        ("any", (ANGRY, UNSURE, ANGRY), False),
    ],
)  # fmt: skip
def test_annotators_of_a_family_vote(vote: str, heard: tuple, kept: bool) -> None:
    assert (voted(vote, *heard) == []) is kept


def test_a_lost_vote_is_told_by_those_who_voted_against() -> None:
    reasons = voted("majority", SAD, UNSURE, ANGRY)
    assert reasons == ["emotion_2_unsure 0.500 < 0.6", "emotion_3_disagrees heard angry, asked sad"]


def test_a_vote_of_a_family_that_need_not_agree_is_refused() -> None:
    with pytest.raises(ValueError, match=r"vote\.emotion has no effect"):
        SelectConfig(vote={"emotion": "any"})
