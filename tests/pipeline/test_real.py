"""Which rows of a plan are real, and which recording each takes."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from corpora import people, save, table, take_in, voice
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planning import BASE, SHIPPED, Rows, drawn, label, refusal

from manifests.errors import UserError
from manifests.ids import dialogue_id
from manifests.labels import NONE
from manifests.run import RealConfig, RunManifest, load_run
from pipeline.corpus import read_corpus, split_of
from pipeline.planner import Planner
from pipeline.real import RealQueries, Recording, same_people

QUOTAS = {"emotion": 60, "gender": 30, "age": 9, "neutral": 15, "multi": 30, "event": 7}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 speakers x 8 recordings: 24 of each of happy, sad, angry and neutral."""
    folder = tmp_path_factory.mktemp("real")
    take_in("csv", people(folder / "src", 12), folder / "mine", name="mine")
    return folder / "mine"


def planning(corpus: Path, share: float = 1 / 3, quotas: dict[str, Any] | None = None, **more: Any) -> Planner:
    plan = {**BASE["plan"], "multi": ["gender", "emotion"], "quotas": quotas or QUOTAS, **more.pop("plan", {})}
    manifest = RunManifest.model_validate({**BASE, "plan": plan})
    real = RealQueries((corpus,), share, splits=manifest.plan.splits, seed=manifest.seed, file="mine.yaml", **more)
    return replace(SHIPPED, manifest=manifest, real=real)


def real(rows: Rows) -> Rows:
    return [row for row in rows if row["source"] == "real"]


def test_a_share_of_every_label_that_has_recordings_is_real(corpus: Path) -> None:
    planner = planning(corpus)
    rows = drawn(planner)
    cells: dict[tuple[str, str], Rows] = defaultdict(list)
    for row in rows:
        cells[row["task"], label(row)].append(row)
    for (task, name), members in cells.items():
        count = len(real(members))
        assert count == planner.real_counts[task, name]
        if task == "event" or name in ("fear", "disgust", "surprise", "child", "old") or "+" in name:
            continue
        assert abs(count - len(members) / 3) <= 1, (task, name)
    for task, name in (("event", "laugh"), ("emotion", "fear"), ("age", "child"), ("multi", "male+surprise")):
        assert not real(cells[task, name]), "nobody was recorded with that"
    multi = [row for (task, name), members in cells.items() if task == "multi" for row in real(members)]
    assert multi
    assert all(row["cues"] == ["gender", "emotion"] for row in multi)


def test_a_real_row_is_what_its_corpus_says(corpus: Path) -> None:
    clips = {clip.sha256: clip for clip in read_corpus(corpus).clips}
    rows = real(drawn(planning(corpus)))
    assert len(rows) > 25
    for row in rows:
        clip = clips[row["recording"]]
        assert row["transcript"] == clip.text
        assert row["query_speaker"] == f"mine:{clip.speaker}"
        assert (row["query_language"], row["language"]) == ("de", "en")
        for family in ("age", "gender", "emotion", "event"):
            assert row[family] == clip.labels.get(family, NONE)
        assert all(row[cue] != NONE for cue in row["cues"])
        assert (row["query_voice"], row["pair"], row["contrast"], row["turn"], row["num_turns"]) == ("", "", "{}", 0, 1)
        assert row["scenario"] == f"recording:{row['recording'][:16]}"
        assert row["id"] == dialogue_id([row])
        if row["task"] == "neutral":
            assert row["emotion"] == "neutral"


def shared(tmp_path: Path, splits: tuple[str, str] = ("", "")) -> list[Path]:
    """Two corpora of six speakers each: the last of the one, s5, is the first of the other, there called q0."""
    source = people(tmp_path / "src", 11)
    with (source / "labels.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    folders = []
    for name, who, split in (("first", range(6), splits[0]), ("second", range(5, 11), splits[1])):
        own = [row | {"split": split} for row in rows if int(row["speaker"][1:]) in who]
        if name == "second":
            own = [row | {"speaker": f"q{int(row['speaker'][1:]) - 5}"} for row in own]
            own += [own[0] | {"file": "more.wav", "text": "Ein Satz mehr."}]
            save(source / "more.wav", voice(7))
        table(source / "labels.csv", own)
        take_in("csv", source, tmp_path / name, name=name)
        folders.append(tmp_path / name)
    return folders


def both(folders: list[Path]) -> RealQueries:
    splits = {"train": 0.34, "validation": 0.33, "test": 0.33}
    return RealQueries(tuple(folders), 1 / 3, splits=splits, seed=1, file="mine.yaml")


def test_speakers_of_two_corpora_who_share_recordings_are_one_person_in_one_split(tmp_path: Path) -> None:
    recordings = both(shared(tmp_path)).recordings
    splits = defaultdict(set)
    for item in recordings:
        splits[item.speaker].add(item.split)
    assert len(splits) == 12, "the clip that only the second corpus has is his there"
    assert all(len(found) == 1 for found in splits.values())
    shares = {"train": 0.34, "validation": 0.33, "test": 0.33}
    assert splits["second:q0"] == splits["first:s5"] == {split_of("first:s5", shares)}
    assert split_of("second:q0", shares) != split_of("first:s5", shares), "or this test shows nothing"
    assert len(recordings) == unique(recordings) == 11 * 8 + 1


def unique(recordings: list[Recording]) -> int:
    return len({item.sha256 for item in recordings})


def test_a_split_that_one_corpus_states_is_that_of_the_person_and_two_are_refused(tmp_path: Path) -> None:
    stated = both(shared(tmp_path / "one", ("", "test"))).recordings
    assert {item.split for item in stated if item.speaker in ("first:s5", "second:q0")} == {"test"}
    with pytest.raises(UserError, match=r"first:s5 and second:q0 share recordings.*in the splits train and test"):
        _ = both(shared(tmp_path / "two", ("train", "test"))).recordings


def test_people_are_joined_by_way_of_a_third() -> None:
    heard = [("a:x", "1"), ("b:y", "1"), ("b:y", "2"), ("c:z", "2"), ("c:w", "3")]
    assert same_people(heard) == {"a:x": "a:x", "b:y": "a:x", "c:z": "a:x", "c:w": "c:w"}
    assert same_people(reversed(heard)) == same_people(heard)


def test_no_recording_stands_twice_in_a_cell_and_no_speaker_in_two_splits(corpus: Path) -> None:
    rows = drawn(planning(corpus))
    seen = set()
    homes: dict[str, set[str]] = defaultdict(set)
    for row in real(rows):
        place = (row["task"], label(row), row["recording"])
        assert place not in seen
        seen.add(place)
        homes[row["query_speaker"]].add(row["split"])
    assert all(len(splits) == 1 for splits in homes.values())
    assert len({split for splits in homes.values() for split in splits}) > 1
    assert len({row["id"] for row in rows}) == len(rows)


def test_pairs_are_of_synthetic_rows_that_are_both_there(corpus: Path) -> None:
    rows = drawn(planning(corpus, plan={"contrastive": 1.0}))
    groups: dict[str, Rows] = defaultdict(list)
    for row in rows:
        if row["pair"]:
            groups[row["pair"]].append(row)
    assert len(groups) > 20
    assert all(len(members) == 2 and not real(members) for members in groups.values())


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(6, 60), st.integers(0, 60), st.sampled_from([0.0, 0.1, 1 / 3, 0.5]), st.integers(0, 30))
def test_a_larger_plan_contains_the_smaller(corpus: Path, small: int, more: int, share: float, neutral: int) -> None:
    one = drawn(planning(corpus, share, {"emotion": small, "neutral": neutral}))
    two = drawn(planning(corpus, share, {"emotion": small + more, "neutral": neutral}))
    assert {row["id"] for row in one} <= {row["id"] for row in two}


def test_the_same_synthetic_rows_whatever_is_recorded(corpus: Path) -> None:
    none, some = drawn(planning(corpus, 0.0)), drawn(planning(corpus))
    plain = {row["id"] for row in none}
    assert {row["id"] for row in some if row["source"] == "synthetic"} <= plain
    assert not real(none)


def test_a_share_that_cannot_be_met_is_refused(corpus: Path) -> None:
    said = refusal(planning(corpus, 0.5, {"emotion": {"sad": 60}}))
    assert "30 of 60 dialogues of emotion sad would be real, and the corpora have 24 recordings" in said
    assert drawn(planning(corpus, 0.5, {"emotion": {"sad": 60}}, tasks=("gender",)))


def test_tasks_and_splits_are_kept_to(corpus: Path) -> None:
    rows = drawn(planning(corpus, tasks=("gender",)))
    assert {row["task"] for row in real(rows)} == {"gender"}
    rows = drawn(planning(corpus, plan={"splits": {"train": 1.0}}))
    assert {row["split"] for row in real(rows)} == {"train"}


def test_where_a_cell_is_about_no_emotion_calm_voices_come_first(corpus: Path) -> None:
    rows = real(drawn(planning(corpus, quotas={"gender": {"female": 36}})))
    assert len(rows) == 12
    assert {row["emotion"] for row in rows} == {"neutral"}


def test_what_the_corpus_says_of_splits_holds(tmp_path: Path) -> None:
    import csv

    source = people(tmp_path / "src", 4)
    with (source / "labels.csv").open() as lines:
        rows = [{**row, "split": "test" if row["speaker"] == "s1" else "train"} for row in csv.DictReader(lines)]
    with (source / "labels.csv").open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    take_in("csv", source, tmp_path / "mine", name="mine")
    found = real(drawn(planning(tmp_path / "mine", quotas={"gender": 30})))
    assert {(row["query_speaker"] == "mine:s1", row["split"]) for row in found} == {(True, "test"), (False, "train")}


def test_the_place_of_a_corpus_is_in_no_key(corpus: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.symlink_to(corpus)
    assert planning(corpus).identity() == planning(moved).identity()
    assert planning(corpus).identity() != planning(corpus, 0.2).identity()
    assert planning(corpus).identity() != replace(planning(corpus), real=RealQueries()).identity()


def test_corpora_that_are_none_or_of_one_name_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder that echat ingest has made"):
        drawn(planning(tmp_path))
    with pytest.raises(UserError, match="two are called mine"):
        _ = RealQueries((corpus, corpus), 0.3, file="mine.yaml").abouts


def test_paths_are_relative_to_the_manifest_or_where_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tone_yaml: Callable[..., Path]
) -> None:
    own = load_run(tone_yaml(plan={"real": {"corpora": ["a", "../b"]}})).plan.real
    assert own is not None
    assert own.corpora == ((tmp_path / "a").resolve(), (tmp_path.parent / "b").resolve())
    monkeypatch.chdir(tmp_path)
    shipped = load_run(Path("mixed")).plan.real
    assert shipped is not None
    assert shipped.corpora == (tmp_path / "corpora" / "emodb", tmp_path / "corpora" / "fsdd")
    for wrong in ({"corpora": []}, {"corpora": ["a"], "share": 2}, {"corpora": ["a"], "tasks": ["mood"]}):
        with pytest.raises(ValueError, match=r"corpora|share|tasks"):
            RealConfig.model_validate(wrong)
