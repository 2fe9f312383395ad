"""Ids, hashes and seeds: decided by content alone, the same on every machine."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.ids import ID_FIELDS, bucket, canonical_json, content_hash, dialogue_id, seed_of

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)))
)
NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=4)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
IDS = st.text("0123456789abcdef", min_size=20, max_size=20)
ROW: dict[str, Any] = {
    **dict.fromkeys(ID_FIELDS, "x"),
    "cues": ["age", "emotion"],
    "intensity": 0.8,
    "seed": 7,
    "pair": "",
    "topic": "travel",
}


def reversed_keys(value: Any) -> Any:
    """The same value with every mapping filled in the opposite order."""
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


@settings(deadline=None, max_examples=80)
@given(JSON)
def test_the_order_of_keys_does_not_matter(value: Any) -> None:
    assert content_hash(value) == content_hash(reversed_keys(value))


@settings(deadline=None, max_examples=80)
@given(JSON, JSON)
def test_a_hash_tells_contents_apart(one: Any, two: Any) -> None:
    assert (content_hash(one) == content_hash(two)) == (canonical_json(one) == canonical_json(two))


def test_types_are_told_apart() -> None:
    values = [1, "1", 1.0, True, [1], {"1": 1}, None, "null", ""]
    assert len({content_hash(value) for value in values}) == len(values)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_has_no_canonical_form_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        content_hash({"deep": [number]})


def test_hashes_and_seeds_are_those_of_the_published_format() -> None:
    """A change here gives every dialogue that was ever made another id."""
    assert canonical_json({"b": [1, 0.5], "a": "é"}) == '{"a":"é","b":[1,0.5]}'.encode()
    assert content_hash({"b": [1, 0.5], "a": "é"}) == "3decbe1791b38cbd"
    assert dialogue_id([ROW]) == "48a7499ab44b43db8487"
    assert seed_of("0123", 0, "speak_query") == 5889056741539735258


@pytest.mark.parametrize("length", [1, 16, 20, 64])
def test_a_hash_is_as_long_as_asked(length: int) -> None:
    assert len(content_hash("x", length)) == length
    assert content_hash("x", 64).startswith(content_hash("x", length))


@pytest.mark.parametrize("name", ID_FIELDS)
def test_every_id_field_decides_the_id(name: str) -> None:
    assert dialogue_id([{**ROW, name: "another"}]) != dialogue_id([ROW])


def test_other_columns_do_not_decide_the_id() -> None:
    assert dialogue_id([{**ROW, "pair": "p", "topic": "work"}]) == dialogue_id([ROW])


def test_turns_count_in_their_order() -> None:
    other = {**ROW, "seed": 8}
    ids = {dialogue_id(turns) for turns in ([ROW], [ROW, other], [other, ROW], [ROW, ROW])}
    assert len(ids) == 4
    assert all(len(name) == 20 and set(name) <= set("0123456789abcdef") for name in ids)


@settings(deadline=None, max_examples=80)
@given(IDS, st.integers(0, 20))
def test_doubling_the_parts_splits_each_in_two(dialogue: str, power: int) -> None:
    parts = 2**power
    assert 0 <= bucket(dialogue, parts) < parts
    assert bucket(dialogue, 2 * parts) % parts == bucket(dialogue, parts)


def test_parts_are_of_about_one_size() -> None:
    sizes = Counter(bucket(content_hash(number, 20), 16) for number in range(8000))
    assert set(sizes) == set(range(16))
    assert max(sizes.values()) < 1.2 * min(sizes.values())


@settings(deadline=None, max_examples=80)
@given(IDS, st.integers(0, 9))
def test_seeds_have_63_bits_and_differ_by_stage_and_turn(dialogue: str, turn: int) -> None:
    seeds = [seed_of(dialogue, turn + more, stage) for more in (0, 1) for stage in ("speak_query", "speak_reply")]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_use_all_their_bits() -> None:
    seeds = [seed_of(number) for number in range(200)]
    assert all(any(seed >> bit & 1 for seed in seeds) for bit in range(63))


def test_parts_of_a_seed_do_not_run_together() -> None:
    assert seed_of("ab", "c") != seed_of("a", "bc")
    assert seed_of("a", "") != seed_of("a")
