"""Is a text in the language that was planned? By script first, then by the detector `lingua` among Latin letters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from manifests.textconfig import TextConfig
from pipeline.hygiene.base import Said

_SCRIPTS = {
    "latin": r"[A-Za-z\u00aa\u00ba\u00c0-\u024f\u1e00-\u1eff]",
    "han": r"[\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]",
    "kana": r"[\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f]",
    "hangul": r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]",
    "cyrillic": r"[\u0400-\u052f]",
    "greek": r"[\u0370-\u03ff\u1f00-\u1fff]",
}
# A Latin word counts as much as one Chinese character, for it means about as much.
_UNITS = re.compile(
    "|".join(f"(?P<{name}>{chars}{'' if name in ('han', 'kana') else '+'})" for name, chars in _SCRIPTS.items())
    + r"|(?P<other>[^\W\d_])"
)
_MIXED = re.compile(r"[A-Za-z][\u0370-\u03ff\u0400-\u052f]|[\u0370-\u03ff\u0400-\u052f][A-Za-z]")
_LAUGHTER = re.compile(r"\ba?(?:ha|he|hi|ho|hah|heh){2,}h?a*\b", re.IGNORECASE)  # of no language
_OWN = {"zh": ("han",)}
"""Languages that their script tells; all others that are checked are written in Latin letters."""
_RIVALS = ("en", "de", "fr", "es", "it", "pt", "nl")
SHARE_MIN = 0.7
"""Of the words and characters; the rest may be names and loan words."""


def language(said: Said, config: TextConfig) -> Iterator[str]:
    """Most of its words in the script of its language; and where Latin letters do not tell, not surely another one."""
    if said.language not in _OWN and said.language not in _RIVALS:
        return  # no rule for it
    own = _OWN.get(said.language, ("latin",))
    share = 1.0 if "latin" in own and said.text.isascii() else _share(said.text, own)
    if share < SHARE_MIN:
        yield f"{share:.2f} < {SHARE_MIN:g} of the words in its script"
    elif _MIXED.search(said.text):
        yield "letters of two scripts in one word"
    elif "latin" in own:
        text = _LAUGHTER.sub(" ", said.text)
        if sum(map(str.isalpha, text)) < config.language_letters:
            return
        sure = confidence(text, said.language)
        if sure < config.language_min:
            yield f"{sure:.4f} < {config.language_min:g}"


def _share(text: str, own: tuple[str, ...]) -> float:
    """How many of the words and characters are in some scripts, from 0 to 1; 1 of none."""
    counts = Counter(match.lastgroup or "other" for match in _UNITS.finditer(text))
    total = sum(counts.values())
    return sum(counts[name] for name in own) / total if total else 1.0


def confidence(text: str, language: str) -> float:
    """How sure the detector is that a text is in one of `_RIVALS`, from 0 to 1."""
    detector, languages = _detector()
    # The detector sums in an order of its own, so that the last digits differ from run to run.
    return round(detector.compute_language_confidence(text, languages[language]), 4)


@lru_cache(maxsize=1)
def _detector() -> tuple[Any, dict[str, Any]]:
    from lingua import IsoCode639_1, Language, LanguageDetectorBuilder

    languages = {code: Language.from_iso_code_639_1(IsoCode639_1.from_str(code.upper())) for code in _RIVALS}
    return LanguageDetectorBuilder.from_languages(*languages.values()).build(), languages
