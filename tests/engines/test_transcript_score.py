"""What counts as the same words: both sides through one normaliser."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from engines_gate import heavy

from annotators import transcript_score
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


@pytest.mark.parametrize(("filler", "language"), [("Hmm.", "en"), ("嗯。", "zh")])
def test_a_text_of_fillers_alone_is_not_taken_for_none(filler: str, language: str) -> None:
    assert score("", filler, language).wer == 1.0
    assert score(filler, "", language).wer == 1.0
    assert score(filler, filler, language).wer == 0.0


def test_mandarin_has_a_grammar_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CosyVoice writes the grammar in the package anew, with flags by which full-width forms stay."""
    import tn

    package = Path(tn.__file__ or next(iter(tn.__path__)))
    package = package if package.is_dir() else package.parent

    def state() -> dict[str, str]:
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in package.glob("*.fst")}

    before = state()
    monkeypatch.setenv("ECHAT_CACHE", str(tmp_path))
    first = transcript_score._grammar()
    assert sorted(file.name for file in first.iterdir()) == ["zh_tn_tagger.fst", "zh_tn_verbalizer.fst"]
    assert list(first.parent.iterdir()) == [first], "nothing half made is left"
    assert transcript_score._grammar() == first
    assert state() == before
