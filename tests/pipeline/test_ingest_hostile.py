"""Sources that are wrong on purpose: a sentence, or a row that is counted with its reason; the good rows are kept."""

from __future__ import annotations

import gzip
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import soundfile
from corpora import RATE, kept, reasons, save, table, take_in, voice
from typer.testing import CliRunner

from manifests.errors import UserError
from pipeline.cli import app

GOOD = {"speaker": "a", "text": "Hello.", "language": "en"}


def source(folder: Path, text: bytes, name: str = "labels.csv") -> Path:
    """A folder with one good recording and a table of these bytes."""
    save(folder / "good.wav", voice(1))
    (folder / name).write_bytes(text)
    return folder


def test_headers_that_lie_and_files_that_are_none(tmp_path: Path) -> None:
    folder = tmp_path / "src"
    data = bytearray(save(folder / "good.wav", voice(1)).read_bytes())
    other = bytearray(save(folder / "promises.wav", voice(2)).read_bytes())
    other[40:44] = struct.pack("<I", 0x7FFFFFFF)  # two gigabytes of samples, it says
    (folder / "promises.wav").write_bytes(other)
    for name, at, form, value in (
        ("fast.wav", 24, "<I", 0xFFFFFFFF), ("still.wav", 24, "<I", 0), ("choir.wav", 22, "<H", 60000),
    ):  # fmt: skip
        lie = bytearray(data)
        struct.pack_into(form, lie, at, value)
        (folder / name).write_bytes(lie)
    (folder / "cut.wav").write_bytes(data[:60])
    (folder / "empty.wav").touch()
    flac = save(folder / "broken.flac", voice(3)).read_bytes()
    (folder / "broken.flac").write_bytes(flac[: len(flac) // 2] + bytes(len(flac) // 2))
    save(folder / "flac.flac", voice(4))
    (folder / "flac.flac").rename(folder / "wrong_suffix.wav")
    save(folder / "odd_rate.wav", voice(5, rate=88201), 88201)
    save(folder / "high_rate.wav", voice(6, 0.3, 400000), 400000)
    os.mkfifo(folder / "pipe.wav")
    (folder / "folder.wav").mkdir()
    files = sorted(path.name for path in folder.iterdir())
    table(folder / "labels.csv", [{**GOOD, "file": file} for file in files])
    report = take_in("csv", folder, tmp_path / "out")
    assert reasons(report) == {
        "the file cannot be read as audio": 5,
        "it is shorter than 0.2 s": 1,
        "the sample rate is above 192000 Hz": 1,
        "FLAC knows no such sample rate (--rate resamples)": 1,
        "the file is missing": 2,
    }
    rows = kept(tmp_path / "out")
    assert set(rows) == {"good.wav", "promises.wav", "wrong_suffix.wav"}
    assert float(rows["promises.wav"]["seconds"]) == pytest.approx(0.6, abs=0.01), "what is there, not what is said"
    report = take_in("csv", folder, tmp_path / "resampled", rate=16000)
    assert {"odd_rate.wav"} < set(kept(tmp_path / "resampled"))


def test_a_table_as_spreadsheets_write_it(tmp_path: Path) -> None:
    text = (
        '\ufefffile , speaker,text,language,emotion\r\ngood.wav,"a, the ""first""","Hello,\r\nyou.",en, <HAPPINESS>\r\n'
    )
    take_in("csv", source(tmp_path / "src", text.encode()), tmp_path / "out")
    (row,) = kept(tmp_path / "out").values()
    assert (row["speaker"], row["text"], row["emotion"]) == ('a, the "first"', "Hello, you.", "happy")
    assert row["original_emotion"] == "<HAPPINESS>"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"file;speaker\ngood.wav;a\n", "has no column file.* it has file;speaker"),
        (b"file,speaker,emotion,emotion\ngood.wav,a,sad,happy\n", "column 'emotion' stands twice"),
        ("file,speaker,text\ngood.wav,a,Grüße\n".encode("latin-1"), r"labels.csv: is not UTF-8 \(byte \d+\)"),
        ("file,speaker\ngood.wav,a\n".encode("utf-16"), "is not UTF-8"),
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"file,speaker,text\n", "lists no recording"),
        (b'file,speaker,text\ngood.wav,a,"' + b"x" * 1_000_001 + b'"\n', "is not a table of separated values"),
        (b"file,speaker,text\ngood.wav,a,Hello, you\n", "more cells than the table has columns"),
        (b"\x00\x01\x02", "lists no recording"),
    ],
)
def test_tables_that_are_none_are_refused_in_a_sentence(tmp_path: Path, text: bytes, said: str) -> None:
    folder = source(tmp_path / "src", text)
    with pytest.raises(UserError, match=said):
        take_in("csv", folder, tmp_path / "out", language="en")
    args = ["ingest", "csv", str(folder), "--out", str(tmp_path / "out"), "--licence", "CC0", "--consent", "yes"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["src"]


def test_bad_rows_do_not_take_good_ones_along(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {**GOOD, "file": "good.wav", "emotion": "hapy"},
        {**GOOD, "file": "good.wav"},
        {**GOOD, "file": "\ud800.wav"},
        {**GOOD, "file": "x" * 5000 + ".wav"},
        {**GOOD, "file": "a\x00b.wav"},
        {**GOOD, "file": "good.wav", "text": "x" * 2001},
        {**GOOD, "file": "good.wav", "emotion": "x" * 900_000},
        {**GOOD, "file": "good.wav", "split": "y" * 900_000},
        {**GOOD, "file": "good.wav", "speaker": "\ud800\u200b"},
        {**GOOD, "file": "good.wav", "start": "nan", "end": 1e300},
        {**GOOD, "file": "good.wav", "start": 0.5, "end": 0.1},
        {**GOOD, "file": ["good.wav"]},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows) + "[" * 100_000 + '\n{"file": 1e999\n'
    report = take_in("csv", source(tmp_path / "src", lines.encode(), "labels.jsonl"), tmp_path / "out")
    assert report["recordings"] == 1
    assert report["unmapped"] == {"emotion": {"hapy": 1}}
    said = reasons(report)
    long_split = said.pop(next(reason for reason in said if reason.startswith("its split")))
    assert long_split == 1
    assert said == {
        "the same sound as another recording": 1,
        "its start is no number of seconds": 1,
        "the file is missing": 2,
        "it names no file": 2,
        "its text is longer than 2000 characters": 1,
        "its speaker or a label is longer than 200 characters": 1,
        "nobody is named as its speaker": 1,
        "it is shorter than 0.2 s": 1,
        "the row is no JSON object": 2,
    }
    assert len(json.dumps(report)) < 10_000


def test_names_that_no_text_can_hold(tmp_path: Path) -> None:
    folder = tmp_path / "src"
    save(folder / "03a01Fa.wav", voice(1))
    with open(os.fsencode(folder) + b"/\xff\xfe.wav", "wb") as file:
        file.write(b"no audio")
    save(folder / "line\nbreak.wav", voice(2))
    report = take_in("emodb", folder, tmp_path / "out")
    assert reasons(report) == {"its name is not one of the corpus": 2}
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report


def test_columns_that_are_not_read_are_told(tmp_path: Path) -> None:
    folder = source(tmp_path / "src", b"file,speaker,text,emotions\ngood.wav,a,Hello.,sad\n")
    report = take_in("csv", folder, tmp_path / "out", language="en")
    assert report["unread_columns"] == ["emotions"]
    args = ["ingest", "csv", str(folder), "--out", str(tmp_path / "two"), "--licence", "CC0", "--consent", "yes"]
    assert "columns that are not read: emotions" in CliRunner().invoke(app, [*args, "--language", "en"]).stdout


def test_a_text_that_cannot_be_said_in_the_time_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "src"
    texts = {"a": "Too many words for six tenths", "b": "Short enough.", "c": "四个字"}
    for seed, name in enumerate(texts):
        save(folder / f"{name}.wav", voice(seed))
    table(folder / "labels.csv", [{**GOOD, "file": f"{name}.wav", "text": text} for name, text in texts.items()])
    report = take_in("csv", folder, tmp_path / "out")
    assert (report["recordings"], report["more_text_than_time"]) == (3, 1)


def test_links_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    folder = source(tmp_path / "src", b"file,speaker,text,language\ngood.wav,a,Hi.,en\nout/secret.wav,a,Hi.,en\n")
    save(tmp_path / "away" / "secret.wav", voice(7))
    (folder / "out").symlink_to(tmp_path / "away")
    (folder / "loop").symlink_to(folder)
    report = take_in("csv", folder, tmp_path / "out")
    assert reasons(report) == {"its path is a link that leads out of the folder": 1}
    save(folder / "03a01Fa.wav", voice(8))
    (folder / "03a01Wa.wav").symlink_to(tmp_path / "away" / "secret.wav")
    report = take_in("emodb", folder, tmp_path / "emodb")
    assert reasons(report)["its path is a link that leads out of the folder"] == 1


def test_a_damaged_archive_is_a_sentence(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b'{"id": "r"}\n' * 500))
    for damage in (lambda data: data[:-9], lambda data: data[:20] + bytes([data[20] ^ 255]) + data[21:]):
        folder = tmp_path / "src"
        folder.mkdir(exist_ok=True)
        (folder / "x_recordings.jsonl.gz").write_bytes(damage(bytes(packed)))
        (folder / "x_supervisions.jsonl").write_text("{}\n")
        with pytest.raises(UserError, match=r"x_recordings.jsonl.gz: cannot be read"):
            take_in("lhotse", folder, tmp_path / "out")


def test_events_refuse_a_broken_table_in_a_sentence(tmp_path: Path) -> None:
    from pipeline.ingest.events import ingest_events

    save(tmp_path / "src" / "audio" / "a.wav", voice(1), RATE)
    (tmp_path / "src" / "meta").mkdir()
    text = b"filename,category,src_file\n" + b"a.wav,sneezing,1\n" * 9000 + b"b\xff.wav,sneezing,2\n"
    (tmp_path / "src" / "meta" / "esc50.csv").write_bytes(text)
    with pytest.raises(UserError, match="is not UTF-8"):
        ingest_events(tmp_path / "src", tmp_path / "out", "CC0", "mine", "yes")
    assert soundfile.info(tmp_path / "src" / "audio" / "a.wav").samplerate == RATE
    assert not (tmp_path / "out").exists()
