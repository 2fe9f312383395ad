"""The verdict on one dialogue: kept, rejected with reasons, or quarantined. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from manifests.labels import NONE
from manifests.run import SelectConfig

KEPT, REJECTED, QUARANTINED = "kept", "rejected", "quarantined"
VERDICTS = (KEPT, REJECTED, QUARANTINED)


def judged_columns(families: Sequence[str]) -> tuple[str, ...]:
    """Columns that a verdict is made of, given the annotated cue families; never audio."""
    heard = [f"annotate.heard_{family}{tail}" for family in families for tail in ("", "_p")]
    quality = [
        f"rate.{role}_{name}" for role in ("query", "reply") for name in ("speech_ratio", "clipped_ratio", "snr_db")
    ]
    return (
        "plan.split", "plan.task", "plan.num_turns", "plan.cues", "plan.age", "plan.gender", "plan.emotion",
        "plan.event", "speak_query.seconds", "speak_reply.seconds", "transcribe.query_wer", "transcribe.reply_wer",
        *heard, *quality,
    )  # fmt: skip


def judge(turns: Sequence[Mapping[str, Any]], error: str, config: SelectConfig) -> tuple[str, list[str]]:
    """Judge a dialogue by its turns, in order.

    Args:
        turns: Rows with `judged_columns`.
        error: The stage and exception type that failed one of its rows, or "".

    Returns:
        The verdict, and for a rejected dialogue every threshold that it missed, as `name value limit`; the
        turn is named from the second on.
    """
    if error:
        return QUARANTINED, []
    reasons = []
    for number, row in enumerate(turns):
        for reason in _misses(row, config):
            reasons.append(reason if number == 0 else f"{reason} (turn {number})")
    return (REJECTED if reasons else KEPT), reasons


def _misses(row: Mapping[str, Any], config: SelectConfig) -> list[str]:
    # Each test asks whether the value passes, so that NaN, which compares with nothing, does not.
    reasons = []
    for role, limit in (("query", config.query_wer_max), ("reply", config.reply_wer_max)):
        wer = row[f"transcribe.{role}_wer"]
        if not wer <= limit:
            reasons.append(f"{role}_wer {wer:.3f} > {limit:g}")
    for role, (low, high) in (("query", config.query_seconds), ("reply", config.reply_seconds)):
        seconds = row[f"speak_{role}.seconds"]
        if not low <= seconds <= high:
            reasons.append(f"{role}_seconds {seconds:.2f} not in {low:g}..{high:g}")
    for role in ("query", "reply"):
        ratio, clipped, snr = (row[f"rate.{role}_{name}"] for name in ("speech_ratio", "clipped_ratio", "snr_db"))
        if not ratio >= config.speech_ratio_min:
            reasons.append(f"{role}_speech_ratio {ratio:.3f} < {config.speech_ratio_min:g}")
        if not clipped <= config.clipped_ratio_max:
            reasons.append(f"{role}_clipped_ratio {clipped:.4f} > {config.clipped_ratio_max:g}")
        if not snr >= config.snr_db_min:
            reasons.append(f"{role}_snr_db {snr:.1f} < {config.snr_db_min:g}")
    for family in config.agree:
        asked, heard = row[f"plan.{family}"], row[f"annotate.heard_{family}"]
        sure = row[f"annotate.heard_{family}_p"]
        if family == "event" or asked != NONE:
            if heard != asked:
                reasons.append(f"{family}_disagrees heard {heard}, asked {asked}")
            elif not sure >= config.confidence_min.get(family, 0.0):
                reasons.append(f"{family}_unsure {sure:.3f} < {config.confidence_min.get(family, 0.0):g}")
    return reasons
