"""What counts as the same words: both sides through one normaliser."""

from __future__ import annotations

import pytest
from engines_gate import heavy

from annotators.transcript_score import score

pytestmark = heavy


@pytest.mark.parametrize(
    ("heard", "reference", "language"),
    [
        ("I'm 25, and it's the colour of $3!", "i am twenty-five and it is the color of three dollars", "en"),
        ("Um, Mr. Smith won't go.", "mister Smith will not go", "en"),
        ("今天天氣很好，二十五度。", "今天天气很好，25度", "zh"),
    ],
)  # fmt: skip
def test_spellings_of_the_same_words_are_no_errors(heard: str, reference: str, language: str) -> None:
    scored = score(heard, reference, language)
    assert (scored.wer, scored.cer) == (0.0, 0.0)


def test_errors_are_of_words_in_english_and_of_characters_in_mandarin() -> None:
    assert score("the box is blue", "the box is red", "en").wer == pytest.approx(0.25)
    mandarin = score("今天天气不好", "今天天气很好", "zh")
    assert mandarin.wer == pytest.approx(1 / 6), "every character is a word"


def test_nothing_heard_is_all_wrong() -> None:
    assert score("", "the box is red", "en").wer == 1.0
