"""Does a text name another assistant, speak as a machine, refuse, or say what no dialogue should hold?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from itertools import groupby
from pathlib import Path

from manifests.ids import content_hash
from manifests.textconfig import TextConfig
from manifests.yamlfile import load_yaml
from pipeline.hygiene.base import Said

WORDS = Path(str(files("manifests") / "hygiene" / "words.yaml"))
_QUOTES = re.compile(r"[\u2018\u2019]")


def assistants(said: Said, config: TextConfig) -> Iterator[str]:
    """No other assistant by name; a reply does not speak of itself as a machine either."""
    for name in ("names", "spoken_to", "spoken_as", *(() if said.role == "query" else ("machine",))):
        if words := _found(name, said.text):
            yield words
            return


def refusals(said: Said, config: TextConfig) -> Iterator[str]:
    """No refusal."""
    if words := _found("refusals", said.text):
        yield words


def unsafe(said: Said, config: TextConfig) -> Iterator[str]:
    """No slur, no call to harm oneself, no instructions to harm; the words are not repeated."""
    yield from (name for name in ("unsafe", "slurs") if _found(name, said.text))


def revision() -> str:
    """Changes with any word of the lists, and with the language detector."""
    return content_hash([load_yaml(WORDS), version("lingua-language-detector")])


def _found(name: str, text: str) -> str:
    """The first words of a list in a text, 40 characters at most; "" without any."""
    plain = _plain(text)
    if plain.isascii():  # nearly all English; what needs no folding of case is found in a sixth of the time
        match = _pattern(name, ascii_only=True).search(plain.lower())
    else:
        match = _pattern(name).search(plain)
    return plain[match.start() : match.end()][:40] if match else ""


@lru_cache(maxsize=4)  # a text is looked through for list after list
def _plain(text: str) -> str:
    """One line with straight apostrophes, as the lists are written."""
    return " ".join(_QUOTES.sub("'", text).split())


@lru_cache(maxsize=16)
def _pattern(name: str, ascii_only: bool = False) -> re.Pattern[str]:
    """All entries of a list as one pattern; `ascii_only`: those for an ASCII text in lower case."""
    words = load_yaml(WORDS)
    contextual: list[str] = words["contextual"]
    entries: list[str] = words[name]
    if ascii_only:
        entries, contextual = (list(filter(str.isascii, own)) for own in (entries, contextual))
    names = f"(?:{'|'.join(contextual)})"
    # What entries have in common at their start is asked once at every place, not once for every entry.
    runs = (f"{start}(?:{'|'.join(map(_ended, run))})" for start, run in groupby(entries, _start))
    return re.compile("|".join(runs).replace("{name}", names), re.NOFLAG if ascii_only else re.IGNORECASE)


def _start(entry: str) -> str:
    """What stands before an entry, so that it matches whole words where words have borders; a name may have none."""
    bordered = entry.lstrip("(?:").isascii() and not entry.startswith("^") and "{name}" not in entry
    return r"(?<![A-Za-z0-9])" if bordered else ""


def _ended(entry: str) -> str:
    """An entry, and what stands after it for the same."""
    return f"(?:{entry}){'(?![A-Za-z0-9])' if entry[-1:].isascii() else ''}"
