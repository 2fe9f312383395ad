"""Lists of words are searched for the quick way, and find what their entries one by one would find."""

from __future__ import annotations

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from manifests.yamlfile import load_yaml
from pipeline.hygiene import persona
from pipeline.hygiene.personal import _EMAIL, _SPELLED_EMAIL, _email


def naive(name: str) -> re.Pattern[str]:
    """A list as one pattern, each entry with its own borders."""
    lists = load_yaml(persona.WORDS)
    names = f"(?:{'|'.join(lists['contextual'])})"

    def bounded(entry: str) -> str:
        start = r"(?<![A-Za-z0-9])" if entry.lstrip("^(?:").isascii() and not entry.startswith("^") else ""
        return f"{start}(?:{entry}){r'(?![A-Za-z0-9])' if entry[-1:].isascii() else ''}"

    return re.compile("|".join(bounded(entry.replace("{name}", names)) for entry in lists[name]), re.IGNORECASE)


PIECES = (
    *"aA1,.!?-'’ \u4e00", "hey", "I am", "i'm", "claude", "Gemini", "豆包", "an AI", "your assistant",
    "ChatGPT", "gpt-4o", "siri", "Mr", "set the", "open", "as an ai", "language models", "I cannot", "assist with",
    "that", "my guidelines", "against", "kill yourself", "kys", "how to make", "a bomb", "gook", "gooks", "just",
    "please", "GLM-4x", "deep seek", "作为AI", "我无法",
)  # fmt: skip


@settings(deadline=None, max_examples=500)
@given(st.lists(st.sampled_from(PIECES), max_size=8), st.sampled_from(["", " "]))
@example(["hi am claude, an AI"], "")
@example(["I", "am", "GEMINI", "your assistant"], " ")
def test_the_words_found_are_those_of_the_list_entry_by_entry(pieces: list[str], between: str) -> None:
    text = between.join(pieces)
    plain = " ".join(text.replace("’", "'").split())
    for name in ("names", "spoken_to", "spoken_as", "machine", "refusals", "unsafe", "slurs"):
        match = naive(name).search(plain)
        assert persona._found(name, text) == (match[0][:40] if match else "")


def test_entries_that_english_is_searched_for_are_in_small_letters() -> None:
    lists = load_yaml(persona.WORDS)
    entries = [re.sub(r"\\.", "", entry) for name in lists for entry in lists[name] if entry.isascii()]
    assert len(entries) > 50 and entries == [entry.lower() for entry in entries]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.sampled_from([*PIECES, "@", "jane", "(at)", "[at]", " at ", "gmail", " dot ", "DOT", "com", "点", "艾特"])
    )
)
@example(["jane at gmail DOT com"])
@example(["write to jane at acme dot com"])
@example(["jane艾特gmail点com"])
def test_an_address_is_found_whatever_marks_it(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert _email(text) == bool(_EMAIL.search(text) or _SPELLED_EMAIL.search(text))
