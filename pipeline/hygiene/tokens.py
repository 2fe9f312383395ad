"""How long a dialogue is for the trainer: estimated text tokens, speech tokens, positions of the whole sequence.

Limits of the trainer of OSUM-EChat: one text token for 3 speech tokens at most where they are streamed, 0.8 times the
label (think text and reply) under the speech tokens, and 2,000 positions in all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from manifests.textconfig import TextConfig

_PIECES = re.compile(r"(?P<han>[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])|[a-zA-Z\u00c0-\u024f]+|\d|[^\w\s]+|\w")
_HAN = 0.6
"""Tokens of a Chinese character."""
QUERY_RATE = 12.5
"""Positions per second of the query."""
TEMPLATE = 58
"""Positions that the chat template takes."""


@lru_cache(maxsize=256)  # reply and think text of a turn are asked for twice
def text_tokens(text: str) -> float:
    """About how many tokens a text has for Qwen2.5's tokenizer: one a word, digit or run of marks, 0.6 a character.

    Measured against that tokenizer on the shipped texts: 0.3 % too many in English, see docs/hygiene.md. The small
    tokenizer of `model` needs several times as many in Chinese, so it says nothing about the texts.
    """
    if text.isascii():
        return float(len(_PIECES.findall(text)))
    return sum(_HAN if match.lastgroup else 1.0 for match in _PIECES.finditer(text))


def turn_tokens(row: Mapping[str, Any], config: TextConfig) -> Iterator[str]:
    """Reasons of one turn: too much text for its speech."""
    speech = row["speak_reply.seconds"] * row["tokenize.token_rate"]
    reply = text_tokens(row["script.reply_text"])
    label = reply + text_tokens(row["script.think_text"])
    least = config.speech_per_text_min
    if least is not None and reply and not speech / reply >= least:
        yield f"reply_speech_per_text {speech / reply:.2f} < {least:g}"
    least = config.speech_per_label_min
    if least is not None and label and not speech / label > least:
        yield f"reply_speech_per_label {speech / label:.2f} <= {least:g}"


def dialogue_tokens(turns: Sequence[Mapping[str, Any]], config: TextConfig) -> Iterator[str]:
    """The reason of a whole dialogue: too long; the think texts of earlier turns do not count."""
    if config.positions_max is None:
        return
    total = TEMPLATE + text_tokens(turns[-1]["script.think_text"])
    for row in turns:
        total += row["speak_query.seconds"] * QUERY_RATE + text_tokens(row["script.reply_text"])
        total += row["speak_reply.seconds"] * row["tokenize.token_rate"]
    if not total <= config.positions_max:
        yield f"positions {total:.0f} > {config.positions_max}"
