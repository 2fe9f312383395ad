"""Labels: one spelling inside, many accepted, the rest refused with what is allowed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import UserError
from manifests.labels import CUES, FAMILIES, NONE, canonical, display

VALUES = [(family, value) for family, values in FAMILIES.items() for value in values]


def offered(family: str) -> list[str]:
    """The spellings that a refusal offers."""
    with pytest.raises(UserError) as refusal:
        canonical(family, "no such label")
    return str(refusal.value).split("use one of ")[1].split(", ")


@pytest.mark.parametrize(("family", "value"), VALUES)
def test_a_canonical_value_is_its_own_name(family: str, value: str) -> None:
    assert canonical(family, value) == value


@pytest.mark.parametrize(
    ("family", "spelling", "value"),
    [
        ("age", "YOUTH", "adult"),
        ("age", "Middle-Aged", "adult"),
        ("age", "<ELDERLY>", "old"),
        ("age", "儿童", "child"),
        ("gender", "F", "female"),
        ("gender", "男", "male"),
        ("emotion", "<ANGER>", "angry"),
        ("emotion", "惊讶", "surprise"),
        ("emotion", " calm ", "neutral"),
        ("event", "Throat Clearing", "throat_clear"),
        ("event", "crying_sobbing", "cry"),
        ("event", "清嗓子", "throat_clear"),
        ("reply_emotion", "安慰鼓励", "comforting"),
        ("reply_emotion", "惊讶", "surprised"),
        ("split", "dev", "validation"),
    ],
)
def test_other_corpora_are_understood(family: str, spelling: str, value: str) -> None:
    assert canonical(family, spelling) == value


@pytest.mark.parametrize("spelling", ["", "none", "NULL", "<>", " < none > "])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_absent_label_is_none(family: str, spelling: str) -> None:
    assert canonical(family, spelling) == NONE


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(VALUES),
    st.sampled_from(["{}", "<{}>", " {}\n", "< {} >"]),
    st.sampled_from([str.upper, str.title, str]),
    st.sampled_from("_- "),
)
def test_case_brackets_blanks_and_hyphens_do_not_matter(pair, frame, case, joint) -> None:
    family, value = pair
    assert canonical(family, frame.format(case(value.replace("_", joint)))) == value


@pytest.mark.parametrize("family", FAMILIES)
def test_a_refusal_lists_every_value_and_only_spellings_that_are_accepted(family: str) -> None:
    spellings = offered(family)
    assert set(FAMILIES[family]) <= set(spellings)
    assert {canonical(family, spelling) for spelling in spellings} == set(FAMILIES[family])


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(list(FAMILIES)), st.text(max_size=12))
def test_whatever_is_not_a_label_is_refused_by_name(family: str, text: str) -> None:
    if text.strip().strip("<>").strip().lower() in ("", NONE, "null", *offered(family)):
        return
    with pytest.raises(UserError) as refusal:
        canonical(family, text)
    assert repr(text) in str(refusal.value)
    assert f" {family}:" in str(refusal.value)


def test_a_label_of_another_family_is_refused() -> None:
    with pytest.raises(UserError, match="emotion"):
        canonical("emotion", "laugh")


@pytest.mark.parametrize("family", FAMILIES)
def test_chinese_names_are_unique_in_a_family_and_read_back(family: str) -> None:
    names = [display(family, value, "zh") for value in FAMILIES[family]]
    assert len(set(names)) == len(names)
    assert not any(name.isascii() for name in names)
    assert [canonical(family, name) for name in names] == list(FAMILIES[family])


@pytest.mark.parametrize(("family", "value"), VALUES)
def test_an_english_name_reads_back(family: str, value: str) -> None:
    assert "_" not in display(family, value)
    assert canonical(family, display(family, value)) == value


def test_none_is_no_value_of_a_cue() -> None:
    assert all(NONE not in values for values in CUES.values())
