"""An export appears whole or not at all, is the same bytes every time, and cannot be led out of its folder."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import ROOT, echat, tree
from made_set import dialogue, make_set, members, sound, turn, write_tar
from osum_reader import read_raw, read_shards
from tone_runs import build_tones
from typer.testing import CliRunner

from manifests.errors import UserError
from pipeline.cli import app
from pipeline.export.base import FORMATS, Request
from pipeline.export.files import TarFile
from pipeline.export.kaldi import speaker_name
from pipeline.export.write import export

DOCUMENTS = [
    *(dialogue(f"t{number}", [turn(speaker=f"s{number % 3}")]) for number in range(6)),
    dialogue("two", [turn(0), turn(1, "And now?", "Now too.")]),
    dialogue("v0", split="validation"),
    dialogue("x0", split="test"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("set") / "shards", DOCUMENTS)


@pytest.mark.parametrize("form", list(FORMATS))
def test_the_same_set_gives_the_same_bytes_and_its_checksums_hold(made: Path, tmp_path: Path, form: str) -> None:
    for name in ("a", "b"):
        export(Request(made, tmp_path / name, form, rows=3))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    check = subprocess.run(["sha256sum", "-c", "--quiet", "checksums.sha256"], cwd=tmp_path / "a", check=False)
    assert check.returncode == 0
    listed = {line.split("  ", 1)[1] for line in (tmp_path / "a" / "checksums.sha256").read_text().splitlines()}
    assert listed | {"checksums.sha256"} == set(tree(tmp_path / "a"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"], "nothing is left beside them"


@pytest.mark.parametrize("form", list(FORMATS))
def test_splits_stay_apart(made: Path, tmp_path: Path, form: str) -> None:
    about = export(Request(made, tmp_path / "out", form))
    assert {name: item["dialogues"] for name, item in about["splits"].items()} == {
        "train": 7, "validation": 1, "test": 1,
    }  # fmt: skip
    for name in ("t0", "v0", "x0"):
        home = {"t": "train", "v": "validation", "x": "test"}[name[0]]
        files = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and name in path.name]
        assert all(home in str(path.relative_to(tmp_path / "out")) for path in files)
    only = export(Request(made, tmp_path / "some", form, splits=("train",), limit=2))
    assert {name: item["dialogues"] for name, item in only["splits"].items()} == {"train": 2}
    assert not any("validation" in name or "test" in name for name in tree(tmp_path / "some"))


def test_an_earlier_export_is_replaced_and_nothing_else_is(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(Request(made, out, "kaldi"))
    export(Request(made, out, "osum-raw"))
    export(Request(made, tmp_path / "fresh", "osum-raw"))
    assert tree(out) == tree(tmp_path / "fresh")
    (out / "thesis.tex").write_text("years of work")
    before = tree(out)
    with pytest.raises(UserError, match=r"thesis\.tex"):
        export(Request(made, out, "kaldi"))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="no export of ours"):
        export(Request(made, foreign, "kaldi"))
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(foreign)
    for name in ("file", "link"):
        with pytest.raises(UserError, match="no folder"):
            export(Request(made, tmp_path / name, "kaldi"))
    for place in (made, made / "below", made.parent):
        with pytest.raises(UserError, match="apart"):
            export(Request(made, place, "kaldi"))
    assert tree(out) == before
    assert (foreign / "thesis.tex").read_text() == "years of work"


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.export.base import Request
from pipeline.export.write import export
export(Request(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]), lambda line: os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.mark.parametrize("form", ["osum-shard", "kaldi"])
def test_a_killed_export_is_never_taken_for_whole(made: Path, tmp_path: Path, form: str) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(made), str(out), form]
    assert subprocess.run(command, check=False, timeout=60).returncode == -9
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == [".out.exporting"]
    export(Request(made, out, form))
    export(Request(made, tmp_path / "calm", form))
    assert tree(out) == tree(tmp_path / "calm")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calm", "out"]
    before = tree(out)
    assert subprocess.run(command, check=False, timeout=60).returncode == -9
    assert tree(out) == before, "the earlier export stays until the new one is whole"


def test_two_at_once_do_not_mix(made: Path, tmp_path: Path) -> None:
    refused = []

    def again(line: str) -> None:
        with pytest.raises(UserError, match="being written by another"):
            export(Request(made, tmp_path / "out", "kaldi"))
        refused.append(line)

    export(Request(made, tmp_path / "out", "osum-raw"), again)
    assert len(refused) == 4
    export(Request(made, tmp_path / "alone", "osum-raw"))
    assert tree(tmp_path / "out") == tree(tmp_path / "alone")


def test_a_full_disk_is_said_and_leaves_nothing(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def add(self: TarFile, name: str, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TarFile, "add", add)
    with pytest.raises(UserError, match="the disk is full"):
        export(Request(made, tmp_path / "out", "lhotse"))
    assert list(tmp_path.iterdir()) == []


def test_sets_that_are_not_whole_are_refused(made: Path, tmp_path: Path) -> None:
    def broken(name: str) -> Path:
        shutil.copytree(made, tmp_path / name)
        return tmp_path / name

    (broken("incomplete") / "dataset.json").unlink()
    (broken("missing") / "test-1turn-00000.tar").unlink()
    tar = broken("flipped") / "train-1turn-00000.tar"
    data = bytearray(tar.read_bytes())
    data[700] ^= 1  # in the sound
    tar.write_bytes(data)
    short = broken("short") / "test-1turn-00000.tar"
    short.write_bytes(short.read_bytes()[:-2048])
    document = json.loads((broken("rows") / "dataset.json").read_text())
    document["shards"][0]["rows"] += 1
    (tmp_path / "rows" / "dataset.json").write_text(json.dumps(document))
    (tmp_path / "run").mkdir()
    shutil.copy(ROOT / "manifests" / "runs" / "tone.yaml", tmp_path / "run" / "run.yaml")
    (tmp_path / "none").mkdir()
    (tmp_path / "text.tar").write_text("no tar")
    make_set(tmp_path / "empty", [])
    for name, words in {
        "incomplete": "has no dataset.json", "missing": "is missing", "flipped": "is damaged",
        "short": "not of the size", "rows": "dataset.json says 7", "run": "not finished", "none": "has no dataset.json",
        "text.tar": "cannot be read as a shard", "empty": "no dialogue", "nowhere": "has no dataset.json",
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=words) as caught:
            export(Request(tmp_path / name, tmp_path / "out", "lhotse"))
        assert str(tmp_path / name) in str(caught.value)
        assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="no dialogue of the split test"):
        export(Request(make_set(tmp_path / "train", [dialogue("a")]), tmp_path / "out", "lhotse", splits=("test",)))


def test_a_tar_by_itself_says_that_its_terms_are_not_known(made: Path, tmp_path: Path) -> None:
    about = export(Request(made / "train-1turn-00000.tar", tmp_path / "out", "osum-raw", limit=3))
    assert about["splits"]["train"]["dialogues"] == 3
    assert about["may_be_published"] == "unknown"


def test_what_may_not_be_published_says_so(tmp_path: Path) -> None:
    closed = make_set(tmp_path / "closed", [dialogue("a")], publishable=False, licences={"corpora": {"x": "CC BY-NC"}})
    result = echat("export", closed, "--format", "parquet", "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "it may not be published" in result.stdout
    assert "MAY NOT BE PUBLISHED" in (tmp_path / "out" / "NOTICE.txt").read_text()
    assert "CC BY-NC" in (tmp_path / "out" / "NOTICE.txt").read_text()
    assert json.loads((tmp_path / "out" / "export.json").read_text())["may_be_published"] == "no"


def test_wrong_options_are_one_sentence(made: Path, tmp_path: Path) -> None:
    wrong = (("--format", "mp3"), ("--split", "dev"), ("--task", "asr"), ("--think", "loud"), ("--root", "|"))
    for option, value in wrong:
        options = {"--format": "osum-raw", "--out": str(tmp_path / "out"), option: value}
        words = [word for pair in options.items() for word in pair]
        result = CliRunner().invoke(app, ["export", str(made), *words])
        assert result.exit_code == 2
        assert result.stderr.startswith(f"error: {option}")
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def changed(place: str, value: Any) -> dict[str, Any]:
    """A dialogue with one field changed: `turns.0.query.text`."""
    document = json.loads(json.dumps(dialogue("good")))
    node: Any = document
    *path, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    for key in path:
        node = node[key]
    node[last] = value
    return document


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("split", "../../escaped"),
        ("language", "en/../../escaped"),
        ("task", "../escaped"),
        ("turns.0.turn", 7),
        ("turns.0.query.requested.emotion", "../../escaped"),
        ("turns.0.query.requested.gender", "x" * 1_000_000),
        ("turns.0.reply.emotion", "\n"),
        ("turns.0.query.text", 3),
        ("turns.0.query.text", "\ud800"),
        ("turns.0.query.wer", float("nan")),
        ("turns.0.reply.num_tokens", 10**12),
        ("turns.0.reply.codebook_size", 5),
        ("turns", None),
        ("corpus", []),
    ],
)
@pytest.mark.parametrize("form", ["osum-shard", "parquet"])
def test_fields_that_are_not_ours_are_refused_by_name(tmp_path: Path, form: str, place: str, value: Any) -> None:
    contents = members(dialogue("good"))
    contents["good.json"] = json.dumps(changed(place, value)).encode()
    write_tar(tmp_path / "a.tar", contents.items())
    with pytest.raises(UserError) as caught:
        export(Request(tmp_path / "a.tar", tmp_path / "x" / "out", form))
    message = str(caught.value)
    assert "a.tar" in message
    assert "good" in message
    assert len(message) < 1000
    assert list((tmp_path / "x").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../up", "a/b", "/etc/x", "..", "a b", "a\nb", "-rf", "é", "", "x" * 200, "a\x00b", "CON:1", "a|b", "~"]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    document = dialogue(name)
    write_tar(tmp_path / "a.tar", members(document).items())
    for form in FORMATS:
        with pytest.raises(UserError):
            export(Request(tmp_path / "a.tar", tmp_path / "x" / "out", form))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "x"]
    assert list((tmp_path / "x").iterdir()) == []


def test_a_shard_outside_of_its_folder_is_not_read(tmp_path: Path) -> None:
    made = make_set(tmp_path / "set", [dialogue("a")])
    (made / "train-1turn-00000.tar").rename(tmp_path / "secret.tar")
    document = json.loads((made / "dataset.json").read_text())
    for name in ("../secret.tar", str(tmp_path / "secret.tar")):
        document["shards"][0]["name"] = name
        (made / "dataset.json").write_text(json.dumps(document))
        with pytest.raises(UserError, match="name"):
            export(Request(made, tmp_path / "out", "kaldi"))


def test_members_that_are_no_files_and_doubled_dialogues_are_refused(tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        info = tarfile.TarInfo("a.json")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(UserError, match="not a plain file"):
        export(Request(tmp_path / "link.tar", tmp_path / "out", "lhotse"))
    both = [*members(dialogue("a")).items(), *members(dialogue("b")).items(), *members(dialogue("a")).items()]
    write_tar(tmp_path / "twice.tar", both)
    for form in FORMATS:
        with pytest.raises(UserError, match="'a' stands twice"):
            export(Request(tmp_path / "twice.tar", tmp_path / "out", form))
    contents = members(dialogue("a")) | {"a.0.reply.flac": b"no sound"}
    write_tar(tmp_path / "noise.tar", contents.items())
    for form in set(FORMATS) - {"parquet", "osum-shard", "osum-combine"}:  # the others hold or need no reply audio
        with pytest.raises(UserError, match=r"noise.tar: 'a'.* audio"):
            export(Request(tmp_path / "noise.tar", tmp_path / "out", form))


NASTY = [
    "../../../etc/passwd", "a b\tc", "x\ny z", "-rf /", "sp|eaker |", "\x00\x1b[31m\u202e", "é́ 说话人", "a/b", "a.b",
    "", "s" * 100_000, "A", "a", "a_0123456789ab", "name;rm -rf ~", "$(reboot)", "%s{}",
]  # fmt: skip


def test_hostile_speakers_and_texts_break_no_format(tmp_path: Path) -> None:
    text = "one\ntwo\r\x0b\x0cthree\u2028four\x85\x00five\x1b[2J \t end | ; $(x)"
    made = make_set(
        tmp_path / "set",
        [
            dialogue(f"d{number}", [turn(0, f"{text} {name[:50]}", text, speaker=name)], pair=name)
            for number, name in enumerate(NASTY)
        ],
    )
    for form in FORMATS:
        export(Request(made, tmp_path / "x" / form, form))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "x"]
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == sorted(FORMATS)
    raw, shard = tmp_path / "x" / "osum-raw", tmp_path / "x" / "osum-shard"
    for samples in (
        read_raw(raw / "train" / "data.list", raw),
        read_shards(shard / "train" / "shards_list.txt", shard),
    ):
        found = list(samples)
        assert len(found) == len(NASTY)
        assert all(sample.txt == "one two three four five [2J end | ; $(x)" for sample in found)
    rows = pq.read_table(tmp_path / "x" / "parquet" / "data" / "train-00000.parquet").to_pylist()
    assert [row["query_speaker"] for row in rows] == NASTY, "where a format can hold a name it is kept"
    assert rows[0]["reply_text"] == text
    assert rows[3]["query_audio"]["bytes"] == sound(dialogue("d3"), 0, "query")
    folder = tmp_path / "x" / "kaldi" / "train_query"
    tables = {name: (folder / name).read_text().split("\n")[:-1] for name in ("wav.scp", "text", "utt2spk", "utt2dur")}
    keys = {name: [line.split(" ")[0] for line in lines] for name, lines in tables.items()}
    assert all(found == keys["utt2spk"] for found in keys.values())
    assert len(keys["utt2spk"]) == len(NASTY)
    assert all(first.encode() < second.encode() for first, second in pairwise(keys["utt2spk"])), "as LC_ALL=C sorts"
    speakers = [line.split(" ") for line in tables["utt2spk"]]
    assert len({speaker for _, speaker in speakers}) == len(NASTY), "no two become one"
    names = [line.split(" ")[0] for line in (folder / "spk2utt").read_text().split("\n")[:-1]]
    assert names == [speaker for _, speaker in speakers]
    assert names == sorted(names), "sorted by utterance is sorted by speaker"
    for line in tables["wav.scp"]:
        _, path = line.split(" ")
        assert (tmp_path / "x" / "kaldi" / path).resolve().is_relative_to(folder.resolve())
        assert (tmp_path / "x" / "kaldi" / path).read_bytes()[:4] == b"RIFF"


def test_speaker_names_are_plain_and_stay_different() -> None:
    assert speaker_name("t_f_adult_3") == "t_f_adult_3"
    given = [*NASTY, *(speaker_name(name) for name in NASTY)]
    plain = {name: speaker_name(name) for name in given}
    changed_ones = {name: value for name, value in plain.items() if name != value}
    assert len(set(plain.values())) == len(set(given)), "not even a name that looks like another's"
    assert changed_ones
    assert all(len(value) <= 64 and value.replace("_", "").isalnum() and value.isascii() for value in plain.values())


def test_an_export_inside_of_a_run_folder_is_not_part_of_it(tmp_path: Path) -> None:
    build_tones(tmp_path)
    shards = tmp_path / "out" / "shards" / "current"
    before = tree(shards)
    for form in FORMATS:
        export(Request(tmp_path / "out", tmp_path / "out" / "export" / form, form))
    assert tree(shards) == before
