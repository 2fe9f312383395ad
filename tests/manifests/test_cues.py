"""Cue tables: what ships, how intensity and bodies combine, and what a user's own table may hold."""

from __future__ import annotations

import csv
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.cues import FACTORS, FOLDER, NAMES, RANGES, Cues, CueTable, read_cues
from manifests.errors import UserError
from manifests.labels import AGES, EMOTIONS, GENDERS

TABLE = read_cues()


def _edited(tmp_path: Path, old: str, new: str, name: str = "emotion.csv") -> Path:
    """A folder with one shipped table, changed."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    return tmp_path


def _with_cell(tmp_path: Path, row: int, column: str, value: str, name: str = "emotion.csv") -> Path:
    """A folder with one shipped table, one cell of it changed."""
    with (FOLDER / name).open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    rows[row][rows[0].index(column)] = value
    with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return tmp_path


def test_the_shipped_tables_have_every_label_and_a_source_per_row() -> None:
    assert set(TABLE.emotions) == set(EMOTIONS)
    assert set(TABLE.bodies) == {(age, gender) for age in AGES for gender in GENDERS}
    for name in ("emotion.csv", "age.csv"):
        with (FOLDER / name).open(newline="", encoding="utf-8") as file:
            assert all(len(row["source"]) > 10 for row in csv.DictReader(file))


def test_every_cue_has_a_range_that_holds_its_default() -> None:
    assert set(RANGES) == set(NAMES)
    for field in fields(Cues):
        low, high = RANGES[field.name]
        assert field.default is None or low <= field.default <= high


@pytest.mark.parametrize("emotion", EMOTIONS)
@pytest.mark.parametrize(("age", "gender"), [("adult", "female"), ("child", "male"), ("old", "female")])
def test_intensity_zero_is_neutral_in_every_body(emotion: str, age: str, gender: str) -> None:
    assert TABLE.cues(emotion, 0.0, age, gender) == TABLE.cues("neutral", 1.0, age, gender)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_intensity_one_is_the_row(emotion: str) -> None:
    strong, row = TABLE.cues(emotion, 1.0, "adult", "male"), TABLE.emotions[emotion]
    for name in NAMES:
        assert getattr(strong, name) == pytest.approx(getattr(row, name))


@given(
    emotion=st.sampled_from(EMOTIONS), name=st.sampled_from([n for n in NAMES if n not in ("f0_hz", "tremor_hz")]),
    body=st.sampled_from([(age, gender) for age in AGES for gender in GENDERS]),
    weak=st.floats(0, 1), strong=st.floats(0, 1),
)  # fmt: skip
def test_every_cue_moves_one_way_as_intensity_grows(
    emotion: str, name: str, body: tuple[str, str], weak: float, strong: float
) -> None:
    weak, strong = sorted((weak, strong))
    start, low, high, end = (getattr(TABLE.cues(emotion, x, *body), name) for x in (0.0, weak, strong, 1.0))
    sign = 1 if end >= start else -1
    assert sign * start <= sign * low + 1e-9
    assert sign * low <= sign * high + 1e-9
    assert sign * high <= sign * end + 1e-9


def test_factors_grow_as_powers_and_the_rest_linearly() -> None:
    half = TABLE.cues("angry", 0.5, "adult", "male")
    neutral, angry = TABLE.emotions["neutral"], TABLE.emotions["angry"]
    assert half.f0 == pytest.approx((neutral.f0 * angry.f0) ** 0.5)
    assert half.gain_db == pytest.approx((neutral.gain_db + angry.gain_db) / 2)
    assert {"f0", "spread", "rate", "alpha", "smile", "pause"} <= FACTORS
    assert FACTORS.isdisjoint({"gain_db", "final_st", "tilt", "f0_hz"})


def test_an_absolute_pitch_is_that_of_the_neutral_voice() -> None:
    assert TABLE.cues("neutral", 1.0, "child", "female").f0_hz == 290
    assert TABLE.cues("neutral", 1.0, "child", "female").f0 == pytest.approx(1.0)
    happy = TABLE.cues("happy", 1.0, "child", "female")
    assert happy.f0 == pytest.approx(TABLE.emotions["happy"].f0 / TABLE.emotions["neutral"].f0)


def test_the_deeper_tremor_wins() -> None:
    assert TABLE.cues("fear", 1.0, "old", "male").tremor_hz == TABLE.emotions["fear"].tremor_hz
    assert TABLE.cues("neutral", 1.0, "old", "male").tremor_hz == TABLE.bodies["old", "male"].tremor_hz


def test_a_factor_of_zero_is_possible() -> None:
    flat = CueTable({"neutral": Cues(spread=0.0), "happy": Cues(spread=2.0)}, {("adult", "male"): Cues()})
    assert flat.cues("happy", 0.0, "adult", "male").spread == 0.0
    assert flat.cues("happy", 1.0, "adult", "male").spread == 2.0


def test_a_users_table_replaces_one_and_leaves_the_other(tmp_path: Path) -> None:
    own = read_cues(_with_cell(tmp_path, 2, "f0", "1.11"))
    assert own.emotions["happy"].f0 == 1.11
    assert own.bodies == TABLE.bodies
    assert own.content_hash() != TABLE.content_hash()


def test_an_edit_is_read_anew_and_a_reworded_source_changes_nothing(tmp_path: Path) -> None:
    before = read_cues(_with_cell(tmp_path, 2, "f0", "1.11")).content_hash()
    (tmp_path / "emotion.csv").unlink()
    assert read_cues(_with_cell(tmp_path, 2, "f0", "1.12")).content_hash() != before
    (tmp_path / "emotion.csv").unlink()
    reworded = _with_cell(tmp_path, 2, "source", "somebody's ears, last summer")
    assert read_cues(reworded).content_hash() == TABLE.content_hash()


def test_columns_may_be_left_out_and_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    rows = "".join(f"{emotion},{1 + place / 10},heard\n" for place, emotion in enumerate(EMOTIONS))
    (tmp_path / "emotion.csv").write_text("\ufeffemotion,f0,source\n" + rows, encoding="utf-8")
    assert read_cues(tmp_path).emotions[EMOTIONS[2]] == Cues(f0=1.2)


@pytest.mark.parametrize(
    ("row", "column", "value", "says"),
    [
        (2, "f0", "9", r"emotion\.csv:3: f0 is '9'; use a number from 0\.5 to 2"),
        (3, "rate", "fast", r"emotion\.csv:4: rate is 'fast'; use a number from"),
        (1, "tilt", "nan", r"emotion\.csv:2: tilt is 'nan'"),
        (2, "emotion", "joyful", r"emotion\.csv:3: emotion is 'joyful'; use one of neutral, happy"),
        (2, "emotion", "sad", r"emotion\.csv:4: sad stands twice"),
        (2, "source", " ", r"emotion\.csv:3: source is empty"),
        (1, "tremor_st", "1", "tremor_st of neutral must be 0"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path: Path, row: int, column: str, value: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_cues(_with_cell(tmp_path, row, column, value))


@pytest.mark.parametrize(
    ("old", "new", "name", "says"),
    [
        ("emotion,f0,", "emotion,pitch,", "emotion.csv", r"csv:1: the column 'pitch' is no cue; use emotion, f0"),
        ("emotion,f0,", "emotion,f0_hz,", "emotion.csv", "the column 'f0_hz' is no cue"),
        ("emotion,f0,", "emotion,rate,", "emotion.csv", "'rate' stands twice"),
        ("age,gender,", "age,sex,", "age.csv", r"age\.csv: the cue table lacks the column\(s\) gender"),
        ("\nsad,", "\nsad,1,2,3,", "emotion.csv", "more values than the header"),
        ("old,female", "old,woman", "age.csv", "gender is 'woman'; use one of female, male"),
    ],
)  # fmt: skip
def test_a_wrong_header_or_row_is_named(tmp_path: Path, old: str, new: str, name: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_cues(_edited(tmp_path, old, new, name))


def test_missing_rows_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no cue table: put an"):
        read_cues(tmp_path)
    lines = (FOLDER / "age.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "age.csv").write_text("".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(UserError, match="no row for old male"):
        read_cues(tmp_path)
    (tmp_path / "age.csv").write_bytes(b"age,\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        read_cues(tmp_path)
