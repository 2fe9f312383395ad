"""Tag-form think text of OSUM-EChat: what was heard, cue by cue, before the reply.

The fields and their order are those of the paper's label form (transcript, age, gender, query emotion,
sound event, reply emotion, a fixed closing clause); the wording is ours.
"""

from __future__ import annotations

from collections.abc import Mapping

from manifests.labels import NONE

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
