"""`select.text`: checks of the words of a dialogue, and near duplicates. See docs/hygiene.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from manifests.labels import CUES, NONE
from manifests.textconfig import TextConfig
from manifests.think.natural import contradictions
from pipeline.hygiene.base import Check, Registered, Said
from pipeline.hygiene.language import language
from pipeline.hygiene.persona import assistants, refusals, revision, unsafe
from pipeline.hygiene.personal import personal
from pipeline.hygiene.text import code, controls, length, markup, speakable, special, urls
from pipeline.hygiene.tokens import dialogue_tokens, turn_tokens

__all__ = ["CHECKS", "COLUMNS", "dialogue_reasons", "revision", "text_reasons", "turn_reasons"]

_ALL = ("query", "reply", "think")
CHECKS = (
    Registered("language", language),
    Registered("length", length),
    Registered("speakable", speakable),
    Registered("controls", controls, _ALL),
    Registered("special", special, _ALL),
    Registered("markup", markup, _ALL),
    Registered("urls", urls, _ALL),
    Registered("code", code),
    Registered("assistants", assistants, _ALL),
    Registered("refusals", refusals, ("reply",)),
    Registered("personal", personal),
    Registered("unsafe", unsafe, _ALL),
)
"""In the order of their reasons."""

_JUDGED = ("neutral", "plausible", "relevant")
COLUMNS = (
    "plan.language", "plan.query_language", "plan.recording", "script.query_text", "script.reply_text",
    "script.think_text", *(f"script.judge_{name}" for name in _JUDGED), "speak_query.seconds", "speak_reply.seconds",
    "speak_query.audio_sha256", "tokenize.token_rate", "transcribe.query_oov",
)  # fmt: skip
"""What the checks read, beside the columns of every verdict."""


@lru_cache(maxsize=131_072)  # about 70 MB when it is full
def text_reasons(said: Said, config: TextConfig) -> tuple[str, ...]:
    """Why a text is bad, `<role>_<check> <value and limit>`; texts of a bank come again and again, so it is cached."""
    return tuple(
        f"{said.role}_{name} {detail}" for name, check in _checks(said.role, config) for detail in check(said, config)
    )


@lru_cache(maxsize=16)
def _checks(role: str, config: TextConfig) -> tuple[tuple[str, Check], ...]:
    """Name and function of what is switched on for a role."""
    return tuple((item.name, item.check) for item in CHECKS if getattr(config, item.name) and role in item.roles)


def turn_reasons(row: Mapping[str, Any], config: TextConfig) -> Iterator[str]:
    """Why a turn is bad, by its words alone.

    Args:
        row: Columns of the plan and `COLUMNS`.
    """
    query, reply, think = (row[f"script.{name}_text"] for name in _ALL)
    yield from text_reasons(Said("query", query, row["plan.query_language"]), config)
    yield from text_reasons(Said("reply", reply, row["plan.language"]), config)
    # What is wrong in a quoted query is told of the query.
    own = think.replace(query, " ") if query else think
    yield from text_reasons(Said("think", own, row["plan.language"]), config)
    if config.think:
        for found in contradictions(think, _labels(row), row["plan.language"], query):
            yield f"think_contradicts {found}"
    for name in _JUDGED if config.judge_min is not None else ():
        score = row[f"script.judge_{name}"]
        if score is not None and not score >= config.judge_min:
            yield f"judge_{name} {score:.2f} < {config.judge_min:g}"
    unknown = row["transcribe.query_oov"]
    if config.query_oov_max is not None and unknown is not None and unknown > config.query_oov_max:
        yield f"query_oov {unknown} > {config.query_oov_max}"
    yield from turn_tokens(row, config)


def dialogue_reasons(turns: Sequence[Mapping[str, Any]], config: TextConfig) -> Iterator[str]:
    """Why a dialogue as a whole is bad."""
    yield from dialogue_tokens(turns, config)


def _labels(row: Mapping[str, Any]) -> dict[str, str]:
    """The labels that a think text may not contradict; of a recording, those that people gave."""
    known = {family: row[f"plan.{family}"] for family in CUES}
    return {
        family: label
        for family, label in known.items()
        if label != NONE or (family == "event" and not row["plan.recording"])
    }
