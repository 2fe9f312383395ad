"""Tag-form think text of OSUM-EChat: what was heard, cue by cue, before the reply.

The fields and their order are those of the paper's label form (transcript, age, gender, query emotion,
sound event, reply emotion, a fixed closing clause); the wording is ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from manifests.labels import CUES, NONE, REPLY_EMOTIONS

THINK_START = "<think>"
THINK_END = "<think end>"  # with a blank, as the released tokenizer expects it
UNKNOWN = "<&&>"  # a label that nobody knows; trainers mask it from attention and loss
_CLOSING = "answer with both the words and the voice in mind"


def _tag(family: str, value: str | None) -> str:
    if value is None or (value == NONE and family != "event"):
        return UNKNOWN
    return "<OTHER>" if value == NONE else f"<{value.upper()}>"


def render_tag(transcript: str | None, labels: Mapping[str, str | None], reply_emotion: str) -> str:
    """The think text of one turn.

    Args:
        transcript: Words of the query; the marks `<` and `>` are dropped, so that no text can close the think part.
            None where they are not known.
        labels: Values of `age`, `gender`, `emotion`, `event`; missing, None or `none` means unknown, except that
            `event: none` means that there was no event, which the label set calls OTHER.
        reply_emotion: One of the eleven reply emotions.

    Returns:
        One line from `<think>` to `<think end>`.
    """
    words = UNKNOWN if transcript is None else " ".join(transcript.replace("<", " ").replace(">", " ").split())
    return (
        f"{THINK_START}heard: {words} | age={_tag('age', labels.get('age'))}"
        f" | gender={_tag('gender', labels.get('gender'))} | emotion={_tag('emotion', labels.get('emotion'))}"
        f" | sound={_tag('event', labels.get('event'))} | reply_emotion=<{reply_emotion}>; {_CLOSING}{THINK_END}"
    )


_FIELDS = {"age": "age", "gender": "gender", "emotion": "emotion", "event": "sound"}
_VALUE = "<([^<>]*)>"
_FORM = re.compile(
    r"heard: (?:[^<>]*|<&&>)"
    + "".join(rf" \| {name}={_VALUE}" for name in _FIELDS.values())
    + rf" \| reply_emotion={_VALUE}; {re.escape(_CLOSING)}"
)


@dataclass(frozen=True)
class ThinkTag:
    """What a tag-form think text says, as far as it can be read.

    Attributes:
        transcript: Empty where it is unknown or missing.
        labels: By family; those that are unknown, misspelt or missing are left out. No event is `none`.
        reply_emotion: Empty where it is none of the eleven.
        well_formed: Whether it is what `render_tag` could have written, to the letter.
    """

    transcript: str
    labels: Mapping[str, str]
    reply_emotion: str
    well_formed: bool


def parse_tag(text: str) -> ThinkTag:
    """Read a tag-form think text, with or without its marks, however broken it is: a model may have written it."""
    text = text.removeprefix(THINK_START).removesuffix(THINK_END)
    heard = re.search(r"heard: (.*?)(?: \| age=|$)", text, re.DOTALL)
    transcript = heard[1].replace(UNKNOWN, "").strip() if heard else ""
    labels = {}
    for family, name in _FIELDS.items():
        found = re.search(rf"\b{name}={_VALUE}", text)
        value = found[1].lower() if found else ""
        if value in CUES[family]:
            labels[family] = value
        elif family == "event" and value == "other":
            labels[family] = NONE
    emotion = re.search(rf"\breply_emotion={_VALUE}", text)
    form = _FORM.fullmatch(text)
    known = form is not None and all(
        value == "&&" or family in labels for family, value in zip(_FIELDS, form.groups(), strict=False)
    )
    spoken = emotion[1] if emotion and emotion[1] in REPLY_EMOTIONS else ""
    return ThinkTag(transcript, labels, spoken, bool(known and spoken))
