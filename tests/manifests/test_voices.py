"""Voice tables: checked row by row; the shipped ones keep their splits apart."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import pytest

from manifests.errors import UserError
from manifests.labels import AGES, GENDERS, LANGUAGES, SPLITS
from manifests.recipe import parse_recipe
from manifests.voices import Voice, VoiceTable

HEADER = "voice,role,split,language,gender,age,speaker,licence"
ROWS = (
    "anna,query,train,en,female,adult,s1,CC0",
    "bert,query,test,en,male,old,s2,CC0",
    "cleo,reply,,en,female,adult,s3,CC0",
)


def table(folder: Path, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
    """A voice table."""
    path = folder / "voices.csv"
    path.write_text("\n".join((header, *rows)) + "\n", encoding=encoding)
    return path


def load(path: Path) -> VoiceTable:
    """A table by its path."""
    return VoiceTable.load("unused", path)


def refusal(path: Path) -> str:
    """The sentence with which a table is refused; it names the file."""
    with pytest.raises(UserError) as error:
        load(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_a_table_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    voices = load(table(tmp_path, *reversed(ROWS))).voices
    assert [voice.voice for voice in voices] == ["anna", "bert", "cleo"]
    assert voices[1] == Voice("bert", "query", "test", "en", "male", "old", "s2", "CC0")


def test_blanks_other_columns_and_their_order_do_not_matter(tmp_path: Path) -> None:
    plain = load(table(tmp_path, ROWS[0]))
    header = "licence,speaker,age,gender,language,split,role,voice,f0_hz"
    assert load(table(tmp_path, " CC0 ,s1, adult,female,en,train,query ,anna,180", header=header)) == plain


@pytest.mark.parametrize("column", HEADER.split(","))
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    header = HEADER.replace(column, f"no_{column}")
    assert column in refusal(table(tmp_path, *ROWS, header=header)).rsplit(" ", 1)[1]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("dora,singer,train,en,female,adult,s4,CC0", "role is 'singer'; use one of query, reply"),
        ("dora,query,,en,female,adult,s4,CC0", "split is ''; use one of train, validation, test"),
        ("dora,query,dev,en,female,adult,s4,CC0", "split is 'dev'"),
        ("dora,query,train,en,f,adult,s4,CC0", "gender is 'f'; use one of female, male"),
        ("dora,query,train,en,,adult,s4,CC0", "gender is ''"),
        ("dora,query,train,en,female,young,s4,CC0", "age is 'young'; use one of child, adult, old"),
        ("dora,query,train,en,female,none,s4,CC0", "age is 'none'"),
        (",query,train,en,female,adult,s4,CC0", "voice and speaker"),
        ("dora,query,train,en,female,adult,,CC0", "voice and speaker"),
        ("dora,query,train", "language is ''"),
    ],
)
def test_a_wrong_row_is_placed_by_file_and_line(tmp_path: Path, row: str, told: str) -> None:
    path = table(tmp_path, ROWS[0], "", row, ROWS[1])
    message = refusal(path)
    assert f"{path}:4: " in message
    assert told in message


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    assert "twice" in refusal(table(tmp_path, *ROWS, ROWS[0].replace("s1", "s9")))


def test_a_name_that_stands_twice_is_placed(tmp_path: Path) -> None:
    path = table(tmp_path, *ROWS, ROWS[0])
    message = refusal(path)
    assert f"{path}:5: " in message
    assert "anna" in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "none.csv")


def test_an_empty_file_lacks_every_column(tmp_path: Path) -> None:
    assert "voice, role, split" in refusal(table(tmp_path, header=""))


def test_a_table_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    refusal(table(tmp_path, ROWS[0].replace("anna", "änna"), encoding="latin-1"))


def test_a_table_saved_by_a_spreadsheet_is_read(tmp_path: Path) -> None:
    assert load(table(tmp_path, *ROWS, encoding="utf-8-sig")).voices[0].voice == "anna"


def test_queries_have_the_labels_asked_for_and_are_never_replies(tmp_path: Path) -> None:
    rows = [
        f"{role}_{split}_{gender}_{age},{role},{split},{language},{gender},{age},s-{split},CC0"
        for role, split, language in (("query", "train", "en"), ("query", "test", "zh"), ("reply", "", "en"))
        for gender in GENDERS
        for age in ("child", "adult")
    ]
    voices = load(table(tmp_path, *rows))
    assert [v.voice for v in voices.queries("train", "en", "child", "male")] == ["query_train_male_child"]
    assert {v.gender for v in voices.queries("train", "en", "adult", None)} == set(GENDERS)
    assert len(voices.queries("train", "en", None, None)) == 4
    assert voices.queries("test", "en", None, None) == []
    assert voices.queries("train", "en", "old", None) == []
    assert {v.role for v in voices.replies("en")} == {"reply"}
    assert len(voices.replies("en")) == 4
    assert voices.replies("zh") == []


def test_a_table_is_known_by_its_voices_alone(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one, two = load(table(tmp_path, *ROWS)), load(table(tmp_path / "other", *reversed(ROWS)))
    assert one.content_hash() == two.content_hash()
    assert load(table(tmp_path, *ROWS[:2])).content_hash() != one.content_hash()


@pytest.mark.parametrize("name", [field.name for field in fields(Voice)])
def test_every_column_counts(tmp_path: Path, name: str) -> None:
    one = load(table(tmp_path, *ROWS))
    first = replace(one.voices[0], **{name: "changed"})
    assert replace(one, voices=(first, *one.voices[1:])).content_hash() != one.content_hash()


@pytest.mark.parametrize("name", ["tone", "kokoro"])
def test_shipped_speakers_are_in_one_split_each(name: str) -> None:
    voices = VoiceTable.load(name).voices
    splits: dict[str, set[str]] = {}
    for voice in voices:
        if voice.role == "query":
            splits.setdefault(voice.speaker, set()).add(voice.split)
    assert splits
    assert {speaker: found for speaker, found in splits.items() if len(found) > 1} == {}
    assert not splits.keys() & {voice.speaker for voice in voices if voice.role == "reply"}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", ["tone", "kokoro"])
def test_shipped_splits_have_both_genders(name: str, split: str) -> None:
    shipped = VoiceTable.load(name)
    for gender in GENDERS:
        assert shipped.queries(split, "en", "adult", gender)


@pytest.mark.parametrize("name", ["tone", "kokoro"])
def test_shipped_voices_have_a_licence_a_known_language_and_someone_to_reply(name: str) -> None:
    shipped = VoiceTable.load(name)
    assert all(voice.licence and voice.language in LANGUAGES for voice in shipped.voices)
    assert shipped.replies("en")


def test_a_speaker_in_two_splits_is_refused(tmp_path: Path) -> None:
    message = refusal(table(tmp_path, *ROWS, ROWS[0].replace("anna", "zoe").replace("train", "test")))
    assert "s1" in message
    assert "splits train and test" in message


# How voices are made

MADE = f"{HEADER},blend,set_f0_hz,set_alpha"


def test_columns_make_a_recipe(tmp_path: Path) -> None:
    rows = (
        "anna,query,train,en,female,adult,s1,CC0,p1:3+p2:1,190,1.05",
        "bert,query,train,en,male,adult,s2,CC0,p3,,",
        "cleo,query,train,en,female,adult,s3,CC0,,200,",
        "dora,reply,,en,female,adult,s4,CC0,,,",
    )
    voices = load(table(tmp_path, *rows, header=MADE)).voices
    assert [voice.recipe for voice in voices] == [
        "p1:0.75+p2:0.25 alpha=1.05 f0_hz=190", "p3", "cleo f0_hz=200", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ("p1++p2,,", "blend: 'p1++p2' is no blend"),
        ("p1:0+p2,,", "blend: the weight '0' of p1"),
        ("p1,low,", "set_f0_hz: f0_hz is 'low'; use a number from"),
        ("p1,,3", "set_alpha: alpha is '3'; use a number from 0.75 to 1.35"),
    ],
)
def test_a_wrong_recipe_is_placed_by_file_line_and_column(tmp_path: Path, values: str, told: str) -> None:
    path = table(tmp_path, "dora,reply,,en,female,adult,s4,CC0,,,", f"{ROWS[0]},{values}", header=MADE)
    assert f"{path}:3: {told}" in refusal(path)


def test_a_column_that_sets_no_cue_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, f"{ROWS[0]},2", header=f"{HEADER},set_size")
    assert f"{path}:1: the column 'set_size' sets no cue" in refusal(path)


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, f"{ROWS[0]},1,1", header=f"{HEADER},set_alpha,set_alpha")
    assert f"{path}:1: the column 'set_alpha' stands twice" in refusal(path)


@pytest.mark.parametrize("blend", ["p1", "p1:0.1+p3:0.9"])
def test_a_stock_voice_in_two_splits_is_refused(tmp_path: Path, blend: str) -> None:
    rows = (
        "anna,query,train,en,female,adult,s1,CC0,p1+p2,,",
        "dora,reply,,en,female,adult,s4,CC0,p1,,",  # the assistant is of no split
        f"bert,query,test,en,male,adult,s2,CC0,{blend},,",
    )
    path = table(tmp_path, *rows, header=MADE)
    message = refusal(path)
    assert f"{path}:4: the stock voice 'p1' is in the splits train and test" in message


def test_shipped_voices_share_no_stock_voice_over_splits_or_with_the_assistant() -> None:
    homes: dict[str, set[str]] = {}
    for voice in VoiceTable.load("kokoro").voices:
        for pack in parse_recipe(voice.recipe).packs:
            homes.setdefault(pack, set()).add(voice.split or "assistant")
    assert {pack: splits for pack, splits in homes.items() if len(splits) > 1} == {}


@pytest.mark.parametrize("name", ["tone", "kokoro"])
def test_every_split_has_every_age_and_gender_and_training_the_most(name: str) -> None:
    voices = [voice for voice in VoiceTable.load(name).voices if voice.role == "query"]
    assert {(voice.split, voice.age, voice.gender) for voice in voices} == set(product(SPLITS, AGES, GENDERS))
    assert Counter(voice.split for voice in voices).most_common(1)[0][0] == "train"


def test_the_neural_speaker_has_many_people() -> None:
    voices = [voice for voice in VoiceTable.load("kokoro").voices if voice.role == "query"]
    assert len(voices) >= 64
    assert len({voice.recipe for voice in voices}) == len(voices)
    ages, genders = Counter(voice.age for voice in voices), Counter(voice.gender for voice in voices)
    assert min(ages.values()) >= 12
    assert abs(genders["female"] - genders["male"]) <= len(voices) / 5


def test_a_table_may_forbid_to_publish_a_voice(tmp_path):
    header = "voice,role,split,language,gender,age,speaker,licence"
    rows = ["a,query,train,en,female,adult,s1,own", "b,query,train,en,male,adult,s2,own"]
    (tmp_path / "plain.csv").write_text("\n".join([header, *rows]) + "\n")
    closed = [f"{header},publish", f"{rows[0]},no", f"{rows[1]},yes"]
    (tmp_path / "closed.csv").write_text("\n".join(closed) + "\n")
    plain, stated = (VoiceTable.load("x", tmp_path / name) for name in ("plain.csv", "closed.csv"))
    assert [voice.publish for voice in plain.voices] == [True, True]
    assert [voice.publish for voice in stated.voices] == [False, True]
    assert plain.content_hash() != stated.content_hash()
    (tmp_path / "odd.csv").write_text("\n".join([f"{header},publish", f"{rows[0]},perhaps"]) + "\n")
    with pytest.raises(UserError, match="publish is 'perhaps'"):
        VoiceTable.load("x", tmp_path / "odd.csv")
