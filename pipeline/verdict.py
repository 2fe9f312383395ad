"""The verdict on one dialogue: kept, rejected with reasons, or quarantined. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from manifests.labels import CUES, NONE, family_of
from manifests.run import SelectConfig, Vote
from manifests.withdrawn import NOBODY, SPEAKER_COLUMNS, Withdrawn, reason_on
from pipeline.hygiene import COLUMNS, dialogue_reasons, turn_reasons
from pipeline.real import SOURCE

KEPT, REJECTED, QUARANTINED = "kept", "rejected", "quarantined"
VERDICTS = (KEPT, REJECTED, QUARANTINED)

_LIMITS = (
    # reason, column, what the value must be, key of the manifest, how it is shown
    ("query_wer", "transcribe.query_wer", "<=", "query_wer_max", ".3f"),
    ("reply_wer", "transcribe.reply_wer", "<=", "reply_wer_max", ".3f"),
    ("query_mismatch", "transcribe.query_mismatch", "<=", "query_mismatch_max", ".3f"),
    ("reply_mismatch", "transcribe.reply_mismatch", "<=", "reply_mismatch_max", ".3f"),
    ("query_seconds", "speak_query.seconds", "in", "query_seconds", ".2f"),
    ("reply_seconds", "speak_reply.seconds", "in", "reply_seconds", ".2f"),
    ("query_speech_ratio", "rate.query_speech_ratio", ">=", "speech_ratio_min", ".3f"),
    ("query_clipped_ratio", "rate.query_clipped_ratio", "<=", "clipped_ratio_max", ".4f"),
    ("query_snr_db", "rate.query_snr_db", ">=", "snr_db_min", ".1f"),
    ("reply_speech_ratio", "rate.reply_speech_ratio", ">=", "speech_ratio_min", ".3f"),
    ("reply_clipped_ratio", "rate.reply_clipped_ratio", "<=", "clipped_ratio_max", ".4f"),
    ("reply_snr_db", "rate.reply_snr_db", ">=", "snr_db_min", ".1f"),
    ("query_mos", "mos.query_ovrl", ">=", "mos_min", ".2f"),
    ("reply_mos", "mos.reply_ovrl", ">=", "mos_min", ".2f"),
)
_OPTIONAL = (
    "mos.", "transcribe.query_wer", "transcribe.query_mismatch", "transcribe.reply_mismatch",
)  # fmt: skip
"""Columns that may be absent from a good row; what is absent never rejects."""


@dataclass(frozen=True)
class Rules:
    """What a verdict follows from, beside the row.

    Attributes:
        slots: Every annotator of the run, `RunManifest.slots`.
        thresholds: Least probability by slot and label; 0 for those that are not in it.
        calibration_share: Of the first plan's rows, those that the thresholds were chosen on; 0 for frozen ones.
        withdrawn: Dialogues and speakers that may not be kept whatever their rows say.
    """

    config: SelectConfig
    slots: tuple[str, ...]
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    calibration_share: float = 0.0
    withdrawn: Withdrawn = NOBODY

    @cached_property
    def judged(self) -> tuple[str, ...]:
        """The annotators that must agree, in the order of `agree`."""
        return judged_slots(self.config, self.slots)

    @cached_property
    def limits(self) -> list[tuple[str, str, str, Any, str]]:
        """Reason, column, comparison, limit and format of every threshold that is set."""
        config = self.config.model_dump()
        return [(*limit[:3], config[limit[3]], limit[4]) for limit in _LIMITS if config[limit[3]] is not None]

    def least(self, slot: str, label: str) -> float:
        """The probability that a recognised label needs."""
        return self.thresholds.get(slot, {}).get(label, 0.0)


def judged_slots(config: SelectConfig, slots: Sequence[str]) -> tuple[str, ...]:
    """Of the annotators, those that must agree, in the order of `agree`."""
    return tuple(slot for family in config.agree for slot in slots if family_of(slot) == family)


def judged_columns(rules: Rules) -> tuple[str, ...]:
    """Columns that a verdict is made of; never audio."""
    heard = [f"annotate.heard_{slot}{tail}" for slot in rules.slots for tail in ("", "_p")]
    names = (
        "plan.source", "plan.split", "plan.task", "plan.num_turns", "plan.round", "plan.cues",
        *(f"plan.{family}" for family in CUES), *(limit[1] for limit in rules.limits), *heard, *COLUMNS,
        *(SPEAKER_COLUMNS if rules.withdrawn else ()),
    )  # fmt: skip
    return tuple(dict.fromkeys(names))


def requested(row: Mapping[str, Any], slot: str) -> str:
    """The label that was asked for of a slot's family: one speaker, always."""
    family = family_of(slot)
    return "one" if family == "speakers" else row[f"plan.{family}"]


def comparable(row: Mapping[str, Any], slot: str, real: bool = False) -> bool:
    """Whether anything was asked for that can be compared; of events, none is a label too.

    Labels of a recording are people's, and annotators err on people: they are compared only if `real`.

    A child's gender is not: before the voice breaks neither pitch nor formants tell it, so an annotator guesses, and
    its guesses would reject children at random.
    """
    family = family_of(slot)
    if row["plan.source"] == SOURCE and (not real or (family == "event" and requested(row, slot) == NONE)):
        return False
    if family == "gender" and row["plan.age"] == "child":
        return False
    return family == "event" or requested(row, slot) != NONE


def judge(turns: Sequence[Mapping[str, Any]], error: str, rules: Rules) -> tuple[str, list[str]]:
    """Judge a dialogue by its turns, in order, and by nothing else: duplicates are told by `settle`.

    Args:
        turns: Rows with `judged_columns`.
        error: The stage and exception type that failed one of its rows, or "".

    Returns:
        The verdict, and for a rejected dialogue every threshold that it missed, as `name value limit`; the
        turn is named from the second on.
    """
    if error:
        return QUARANTINED, []
    date = rules.withdrawn.date(turns) if rules.withdrawn else ""
    reasons = [reason_on(date)] if date else []
    for number, row in enumerate(turns):
        for reason in (*_misses(row, rules), *_disagreements(row, rules), *turn_reasons(row, rules.config.text)):
            reasons.append(reason if number == 0 else f"{reason} (turn {number})")
    reasons += dialogue_reasons(turns, rules.config.text)
    return (REJECTED if reasons else KEPT), reasons


def settle(verdict: str, reasons: Sequence[str], duplicates: Sequence[str]) -> tuple[str, list[str]]:
    """A verdict of `judge`, and why the dialogue is a duplicate of another (`pipeline/duplicates.py`), if it is."""
    return (REJECTED, [*reasons, *duplicates]) if duplicates else (verdict, list(reasons))


def _misses(row: Mapping[str, Any], rules: Rules) -> Iterator[str]:
    for name, column, relation, limit, shown in rules.limits:
        value = row[column]
        if value is None and column.startswith(_OPTIONAL):
            continue
        # Each test asks whether the value passes, so that NaN, which compares with nothing, does not.
        if relation == "<=" and not value <= limit:
            yield f"{name} {value:{shown}} > {limit:g}"
        elif relation == ">=" and not value >= limit:
            yield f"{name} {value:{shown}} < {limit:g}"
        elif relation == "in" and not limit[0] <= value <= limit[1]:
            yield f"{name} {value:{shown}} not in {limit[0]:g}..{limit[1]:g}"


def carried(vote: Vote, votes: int, annotators: int) -> bool:
    """Whether a label is taken as heard, where that many of the family's annotators heard it."""
    return {"all": votes == annotators, "majority": 2 * votes > annotators, "any": votes > 0}[vote]


def _disagreements(row: Mapping[str, Any], rules: Rules) -> Iterator[str]:
    """Why each annotator that votes against the requested label does, of the families where the vote is lost."""
    against: dict[str, list[str]] = {}
    for slot in rules.judged:
        if comparable(row, slot, rules.config.agree_real):
            against.setdefault(family_of(slot), []).append(_objection(row, slot, rules))
    for family, objections in against.items():
        if not carried(rules.config.vote.get(family, "all"), objections.count(""), len(objections)):
            yield from filter(None, objections)


def _objection(row: Mapping[str, Any], slot: str, rules: Rules) -> str:
    """Why an annotator did not hear what was asked for; empty where it did."""
    asked, heard, sure = requested(row, slot), row[f"annotate.heard_{slot}"], row[f"annotate.heard_{slot}_p"]
    if heard != asked:
        return f"{slot}_disagrees heard {heard}, asked {asked}"
    if not sure >= rules.least(slot, asked):
        return f"{slot}_unsure {sure:.3f} < {rules.least(slot, asked):g}"
    return ""
