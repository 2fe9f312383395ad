"""Text normalisation and error rates: what counts as the same words."""

from __future__ import annotations

import re
import unicodedata

from manifests.spoken import spoken

_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\uff07": "'"})
_PASSES = 4
_OUTER_APOSTROPHE = re.compile(r"(?<!\w)'+|'+(?!\w)")
_HAN = re.compile(r"([\u3400-\u9fff\uf900-\ufaff])")


def normalise(text: str, language: str) -> str:
    """Reduce a text to the words that a recogniser could be held to.

    Lower case; apostrophes inside words stay, hyphens and all other punctuation turn into blanks; one blank
    between words. In Chinese every Han character is a word, so that the word error rate is the
    usual character error rate. Numbers, currency and abbreviations are first spelled out as they are for the voice
    (`manifests.spoken`), so that `25` and `twenty-five` are the same words on either side.

    Args:
        text: Any text; full-width forms are folded (Unicode NFKC).
        language: Two-letter code; numbers are spelled out in `en` and `zh`.

    Returns:
        Words separated by single blanks; empty when the text has none.
    """
    for _ in range(_PASSES):  # folding may lay open a number, as that of a fraction in one character
        before, text = text, _words(text, language)
        if text == before:
            break
    return text


def _words(text: str, language: str) -> str:
    text = unicodedata.normalize("NFKC", spoken(text, language)).translate(_APOSTROPHES).lower()
    text = "".join(c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in text)
    text = _OUTER_APOSTROPHE.sub(" ", text)
    if language == "zh":
        text = _HAN.sub(r" \1 ", text)
    return " ".join(text.split())


def error_rates(reference: str, hypothesis: str) -> tuple[float, float]:
    """Word and character error rate of two normalised texts.

    Args:
        reference: What was to be said, after `normalise`.
        hypothesis: What was heard, after `normalise`.

    Returns:
        `(wer, cer)`, each at least 0 and above 1 when much was inserted. Nothing heard is (1, 1);
        something heard where nothing was to be said is (1, 1) too; two empty texts are (0, 0).
    """
    if not reference or not hypothesis:
        missed = float(reference != hypothesis)
        return missed, missed
    import jiwer  # brings rapidfuzz: not for those who only plan

    return float(jiwer.wer(reference, hypothesis)), float(jiwer.cer(reference, hypothesis))
