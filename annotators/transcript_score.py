"""Scores of an open recognizer's transcript: both sides through one stated normaliser.

English: Whisper's English normaliser (Radford et al. 2022, appendix C; the code of transformers with openai-whisper's
table of British and American spellings): lower case, no fillers, contractions spelled out, numbers as digits, no
punctuation.
Mandarin: WeTextProcessing's Chinese normaliser (simplified characters, as Whisper writes either; numbers in words; no
interjections), then `manifests.wer.normalise`, by which every character is a word.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from annotators import packages
from annotators.base import Transcript, Word
from manifests.errors import UserError
from manifests.wer import error_rates, normalise

MODULES = ("whisper", "tn")
"""Of openai-whisper and of WeTextProcessing."""
VERSION = 1  # of the code below: raise it when the same texts may be scored otherwise


def score(heard: str, reference: str, language: str, words: tuple[Word, ...] | None = None) -> Transcript:
    """A transcript with its error rates.

    Args:
        heard: As the recognizer wrote it.
        reference: What was to be said.
        language: `en` or `zh`.
        words: Their times.
    """
    reduce = _english() if language == "en" else _mandarin()
    wer, cer = error_rates(reduce(reference), reduce(heard))
    return Transcript(normalise(heard, language), normalise(reference, language), wer, cer, words=words)


@lru_cache(maxsize=1)
def _english() -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    spec = importlib.util.find_spec("whisper")  # not imported: it would bring all of openai-whisper
    if spec is None or not spec.origin:
        raise UserError(
            f"the package openai-whisper, which has the table of spellings, is not installed: {packages.FIX}"
        )
    table = Path(spec.origin).parent / "normalizers" / "english.json"
    return EnglishTextNormalizer(json.loads(table.read_text(encoding="utf-8")))


@lru_cache(maxsize=1)
def _mandarin() -> Callable[[str], str]:
    normalizer = import_module("tn.chinese.normalizer").Normalizer()
    return lambda text: normalise(normalizer.normalize(text), "zh")
