"""How a voice is made of a speaker's stock voices: a blend of them, and cues set in place of its age's.

As text, a recipe is a blend and settings separated by blanks: `af_bella:0.6+af_sky:0.4 f0_hz=190 alpha=1.05`.
Voice tables spell it in columns (`manifests.voices`); plan rows carry the text, so that a changed recipe makes
the rows of that voice anew and no others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from manifests.cues import NAMES, RANGES

_PACK = re.compile(r"\w+")


@dataclass(frozen=True)
class Recipe:
    """A voice in terms of stock voices and cues.

    Attributes:
        blend: Stock voices with weights above 0 that sum to 1, in the order given.
        settings: Cues (`manifests.cues.Cues`) by name, in the order of their names: each replaces the one that the
            voice's age asks for. Emotions come on top.
    """

    blend: tuple[tuple[str, float], ...]
    settings: tuple[tuple[str, float], ...] = ()

    @property
    def packs(self) -> tuple[str, ...]:
        """The stock voices that it is made of."""
        return tuple(pack for pack, _ in self.blend)

    @property
    def text(self) -> str:
        """The same for equal recipes; `parse_recipe` reads it."""
        blend = "+".join(pack if len(self.blend) == 1 else f"{pack}:{weight:g}" for pack, weight in self.blend)
        return " ".join([blend, *(f"{name}={value:g}" for name, value in self.settings)])


def parse_recipe(text: str) -> Recipe:
    """Read a recipe.

    Raises:
        ValueError: The text is no recipe; the message says why.
    """
    blend, *settings = text.split(" ")
    pairs: dict[str, float] = {}
    for part in settings:
        name, equals, value = part.partition("=")
        if not equals or name in pairs:
            raise ValueError(f"{part!r} is no setting such as alpha=1.05, or stands twice")
        pairs[name] = parse_setting(name, value)
    return Recipe(parse_blend(blend), tuple(sorted(pairs.items())))


def parse_blend(text: str) -> tuple[tuple[str, float], ...]:
    """Read `af_bella` or `af_bella:0.6+af_sky:0.4`; weights are scaled to sum to 1.

    Raises:
        ValueError: It is neither; the message says why.
    """
    parts: dict[str, float] = {}
    for part in text.split("+"):
        pack, colon, weight = part.strip().partition(":")
        if not _PACK.fullmatch(pack):
            raise ValueError(f"{text!r} is no blend such as af_bella or af_bella:0.6+af_sky:0.4")
        if pack in parts:
            raise ValueError(f"{pack!r} stands twice in the blend; add up its weights")
        parts[pack] = _number(weight) if colon else 1.0
        if not 0 < parts[pack] <= 100:
            raise ValueError(f"the weight {weight!r} of {pack} is not a number above 0")
    total = sum(parts.values())
    return tuple((pack, round(weight / total, 4)) for pack, weight in parts.items())


def parse_setting(name: str, text: str) -> float:
    """Read the value of a setting.

    Raises:
        ValueError: There is no such cue, or the value is outside of its range.
    """
    if name not in NAMES:
        raise ValueError(f"{name!r} is no cue; use {', '.join(NAMES)}")
    low, high = RANGES[name]
    value = _number(text)
    if not low <= value <= high:
        raise ValueError(f"{name} is {text!r}; use a number from {low:g} to {high:g}")
    return value


def _number(text: str) -> float:
    """The number that a text spells, or one that lies in no range."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
