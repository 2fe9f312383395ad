"""Voices of the Kokoro speaker: a style pack or a blend of several, and cues of the voice's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from manifests.cues import CueTable
from manifests.ids import content_hash
from manifests.labels import NONE
from manifests.recipe import Recipe, parse_recipe
from manifests.voices import VoiceTable
from synthesis.base import Utterance

PACKS = Path(__file__).parent / "data" / "kokoro" / "voices_fp16.npz"
TABLE = "kokoro"
"""Name of the shipped voice table."""

_MOST_BLENDS = 256  # kept, of 256 KiB each


@dataclass(frozen=True)
class KokoroVoice:
    """What an utterance is spoken with.

    Attributes:
        blend: Name of the style for `Styles`.
        gender: Of the voice.
        cues: The cue table, with the cues of this voice in the row of its age and gender.
    """

    blend: str
    gender: str
    cues: CueTable


class Styles:
    """Style packs by name, and blends of them by the text of their recipe: float32 (256, 256) each.

    Row n - 1 is for texts of n tokens. A blend is the weighted mean of its packs: between two voices lie others,
    as the packs differ in little but the speaker.
    """

    def __init__(self) -> None:
        with np.load(PACKS, allow_pickle=False) as packs:
            self._packs = {name: packs[name].astype(np.float32) for name in packs.files}
        self._blends: dict[str, np.ndarray] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._packs

    def __getitem__(self, blend: str) -> np.ndarray:
        if blend in self._packs:
            return self._packs[blend]
        if blend not in self._blends:
            if len(self._blends) >= _MOST_BLENDS:
                self._blends.clear()
            parts = parse_recipe(blend).blend
            mix = sum((np.float32(weight) * self._packs[pack] for pack, weight in parts), np.float32(0))
            self._blends[blend] = np.asarray(mix, np.float32)
        return self._blends[blend]


@lru_cache(maxsize=1)
def pack_names() -> frozenset[str]:
    """Names of the packs that ship."""
    with np.load(PACKS, allow_pickle=False) as packs:
        return frozenset(packs.files)


@lru_cache(maxsize=1)
def shipped() -> dict[str, str]:
    """Recipes of the shipped voices by name, for utterances that bring none of their own."""
    return {voice.voice: voice.recipe for voice in VoiceTable.load(TABLE).voices}


def shipped_hash() -> str:
    """Changes when a shipped voice is made in another way."""
    return content_hash(sorted(shipped().items()), 12)


def find(voice: str, recipe: str = "") -> tuple[Recipe, str]:
    """How a voice is made, and the gender of its packs.

    Args:
        voice: Its name: of a shipped voice, or of a pack, unless `recipe` is given.
        recipe: The recipe's text.

    Raises:
        ValueError: There is no such voice or pack, or the recipe is wrong.
    """
    text = recipe or shipped().get(voice) or (voice if voice in pack_names() else "")
    if not text:
        raise ValueError(f"kokoro has no voice {voice!r}")
    made = parse_recipe(text)
    unknown = [pack for pack in made.packs if pack not in pack_names()]
    if unknown:
        raise ValueError(f"kokoro has no stock voice {unknown[0]!r}, so no voice {voice!r}")
    genders = {"female" if pack[1] == "f" else "male" for pack in made.packs}
    if len(genders) > 1:
        raise ValueError(f"the voice {voice!r} blends women with men: neither gender would be heard")
    return made, genders.pop()


def resolve(utterance: Utterance, table: CueTable) -> KokoroVoice:
    """What to speak an utterance with.

    Args:
        utterance: Its voice, recipe, age and gender count.
        table: The cue tables.

    Raises:
        ValueError: There is no such voice, or it cannot have this age and gender.
    """
    made, own = find(utterance.voice, utterance.recipe)
    gender = own if utterance.gender == NONE else utterance.gender
    key = (utterance.age, gender)
    if key not in table.bodies:
        raise ValueError(f"kokoro has no {utterance.age} {gender} voice")
    # Children of either gender come from women's packs: scaled men sound like neither.
    base = "female" if utterance.age == "child" else gender
    if base != own:
        raise ValueError(f"the voice {utterance.voice} cannot speak as {utterance.age} {gender}")
    settings = dict(made.settings)
    if settings:
        if "f0_hz" in settings:
            settings.setdefault("f0", 1.0)  # the age's factor is relative to the pack, which no longer counts
        table = replace(table, bodies={**table.bodies, key: replace(table.bodies[key], **settings)})
    return KokoroVoice(replace(made, settings=()).text, gender, table)
