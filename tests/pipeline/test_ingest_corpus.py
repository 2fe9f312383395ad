"""What every adapter's rows go through: paths, sound, labels, speakers, statements; nothing is half-written."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from conftest import tree
from corpora import RATE, kept, people, reasons, save, table, take_in, voice
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from manifests.errors import UserError
from manifests.labels import HEARD
from pipeline.cli import app
from pipeline.corpus import COLUMNS, read_about, read_corpus
from pipeline.ingest.base import Item, our_label
from pipeline.ingest.sound import Rejected
from pipeline.ingest.writer import ADAPTERS, row_of


def rows(folder: Path, files: list[str], **more: str) -> Path:
    base = {"speaker": "a", "text": "Hello.", "language": "en"} | more
    return table(folder / "labels.csv", [{"file": file, **base} for file in files])


def pcm(out: Path, row: dict[str, str]) -> tuple[np.ndarray, int]:
    return soundfile.read(out / row["file"], dtype="int16")


def test_a_mono_16_bit_recording_keeps_its_very_samples(tmp_path: Path) -> None:
    source, out = tmp_path / "src", tmp_path / "out"
    loud, quiet = voice(1, rate=22050, level=0.9), voice(2, rate=8000, level=0.004)
    save(source / "a.wav", loud, 22050)
    save(source / "b.flac", quiet, 8000)
    rows(source, ["a.wav", "b.flac"])
    take_in("csv", source, out)
    have = kept(out)
    for name, samples, rate in (("a.wav", loud, 22050), ("b.flac", quiet, 8000)):
        got, got_rate = pcm(out, have[name])
        assert (got_rate, have[name]["sample_rate"], have[name]["changed"]) == (rate, str(rate), "")
        np.testing.assert_array_equal(got, samples)


def test_what_is_changed_is_said(tmp_path: Path) -> None:
    source, out = tmp_path / "src", tmp_path / "out"
    left, right = voice(1), voice(2)
    save(source / "stereo.wav", np.stack([left, right], 1))
    save(source / "deep.wav", voice(3) / 32768, subtype="PCM_24")
    save(source / "float.wav", voice(4).astype(np.float32) / 32768, subtype="FLOAT")
    rows(source, ["stereo.wav", "deep.wav", "float.wav"])
    report = take_in("csv", source, out)
    have = kept(out)
    assert have["stereo.wav"]["changed"] == "average of 2 channels"
    assert np.abs(pcm(out, have["stereo.wav"])[0] - (left.astype(int) + right) / 2).max() <= 0.5
    for name, seed in (("deep.wav", 3), ("float.wav", 4)):
        np.testing.assert_array_equal(pcm(out, have[name])[0], voice(seed))
    assert set(report["changed"]) == {
        "average of 2 channels", "converted from PCM_24 to PCM_16", "converted from FLOAT to PCM_16",
    }  # fmt: skip


def test_resampling_is_soxr_and_leaves_the_loudness(tmp_path: Path) -> None:
    import soxr

    source, out = tmp_path / "src", tmp_path / "out"
    samples = voice(1, rate=44100, level=0.1)
    save(source / "a.wav", samples, 44100)
    rows(source, ["a.wav"])
    take_in("csv", source, out, rate=16000)
    (row,) = kept(out).values()
    got, rate = pcm(out, row)
    wanted = soxr.resample(samples / 32768, 44100, 16000, quality="HQ")
    assert rate == 16000
    assert np.abs(got / 32768 - wanted).max() <= 0.51 / 32768
    assert row["changed"] == "resampled from 44100 to 16000 Hz (soxr HQ)"


def test_unusable_recordings_are_counted_by_reason(tmp_path: Path) -> None:
    source, out = tmp_path / "src", tmp_path / "out"
    clipped = voice(5).astype(float)
    clipped[: len(clipped) // 50] = 32767
    broken = voice(6).astype(np.float32) / 32768
    broken[7] = math.nan
    save(source / "good.wav", voice(1))
    save(source / "again.flac", voice(1))
    save(source / "short.wav", voice(2, 0.1))
    save(source / "long.wav", np.tile(voice(3, 1.0), 31))
    save(source / "silent.wav", np.zeros(RATE, np.int16))
    save(source / "clipped.wav", clipped.astype(np.int16))
    save(source / "nan.wav", broken, subtype="FLOAT")
    save(source / "low.wav", voice(7, rate=6000), 6000)
    (source / "text.wav").write_text("no audio")
    save(tmp_path / "outside.wav", voice(8))
    (source / "link.wav").symlink_to(tmp_path / "outside.wav")
    files = [path.name for path in sorted(source.iterdir())]
    rows(source, [*reversed(files), "../outside.wav", str(tmp_path / "outside.wav"), "missing.wav", ""])
    report = take_in("csv", source, out)
    assert reasons(report) == {
        "the same sound as another recording": 1,
        "it is shorter than 0.2 s": 1,
        "it is longer than 30 s": 1,
        "it is silent": 1,
        "more than 1% of it is clipped": 1,
        "it has samples that are NaN or infinite": 1,
        "the sample rate is under 8000 Hz": 1,
        "the file cannot be read as audio": 1,
        "its path is a link that leads out of the folder": 1,
        "its path is absolute or leads out of the folder": 2,
        "the file is missing": 1,
        "it names no file": 1,
    }
    assert list(kept(out)) == ["good.wav"]
    assert report["rejected"]["it is silent"]["first"] == ["silent.wav"]


def test_rows_without_speaker_words_or_language_are_left_out(tmp_path: Path) -> None:
    source = tmp_path / "src"
    for seed in range(5):
        save(source / f"{seed}.wav", voice(seed))
    full = {"file": "0.wav", "speaker": "a", "text": "Hello.", "language": "en", "emotion": "sad", "split": ""}
    changes = [{}, {"speaker": ""}, {"language": ""}, {"text": "", "emotion": "boredom"}, {"split": "third"}]
    table(source / "labels.csv", [{**full, "file": f"{n}.wav", **change} for n, change in enumerate(changes)])
    report = take_in("csv", source, tmp_path / "out")
    assert reasons(report) == {
        "nobody is named as its speaker": 1,
        "nothing says in which language its text is (--language)": 1,
        "it has neither a text nor a label of ours": 1,
        "its split 'third' is none of train, validation, test": 1,
    }
    report = take_in("csv", source, tmp_path / "german", language="de")
    assert report["languages"] == {"de": 1, "en": 1}


def test_a_speaker_in_two_splits_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    source = tmp_path / "src"
    for seed in range(2):
        save(source / f"{seed}.wav", voice(seed))
    row = {"speaker": "a", "text": "Hello.", "language": "en"}
    splits = ("train", "test")
    table(source / "labels.csv", [{"file": f"{n}.wav", **row, "split": split} for n, split in enumerate(splits)])
    with pytest.raises(UserError, match="'a' is in the splits test and train"):
        take_in("csv", source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["src"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"licence": " "}, "--licence is empty"),
        ({"consent": ""}, "--consent is empty"),
        ({"name": "Mine: 1"}, "--name"),
        ({"language": "German"}, "--language"),
        ({"rate": 100}, "--rate"),
    ],
)
def test_statements_are_mandatory(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    save(tmp_path / "src" / "a.wav", voice(1))
    rows(tmp_path / "src", ["a.wav"])
    with pytest.raises(UserError, match=said):
        take_in("csv", tmp_path / "src", tmp_path / "out", **change)


def test_what_stands_in_the_way_is_refused(tmp_path: Path) -> None:
    source = people(tmp_path / "src", 1)
    for out, said in ((source / "in", "is inside of"), (tmp_path / "full", "is there already")):
        (tmp_path / "full").mkdir(exist_ok=True)
        (tmp_path / "full" / "mine").touch()
        with pytest.raises(UserError, match=said):
            take_in("csv", source, out)
    with pytest.raises(UserError, match="is not a folder"):
        take_in("csv", tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="must hold one table"):
        take_in("csv", tmp_path / "empty", tmp_path / "out")
    with pytest.raises(UserError, match="none of 0 recordings can be used"):
        take_in("emodb", tmp_path / "empty", tmp_path / "out")
    assert (tmp_path / "full" / "mine").exists()


@pytest.mark.parametrize(
    ("licence", "free"),
    [
        ("CC0", True),
        ("CC BY-SA 4.0", True),
        ("CC BY-NC 4.0", False),
        ("for academic use", False),
        ("CC BY-ND", False),
        ("All rights reserved", False),
        ("LDC user agreement", False),
        ("not for redistribution", False),
    ],
)
def test_a_closed_licence_is_not_published(tmp_path: Path, licence: str, free: bool) -> None:
    source = people(tmp_path / "src", 1)
    assert take_in("csv", source, tmp_path / "out", licence=licence)["publish"] is free
    assert read_about(tmp_path / "out").publish is free
    assert take_in("csv", source, tmp_path / "closed", licence=licence, publish=False)["publish"] is False


def test_the_owner_may_publish_under_terms_of_his_own(tmp_path: Path) -> None:
    source = people(tmp_path / "src", 1)
    assert take_in("csv", source, tmp_path / "out", licence="my own terms", publish=True)["publish"] is True
    assert take_in("csv", source, tmp_path / "nc", licence="CC BY-NC 4.0", publish=True)["publish"] is False


@pytest.mark.parametrize(("start", "end"), [("1,5", "2.5"), ("-1", ""), ("", "x")])
def test_a_cut_that_cannot_be_read_never_takes_the_whole_file(tmp_path: Path, start: str, end: str) -> None:
    source = people(tmp_path / "src", 1)
    table = source / "labels.csv"
    header, first, *rest = table.read_text().splitlines()
    cut = [f'{first},"{start}","{end}"', *(f"{line},," for line in rest)]
    table.write_text("\n".join([f"{header},start,end", *cut]) + "\n")
    report = take_in("csv", source, tmp_path / "out", licence="CC0")
    assert report["recordings"] == 7
    assert any("no number of seconds" in reason for reason in report["rejected"])


def test_the_same_source_gives_the_same_folder(tmp_path: Path) -> None:
    source = people(tmp_path / "src", 2)
    for name in ("one", "two"):
        take_in("csv", source, tmp_path / name)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    report = json.loads((tmp_path / "one" / "report.json").read_text())
    assert report["recordings"] == len(list((tmp_path / "one" / "audio").iterdir())) == 16
    assert report["speakers"] == {"s0": 8, "s1": 8}


def test_calibration_and_runs_read_the_same_folder(tmp_path: Path) -> None:
    source = people(tmp_path / "src", 2, ("happy", "boredom"))
    take_in("csv", source, tmp_path / "out", name="mine")
    corpus = read_corpus(tmp_path / "out")
    assert (corpus.name, corpus.families, corpus.speakers) == (
        "mine", ("age", "gender", "emotion", "speakers"), ("s0", "s1"),
    )  # fmt: skip
    assert corpus.unknown() == {"emotion": {"boredom": 4}}
    clip = corpus.clips[0]
    assert (clip.text, clip.language, len(clip.sha256), clip.seconds) == ("Satz Nummer 0.", "de", 64, 0.5)
    assert clip.path.read_bytes()[:4] == b"fLaC"


@given(st.text(max_size=60), st.text(min_size=1, max_size=20))
def test_no_text_breaks_the_table(text: str, speaker: str) -> None:
    item = Item("a.wav", speaker, {"emotion": text}, text=text, language="en", ours={"gender": "male"})
    try:
        row = row_of(item, "")
    except Rejected:
        assert not any(char.isprintable() and not char.isspace() for char in speaker)
        return
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerow(row)
    assert len(stream.getvalue().splitlines()) == 2
    (read,) = csv.DictReader(io.StringIO(stream.getvalue()))
    assert {name: read[name] for name in row} == row
    assert all(char.isprintable() for value in row.values() for char in value)


@given(st.sampled_from(sorted(set(HEARD) - {"speakers"})), st.text(max_size=20))
def test_labels_are_ours_or_none(family: str, spelling: str) -> None:
    assert our_label(family, spelling) in (None, "none", *HEARD[family])


@pytest.mark.parametrize(
    ("age", "label"),
    [("12", "child"), ("15", None), ("18", "adult"), ("59.5", "adult"), ("60", "old"), ("teens", None),
     ("Fourties", "adult"), ("nineties", "old"), ("YOUTH", "adult")],
)  # fmt: skip
def test_ages_in_years_and_decades(age: str, label: str | None) -> None:
    assert our_label("age", age) == label


def test_the_command(tmp_path: Path) -> None:
    source = people(tmp_path / "src", 1)
    args = ["ingest", "csv", str(source), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*args, "--licence", "CC0", "--consent", "yes", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["recordings"] == 8
    assert yaml.safe_load((tmp_path / "out" / "corpus.yaml").read_text())["consent"] == "yes"
    assert CliRunner().invoke(app, [*args, "--licence", "CC0"]).exit_code == 2
    listed = CliRunner().invoke(app, ["ingest", "--help"]).stdout
    assert all(name in listed for name in (*ADAPTERS, "events", "voices"))
