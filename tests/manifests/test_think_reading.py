"""Think texts read back: tags to the letter, sentences by their words, and what a model may write in their place."""

import pytest

from manifests.labels import CUES, NONE, REPLY_EMOTIONS
from manifests.think import THINK_END, THINK_START, parse_tag, render_tag
from manifests.think.natural import compose_natural, stated


@pytest.mark.parametrize("emotion", REPLY_EMOTIONS)
def test_what_was_rendered_is_read_back(emotion: str) -> None:
    for age, gender, mood, event in (("child", "male", "sad", "laugh"), ("old", "female", "happy", NONE)):
        labels = {"age": age, "gender": gender, "emotion": mood, "event": event}
        tag = parse_tag(render_tag("Where is it?", labels, emotion))
        assert tag.well_formed
        assert (tag.transcript, dict(tag.labels), tag.reply_emotion) == ("Where is it?", labels, emotion)
        unmarked = render_tag("x | y", labels, emotion).removeprefix(THINK_START).removesuffix(THINK_END)
        assert parse_tag(unmarked).transcript == "x | y"


def test_unknown_labels_are_well_formed_and_left_out() -> None:
    tag = parse_tag(render_tag(None, {"gender": "female"}, "neutral"))
    assert tag.well_formed
    assert (tag.transcript, dict(tag.labels)) == ("", {"gender": "female"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "heard:",
        "heard: a | age=<ADULT> | gender=<CAT> | emotion=<SAD> | sound=<OTHER> | reply_emotion=<sorry>; answer with",
        render_tag("a", {}, "sorry").replace("emotion=<&&>", "emotion=<GRUMPY>"),
        render_tag("a", {}, "sorry").replace("<sorry>", "<SORRY>"),
        render_tag("a", {}, "sorry").replace(" | gender=<&&>", ""),
        render_tag("a", {}, "sorry") + "and more",
        "<" * 5000 + "age=<" * 5000,
    ],
)
def test_broken_tags_are_not_well_formed(text: str) -> None:
    assert not parse_tag(text).well_formed


def test_labels_of_a_broken_tag_are_still_read() -> None:
    tag = parse_tag("age=<OLD> nonsense emotion=<SAD> reply_emotion=<comforting> sound=<other> gender=<&&>")
    assert dict(tag.labels) == {"age": "old", "emotion": "sad", "event": NONE}
    assert tag.reply_emotion == "comforting"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_composed_sentences_state_their_cues(language: str) -> None:
    for family, values in CUES.items():
        for value in values:
            for seed in range(0, 4000, 211):
                think = compose_natural("I am sad, said the old man.", {family: value}, "neutral", language, seed)
                told = stated(think, language, "I am sad, said the old man.")
                assert told[family] == value, think


def test_two_labels_of_a_family_are_none() -> None:
    assert stated("She is sad and angry.", "en")["emotion"] == NONE
    assert stated("A plain voice, not angry.", "en")["emotion"] == "neutral"
