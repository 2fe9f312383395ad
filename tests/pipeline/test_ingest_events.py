"""`echat ingest events` on folders in the known layouts, and on broken ones."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import tree
from typer.testing import CliRunner

from manifests.errors import UserError
from manifests.labels import SPLITS
from pipeline.ingest.events import ingest_events, split_of
from synthesis.event_bank import EventBank

RATE = 44100


def sound(seed: int, seconds: float = 0.6, silence: float = 0.5, channels: int = 1) -> np.ndarray:
    """Noise with silence before and after it, (num_samples, channels)."""
    noise = 0.2 * np.random.default_rng(seed).standard_normal((int(seconds * RATE), channels))
    edge = np.zeros((int(silence * RATE), channels))
    return np.concatenate([edge, noise, edge])


def esc50(folder: Path, rows: list[tuple[str, str, str]]) -> Path:
    """A folder as ESC-50 has it, of (filename, category, src_file) rows."""
    (folder / "audio").mkdir(parents=True)
    (folder / "meta").mkdir()
    with (folder / "meta" / "esc50.csv").open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
        for number, (name, category, source) in enumerate(rows):
            writer.writerow([name, 1, 0, category, "False", source, "A"])
            soundfile.write(folder / "audio" / name, sound(number, channels=1 + number % 2), RATE)
    return folder


def reasons(report: dict) -> dict[str, int]:
    return {reason: row["files"] for reason, row in report["rejected"].items()}


def test_esc50_style_folder(tmp_path: Path) -> None:
    rows = [(f"{n}.wav", ("laughing", "sneezing", "coughing")[n % 3], f"src{n // 2}") for n in range(12)]
    source = esc50(tmp_path / "esc", [*rows, ("dog.wav", "dog", "x"), ("baby.wav", "crying_baby", "y")])
    out = tmp_path / "bank"
    report = ingest_events(source, out, "CC BY-NC 3.0", "ESC-50", "asked by the test")
    assert report["recordings"] == 12
    assert sum(sum(counts.values()) for counts in report["kept"].values()) == 12
    assert reasons(report) == {"'crying_baby' is not one of the events": 1, "'dog' is not one of the events": 1}
    assert json.loads((out / "report.json").read_text()) == report
    bank = EventBank.load(out)
    assert bank.labels == {"laugh", "sneeze", "cough"}
    assert bank.licences == ("CC BY-NC 3.0",)
    homes: dict[str, set[str]] = {}
    for row in bank.recordings:
        homes.setdefault(row.origin, set()).add(row.split)
        info = soundfile.info(out / row.file)
        assert (info.samplerate, info.channels, info.format) == (24000, 1, "FLAC")
        assert info.duration == pytest.approx(0.6, abs=0.05)  # the silence is gone
    assert len(homes) == 6
    assert all(len(splits) == 1 for splits in homes.values())


def test_vocalsound_style_names_keep_speakers_apart(tmp_path: Path) -> None:
    source = tmp_path / "vs"
    source.mkdir()
    for speaker in range(40):
        for event in ("laughter", "throatclearing", "sniff"):
            name = f"{'fm'[speaker % 2]}{speaker:04}_0_{event}.wav"
            soundfile.write(source / name, sound(hash_of(name), 0.2, 0.0)[::3], RATE // 3)
    report = ingest_events(source, tmp_path / "bank", "CC BY-SA 4.0", "", "asked by the test")
    assert report["recordings"] == 80
    assert reasons(report) == {"'sniff' is not one of the events": 40}
    bank = EventBank.load(tmp_path / "bank")
    assert {row.split for row in bank.recordings} == set(SPLITS)
    speakers = [{row.origin for row in bank.recordings if row.split == split} for split in SPLITS]
    assert not speakers[0] & speakers[1]
    assert not speakers[0] & speakers[2]
    assert not speakers[1] & speakers[2]
    assert all(row.gender == ("female" if row.origin[0] == "f" else "male") for row in bank.recordings)


def hash_of(name: str) -> int:
    return sum(ord(letter) * 31**place for place, letter in enumerate(name)) % 2**32


def test_folder_of_each_event(tmp_path: Path) -> None:
    for number, label in enumerate(("Laughter", "sigh", "music")):
        (tmp_path / "in" / label).mkdir(parents=True)
        soundfile.write(tmp_path / "in" / label / "a.flac", sound(number), RATE)
    report = ingest_events(tmp_path / "in", tmp_path / "bank", "CC0-1.0", "mine", "asked by the test")
    assert sorted(report["kept"]) == ["laugh", "sigh"]
    assert reasons(report) == {"'music' is not one of the events": 1}


def test_broken_files_are_counted_by_reason(tmp_path: Path) -> None:
    source = tmp_path / "in" / "cough"
    source.mkdir(parents=True)
    soundfile.write(source / "good.wav", sound(0), RATE)
    soundfile.write(source / "again.wav", sound(0), RATE)
    soundfile.write(source / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(source / "short.wav", sound(1, 0.04), RATE)
    soundfile.write(source / "long.wav", sound(2, 9.0), RATE)
    soundfile.write(source / "clipped.wav", np.clip(20 * sound(3), -1, 1), RATE)
    soundfile.write(source / "slow.wav", sound(4), 4000)
    soundfile.write(source / "empty.wav", np.zeros(0), RATE)
    soundfile.write(source / "nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    (source / "text.wav").write_text("no audio")
    (source / "notes.txt").write_text("not looked at")
    soundfile.write(tmp_path / "in" / "loose.wav", sound(5), RATE)
    report = ingest_events(tmp_path / "in", tmp_path / "bank", "CC0-1.0", "mine", "asked by the test")
    assert report["recordings"] == 1
    assert reasons(report) == {
        "it is clipped": 1,
        "it is longer than an event can be": 1,
        "it is shorter than an event can be": 1,
        "it is silent": 1,
        "nothing says which event it is": 1,
        "the file cannot be read as audio": 1,
        "the file has no samples": 1,
        "the file has samples that are NaN or infinite": 1,
        "the same sound as another file": 1,
        "the sample rate is under 8 kHz": 1,
    }


def test_same_recordings_same_bytes(tmp_path: Path) -> None:
    source = esc50(tmp_path / "esc", [(f"{n}.wav", "sneezing", str(n)) for n in range(3)])
    for name in ("one", "two"):
        ingest_events(source, tmp_path / name, "CC0-1.0", "mine", "asked by the test")
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_names_that_lead_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    source = esc50(tmp_path / "esc", [("a.wav", "sneezing", "1"), ("b.wav", "sneezing", "2")])
    soundfile.write(tmp_path / "secret.wav", sound(9), RATE)
    table = source / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace("b.wav", "../secret.wav"))
    report = ingest_events(source, tmp_path / "bank", "CC0-1.0", "mine", "asked by the test")
    assert report["recordings"] == 1
    assert reasons(report) == {"the file is missing": 1}


def test_wrong_input_leaves_nothing_behind(tmp_path: Path) -> None:
    source = esc50(tmp_path / "esc", [("a.wav", "dog", "1")])
    out = tmp_path / "bank"
    for wrong, said in (
        ((tmp_path / "absent", out, "CC0-1.0"), "is not a folder"),
        ((source, out, " "), "--licence is empty"),
        ((source, out, "CC0-1.0"), "none of 1 recordings can be used: 'dog' is not one of the events"),
        ((source, source / "bank", "CC0-1.0"), "is inside of"),
        ((source, source, "CC0-1.0"), "is there already"),
    ):
        with pytest.raises(UserError, match=said):
            ingest_events(*wrong, "mine", "asked by the test")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["esc"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no recordings"):
        ingest_events(tmp_path / "empty", out, "CC0-1.0", "mine", "asked by the test")


def test_every_split_gets_its_share() -> None:
    shares = [sum(split_of(f"speaker {n}") == split for n in range(2000)) / 2000 for split in SPLITS]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.03)


def test_command_says_what_was_kept_and_refuses_in_one_sentence(tmp_path: Path) -> None:
    from pipeline.cli_ingest import app

    source = esc50(tmp_path / "esc", [("a.wav", "sneezing", "1"), ("b.wav", "dog", "2")])
    run = CliRunner().invoke
    done = run(
        app,
        ["events", str(source), "--out", str(tmp_path / "bank"), "--licence", "CC0-1.0", "--consent", "yes", "--json"],
    )
    assert done.exit_code == 0
    assert json.loads(done.stdout)["recordings"] == 1
    again = run(
        app, ["events", str(source), "--out", str(tmp_path / "bank"), "--licence", "CC0-1.0", "--consent", "yes"]
    )
    assert again.exit_code == 2
    assert again.stderr.count("\n") == 1
    assert "is there already" in again.stderr
    bare = ["events", str(source), "--out", str(tmp_path / "other")]
    assert run(app, [*bare, "--consent", "yes"]).exit_code == run(app, [*bare, "--licence", "CC0-1.0"]).exit_code == 2
    with pytest.raises(UserError, match="--consent is empty"):
        ingest_events(source, tmp_path / "other", "CC0-1.0", "mine", " ")
