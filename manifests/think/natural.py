"""Natural-language think text: what the words say, how the voice sounds and why that matters, how to answer.

The sentences stand in `<language>.yaml` beside this module and are drawn by a seed. The checker finds think texts, also
those of a language model, that say something else than the labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.labels import NONE
from manifests.yamlfile import load_yaml

_ORDER = ("event", "age", "gender", "emotion")
"""In which the cues are told."""
_NEGATIONS = re.compile(
    r"(?:\b(?:no|not|without|never|nor|isn't|aren't)\b[^.;,]*$)|(?:(?:不|没有|并非|不是)[^。；，]*$)"
)


@lru_cache(maxsize=4)
def _sentences(language: str) -> Mapping[str, Any]:
    path = Path(__file__).with_name(f"{language}.yaml")
    if not path.is_file():
        raise UserError(f"no think texts ship for the language {language!r}: add {path}")
    return load_yaml(path)


def compose_natural(query: str, cues: Mapping[str, str], reply_emotion: str, language: str, seed: int) -> str:
    """A think text in sentences.

    Args:
        query: Words of the query; the marks `<` and `>` are dropped, so that no text can close the think part.
        cues: The cues of the voice by family; those that are `none` do not count.
        reply_emotion: One of the eleven reply emotions.
        language: Two-letter code.
        seed: Draws the sentences; any number from 0 up.
    """
    known = _sentences(language)

    def draw(options: list[str]) -> str:
        nonlocal seed
        seed, digit = divmod(seed, len(options))
        return options[digit]

    words = " ".join(query.replace("<", " ").replace(">", " ").split())
    heard = [draw(known["cues"][family][cues[family]]) for family in _ORDER if cues.get(family, NONE) != NONE]
    voice = [*heard, draw(known["alone"])] if heard else [draw(known["plain"])]
    sentences = [draw(known["meaning"]).replace("{query}", words), *voice, draw(known["answer"][reply_emotion])]
    return ("" if language == "zh" else " ").join(sentences)


def contradictions(think: str, labels: Mapping[str, str], language: str, query: str = "") -> Iterator[str]:
    """What a think text says against the labels, as `family value`.

    A word that gives another label of a family away counts, unless it is negated before in its clause (`not angry`) or
    is quoted from the query. Labels that are missing are not checked; `event: none` allows no event.
    """
    text = think.replace(query, " ") if query else think
    used = _used(text, language)
    for family, values in _sentences(language)["words"].items():
        if family not in labels:
            continue
        own = list(values.get(labels[family], ()))
        for value, words in values.items():
            if value != labels[family] and any(_says(text, word, own) for word in words if word in used):
                yield f"{family} {value}"


def stated(think: str, language: str, query: str = "") -> dict[str, str]:
    """The label of each family that a think text names, as the words that give it away say; quotes do not count.

    Of a family that it does not name, or names two labels of, it is `none`. An even voice has no such words, so an
    emotion that is not named is `neutral`.
    """
    text = think.replace(query, " ") if query else think
    used = _used(text, language)
    found = {}
    for family, values in _sentences(language)["words"].items():
        named = []
        for value, words in values.items():
            others = [word for other, more in values.items() if other != value for word in more]
            longer = {word: [other for other in others if len(other) > len(word)] for word in words if word in used}
            if any(_says(text, word, own) for word, own in longer.items()):
                named.append(value)
        nothing = "neutral" if family == "emotion" and not named else NONE
        found[family] = named[0] if len(named) == 1 else nothing
    return found


@lru_cache(maxsize=4)
def _words(language: str) -> tuple[str, ...]:
    """Every word that gives a label away; all are written in small letters."""
    labels = (words for values in _sentences(language)["words"].values() for words in values.values())
    return tuple(dict.fromkeys(word for words in labels for word in words))


def _used(text: str, language: str) -> set[str]:
    """The words of the lists that a text holds, be it within others; most texts hold one or two."""
    plain = text.casefold()
    return {word for word in _words(language) if word in plain}


def _says(text: str, word: str, own: list[str]) -> bool:
    """Whether a text uses a word, not negated, where it is no part of a word of the right label (`man`, `woman`).

    It is asked of words that the text holds; of most it does not, and to look for a pattern costs fifty times as much.
    """
    start = r"(?<![\w'])" if word.isascii() else ""
    for match in re.finditer(start + re.escape(word), text, re.IGNORECASE):
        inside = any(
            found.start() <= match.start() < found.end()
            for other in own
            for found in re.finditer(re.escape(other), text, re.IGNORECASE)
        )
        if not inside and not _NEGATIONS.search(text[: match.start()]):
            return True
    return False
