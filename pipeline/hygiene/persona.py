"""Does a text name another assistant, speak as a machine, refuse, or say what no dialogue should hold?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from manifests.ids import content_hash
from manifests.textconfig import TextConfig
from manifests.yamlfile import load_yaml
from pipeline.hygiene.base import Said

WORDS = Path(str(files("manifests") / "hygiene" / "words.yaml"))
_QUOTES = re.compile(r"[\u2018\u2019]")


def assistants(said: Said, config: TextConfig) -> Iterator[str]:
    """No other assistant by name; a reply does not speak of itself as a machine either."""
    text = _plain(said.text)
    for name in ("names", "spoken_to", "spoken_as"):
        if match := _pattern(name).search(text):
            yield match[0][:40]
            return
    if said.role != "query" and (match := _pattern("machine").search(text)):
        yield match[0][:40]


def refusals(said: Said, config: TextConfig) -> Iterator[str]:
    """No refusal."""
    if match := _pattern("refusals").search(_plain(said.text)):
        yield match[0][:40]


def unsafe(said: Said, config: TextConfig) -> Iterator[str]:
    """No slur, no call to harm oneself, no instructions to harm; the words are not repeated."""
    yield from (name for name in ("unsafe", "slurs") if _pattern(name).search(_plain(said.text)))


def revision() -> str:
    """Changes with any word of the lists, and with the language detector."""
    return content_hash([load_yaml(WORDS), version("lingua-language-detector")])


def _plain(text: str) -> str:
    """One line with straight apostrophes, as the lists are written."""
    return " ".join(_QUOTES.sub("'", text).split())


@lru_cache(maxsize=8)
def _pattern(name: str) -> re.Pattern[str]:
    """All entries of a list as one pattern."""
    words = load_yaml(WORDS)
    entries: Iterable[str] = words[name]
    if name.startswith("spoken_"):
        names = f"(?:{'|'.join(words['contextual'])})"
        entries = (entry.replace("{name}", names) for entry in entries)
    return re.compile("|".join(_bounded(entry) for entry in entries), re.IGNORECASE)


def _bounded(entry: str) -> str:
    """An entry that matches whole words, where words have borders."""
    start = r"(?<![A-Za-z0-9])" if entry.lstrip("^(?:").isascii() else ""
    end = r"(?![A-Za-z0-9])" if entry[-1:].isascii() else ""
    return f"{start}(?:{entry}){end}" if not entry.startswith("^") else f"(?:{entry}){end}"
