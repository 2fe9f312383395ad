"""Scores of an open recognizer's transcript: both sides through one stated normaliser.

English: Whisper's English normaliser (Radford et al. 2022, appendix C; the code of transformers with openai-whisper's
table of British and American spellings): lower case, no fillers, contractions spelled out, numbers as digits, no
punctuation.
Mandarin: WeTextProcessing's Chinese normaliser (simplified characters, as Whisper writes either; numbers in words; no
interjections), then `manifests.wer.normalise`, by which every character is a word.
Where either leaves nothing of a side, as of one that is all fillers, both sides go through `manifests.wer.normalise`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
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
PACKAGES = ("openai-whisper", "WeTextProcessing", "transformers")
"""Those whose versions decide the error rates."""
VERSION = 2  # of the code below: raise it when the same texts may be scored otherwise
_MANDARIN = {
    "remove_interjections": True, "remove_erhua": True, "traditional_to_simple": True, "remove_puncts": False,
    "full_to_half": True, "tag_oov": False,
}  # fmt: skip


def score(heard: str, reference: str, language: str, words: tuple[Word, ...] | None = None) -> Transcript:
    """A transcript with its error rates.

    Args:
        heard: As the recognizer wrote it.
        reference: What was to be said.
        language: `en` or `zh`.
        words: Their times.
    """
    reduce = _english() if language == "en" else _mandarin()
    plain = normalise(heard, language), normalise(reference, language)
    reduced = reduce(heard), reduce(reference)
    # Without fillers "Hmm." is empty, and would be all right when nothing was heard.
    left, right = reduced if all(map(_has_words, reduced)) else plain
    wer, cer = error_rates(right, left)
    return Transcript(*plain, wer, cer, words=words)


def _has_words(text: str) -> bool:
    return any(c.isalnum() for c in text)


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
    normalizer = import_module("tn.chinese.normalizer").Normalizer(cache_dir=str(_grammar()), **_MANDARIN)
    return lambda text: normalise(normalizer.normalize(text), "zh")


def _grammar() -> Path:
    """The folder of the Mandarin grammar, built once a user with our flags.

    Not the files in the package: other users of it, as CosyVoice, write theirs over them, with other flags.
    """
    root = os.environ.get("ECHAT_CACHE")
    base = (Path(root) if root else Path.home() / ".cache" / "echat") / "wetext"
    flags = hashlib.sha256(json.dumps(_MANDARIN, sort_keys=True).encode()).hexdigest()[:8]
    folder = base / f"zh-{packages.version('WeTextProcessing')}-{flags}"
    if folder.is_dir():
        return folder
    try:
        base.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix="zh-", dir=base))
    except OSError as error:
        raise UserError(f"{base}: cannot be written ({error.strerror}): set ECHAT_CACHE to a folder that can") from None
    try:
        import_module("tn.chinese.normalizer").Normalizer(cache_dir=str(made), overwrite_cache=True, **_MANDARIN)
        made.rename(folder)  # whole or not at all, whoever else builds it
    except OSError as error:
        if not folder.is_dir():  # else another process was first, with the same
            raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder
