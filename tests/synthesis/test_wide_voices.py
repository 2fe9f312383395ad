"""The table of voices whose pitch and vocal tract are drawn apart."""

from __future__ import annotations

from collections import defaultdict
from importlib.resources import files
from pathlib import Path

from manifests.recipe import parse_recipe
from manifests.voices import VoiceTable
from synthesis import kokoro_voices
from synthesis.wide_voices import F0_HZ, write


def test_the_shipped_table_is_what_the_program_writes(tmp_path: Path) -> None:
    write(tmp_path / "made.csv")
    shipped = Path(str(files("manifests") / "voices" / "kokoro_wide.csv"))
    assert (tmp_path / "made.csv").read_text() == shipped.read_text()


def test_either_gender_is_low_and_high_and_the_packs_are_its_own() -> None:
    pitches = defaultdict(list)
    for voice in VoiceTable.load("kokoro_wide").voices:
        if voice.role == "query":
            recipe = parse_recipe(voice.recipe)
            pitches[voice.gender].append(dict(recipe.settings)["f0_hz"])
            assert kokoro_voices.find(voice.voice, voice.recipe)[1] == voice.gender
    low, high = F0_HZ["female"][0], F0_HZ["male"][1]
    for gender, found in pitches.items():
        assert F0_HZ[gender][0] <= min(found) < low * 1.2
        assert high / 1.2 < max(found) <= F0_HZ[gender][1]
    shared = [f0_hz for found in pitches.values() for f0_hz in found if low <= f0_hz <= high]
    assert len(shared) > sum(map(len, pitches.values())) / 3  # heard of women and of men


def test_both_splits_have_both_genders() -> None:
    table = VoiceTable.load("kokoro_wide")
    for split in ("train", "validation"):
        for gender in F0_HZ:
            assert table.queries(split, "en", "adult", gender)
