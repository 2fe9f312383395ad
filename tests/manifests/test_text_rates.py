"""What counts as the same words, and how far two texts are apart."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from manifests.wer import error_rates, normalise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", "hello world"),
        ("It’s Anna's—well-known 'quote'.", "it's anna's well known quote"),
        ("  a\n\tb  ", "a b"),
        ("“Five” o'clock… at 3.50?", "five o'clock at three point five zero"),
        ("half past, and/or", "half past and or"),
        ("Café Ünal", "café ünal"),
        ("...!?", ""),
        ("", ""),
    ],
)
def test_normalise(text: str, expected: str):
    assert normalise(text, "en") == expected


def test_chinese_characters_are_words():
    assert normalise("你好，世界 OK！", "zh") == "你 好 世 界 ok"


@settings(max_examples=50)
@example("¼", "zh")
@given(st.text(), st.sampled_from(["en", "zh"]))
def test_normalise_is_idempotent(text: str, language: str):
    once = normalise(text, language)
    assert normalise(once, language) == once


@pytest.mark.parametrize(
    ("reference", "hypothesis", "wer", "cer"),
    [
        ("a b c d", "a b c d", 0, 0),
        ("one two", "one too", 0.5, 1 / 7),
        ("one", "one two three", 2, 10 / 3),
        ("one two", "", 1, 1),
        ("", "one", 1, 1),
        ("", "", 0, 0),
    ],
)
def test_error_rates(reference: str, hypothesis: str, wer: float, cer: float):
    assert error_rates(reference, hypothesis) == pytest.approx((wer, cer))
