"""Recipes of voices: one text for one recipe, and what is wrong with any other."""

from __future__ import annotations

import pytest

from manifests.recipe import Recipe, parse_recipe


def test_a_recipe_is_read_back_from_its_text() -> None:
    recipe = Recipe((("anna", 0.6), ("bert", 0.4)), (("alpha", 1.05), ("f0_hz", 190.0)))
    assert recipe.text == "anna:0.6+bert:0.4 alpha=1.05 f0_hz=190"
    assert parse_recipe(recipe.text) == recipe
    assert recipe.packs == ("anna", "bert")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("anna", "anna:1"),
        ("anna", "anna:0.5"),
        ("anna+bert", "anna:0.5+bert:0.5"),
        ("anna:3+bert:1", "anna:0.75+bert:0.25"),
        ("anna alpha=1.10 f0_hz=200", "anna f0_hz=200.0 alpha=1.1"),
    ],
)
def test_equal_recipes_have_one_text(one: str, other: str) -> None:
    assert parse_recipe(one).text == parse_recipe(other).text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no blend"),
        ("anna+", "is no blend"),
        ("anna-child", "is no blend"),
        ("anna:x+bert", "weight 'x' of anna"),
        ("anna:0+bert", "weight '0'"),
        ("anna:-1+bert", "weight '-1'"),
        ("anna:nan", "weight 'nan'"),
        ("anna+anna", "'anna' stands twice"),
        ("anna alpha", "is no setting"),
        ("anna alpha=1 alpha=1", "twice"),
        ("anna size=2", "'size' is no cue"),
        ("anna alpha=9", "use a number from 0.75 to 1.35"),
        ("anna alpha=nan", "use a number"),
        ("anna  alpha=1", "is no setting"),
    ],
)
def test_what_is_no_recipe_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_recipe(text)
