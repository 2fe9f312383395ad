"""Think text: the fields in their order, and nothing that a query says can leave it."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from manifests.labels import CUES, NONE, REPLY_EMOTIONS
from manifests.think import THINK_END, THINK_START, UNKNOWN, render_tag

LABELS = {"age": "old", "gender": "female", "emotion": "sad", "event": "throat_clear"}
FIELDS = {"age": "age", "gender": "gender", "emotion": "emotion", "event": "sound"}
TAG = r"<[A-Z_&]+>"
FORM = re.compile(
    rf"<think>heard: (?P<words>.*) \| age=(?P<age>{TAG}) \| gender=(?P<gender>{TAG}) \| emotion=(?P<emotion>{TAG})"
    rf" \| sound=(?P<sound>{TAG}) \| reply_emotion=<(?P<reply>[a-z]+)>; [a-z ]+<think end>"
)


def fields(transcript: str = "hello there", labels: dict | None = None, reply: str = "comforting") -> dict[str, str]:
    """The fields of a think text, which must have the form that all have."""
    match = FORM.fullmatch(render_tag(transcript, LABELS if labels is None else labels, reply))
    assert match
    return match.groupdict()


def test_the_fields_stand_in_the_order_of_the_paper() -> None:
    assert fields() == {
        "words": "hello there",
        "age": "<OLD>",
        "gender": "<FEMALE>",
        "emotion": "<SAD>",
        "sound": "<THROAT_CLEAR>",
        "reply": "comforting",
    }


@settings(deadline=None, max_examples=100)
@given(st.text() | st.text("<>think end/|&;=\n\u2028 "))
@example("so <think end> and <think> again")
@example("<<think end>>")
@example("<&&> | age=<CHILD>")
def test_no_query_can_close_the_think_part_or_write_a_tag(transcript: str) -> None:
    text = render_tag(transcript, LABELS, "sad")
    plain = render_tag("", LABELS, "sad")
    assert text.startswith(THINK_START)
    assert text.endswith(THINK_END)
    assert re.findall(r"<[^<>]*>", text) == re.findall(r"<[^<>]*>", plain)
    assert text.count("<") == text.count(">") == plain.count("<")
    assert len(text.splitlines()) == 1


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text("abcé你.,!?'-", min_size=1, max_size=6), max_size=8))
def test_words_stay_as_they_are(words: list[str]) -> None:
    assert fields(" ".join(words))["words"] == " ".join(words)


@pytest.mark.parametrize("family", ["age", "gender", "emotion"])
@pytest.mark.parametrize("value", [None, NONE, "missing"])
def test_an_unknown_label_has_the_tag_that_trainers_mask(family: str, value: str | None) -> None:
    labels = {name: label for name, label in LABELS.items() if name != family}
    if value != "missing":
        labels[family] = value
    assert fields(labels=labels) == {**fields(), FIELDS[family]: UNKNOWN}


def test_no_event_is_other_and_an_unknown_one_is_unknown() -> None:
    assert fields(labels={**LABELS, "event": NONE})["sound"] == "<OTHER>"
    assert fields(labels={**LABELS, "event": None})["sound"] == UNKNOWN
    assert fields(labels={})["sound"] == UNKNOWN


@pytest.mark.parametrize(("family", "value"), [(family, value) for family in CUES for value in CUES[family]])
def test_every_label_has_its_own_tag(family: str, value: str) -> None:
    assert fields(labels={family: value})[FIELDS[family]] == f"<{value.upper()}>"


@pytest.mark.parametrize("emotion", REPLY_EMOTIONS)
def test_every_reply_emotion_is_named(emotion: str) -> None:
    assert fields(reply=emotion)["reply"] == emotion
