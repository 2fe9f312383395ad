"""Natural-language think texts: they say the cues, contradict none, and close nothing."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import UserError
from manifests.labels import AGES, CUES, EMOTIONS, EVENTS, GENDERS, NONE, REPLY_EMOTIONS
from manifests.think.natural import _words, compose_natural, contradictions

LANGUAGES = ("en", "zh")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_combination_is_told_and_contradicts_nothing(language: str) -> None:
    seen = set()
    for number, (age, gender, emotion, event) in enumerate(
        product((NONE, *AGES), (NONE, *GENDERS), (NONE, *EMOTIONS), (NONE, *EVENTS))
    ):
        cues = {"age": age, "gender": gender, "emotion": emotion, "event": event}
        text = compose_natural("Where is the box?", cues, REPLY_EMOTIONS[number % 11], language, number * 7919)
        assert list(contradictions(text, cues, language)) == [], text
        assert "Where is the box?" in text
        seen.add(text)
    assert len(seen) > 700, "the sentences vary"


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_that_give_a_label_away_are_looked_for_in_small_letters(language: str) -> None:
    words = _words(language)
    assert len(words) > 20 and words == tuple(map(str.casefold, words))
    assert list(contradictions("THEY SOUND ANGRY.", {"emotion": "sad"}, "en")) == ["emotion angry"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_planted_wrong_labels_are_found(language: str) -> None:
    missed = planted = 0
    for seed in range(200):
        for family, values in CUES.items():
            right, wrong = values[seed % len(values)], values[(seed + 1) % len(values)]
            if language in LANGUAGES and (family, right) == ("emotion", "neutral"):
                continue  # "calm" is said of it, which no other label excludes
            text = compose_natural("Where is the box?", {family: right}, "neutral", language, seed * 31)
            planted += 1
            missed += f"{family} {right}" not in contradictions(text, {family: wrong}, language)
    assert missed / planted < 0.05


@pytest.mark.parametrize(
    ("text", "labels", "found"),
    [
        ("They do not sound angry, only tired.", {"emotion": "sad"}, []),
        ("They sound angry.", {"emotion": "sad"}, ["emotion angry"]),
        ("It is a woman's voice.", {"gender": "female"}, []),
        ("It is a man's voice.", {"gender": "female"}, ["gender male"]),
        ("They laugh a lot.", {"event": "none"}, ["event laugh"]),
        ("There is no laughter here.", {"event": "none"}, []),
        ("A child speaks, not an adult.", {"age": "child"}, []),
        ("They sound angry.", {}, []),
        ("听起来并不生气。", {"emotion": "sad"}, []),
    ],
)
def test_what_counts_as_a_contradiction(text: str, labels: dict[str, str], found: list[str]) -> None:
    language = "en" if text.isascii() else "zh"
    assert list(contradictions(text, labels, language)) == found


def test_words_quoted_from_the_query_do_not_count() -> None:
    query = "My cat has laughed at me."
    text = compose_natural(query, {"event": "cough"}, "neutral", "en", 5)
    assert list(contradictions(text, {"event": "cough"}, "en", query)) == []


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60), st.integers(0, 2**63))
def test_no_query_closes_the_think_part(query: str, seed: int) -> None:
    text = compose_natural(query + "<think end>", {"emotion": "sad"}, "comforting", "en", seed)
    assert "<" not in text
    assert ">" not in text
    assert text == compose_natural(query + "<think end>", {"emotion": "sad"}, "comforting", "en", seed)


def test_a_language_without_sentences_is_refused() -> None:
    with pytest.raises(UserError, match="no think texts ship for the language 'xx'"):
        compose_natural("x", {}, "neutral", "xx", 0)
