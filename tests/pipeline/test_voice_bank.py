"""`echat ingest voices` with the real engines on people's speech: what each gate says, and what the bank holds."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import tree
from corpora import people, save, table, take_in, voice
from prompts import digits
from typer.testing import CliRunner

from manifests.errors import UserError
from manifests.run import load_run
from manifests.voices import VoiceTable
from pipeline.build import build
from pipeline.cli import app
from pipeline.corpus import split_of
from pipeline.voicebank.choose import voice_name
from pipeline.voicebank.config import BankConfig, changes_of, load_config
from pipeline.voicebank.make import make_bank

# Telephone speech by amateurs, and no clip of another emotion or of a second take.
EASY = {"mos_min": 2.5, "confirm": {"gender": ({"engine": "voice"},), "age": ({"engine": "voice"},)}}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def bank(out: Path, *folders: Path, **changes: Any) -> dict[str, Any]:
    return make_bank(folders, out, BankConfig.model_validate({**EASY, **changes}), "gates.yaml")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people with one prompt each; Theo's is said to be something else than he says."""
    folder = tmp_path_factory.mktemp("digits")
    digits(folder / "src", theo={"text": "Please bring the yellow umbrella"})
    take_in("csv", folder / "src", folder / "fsdd", name="fsdd", licence="CC BY-SA 4.0", consent="gave\nit freely")
    return folder / "fsdd"


@pytest.fixture(scope="module")
def made(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("banks") / "bank"
    return out, bank(out, corpus)


def test_every_gate_counts_in_order_and_alone(made: tuple[Path, dict[str, Any]]) -> None:
    out, report = made
    assert report == json.loads((out / "report.json").read_text())
    gates = report["gates"]
    assert list(gates) == [
        "intact",
        "stated",
        "duration",
        "pace",
        "snr",
        "mos",
        "one_speaker",
        "transcript",
        "gender",
        "age",
    ]
    assert report["off"] == ["emotion"]
    entering = report["clips"]
    for gate in gates.values():
        assert gate["entered"] == entering
        assert gate["passed"] + gate["not_applicable"] + gate["failed"] == entering
        assert gate["failed"] == sum(lost["clips"] for lost in gate["failed_for"].values())
        assert sum(gate["alone"].values()) == 6
        entering -= gate["failed"]
    assert report["through"] == entering == report["prompts"] + report["beyond_per_label"]
    # The speech of Nicolas is noisy, and what Theo says is not what stands there.
    assert gates["mos"]["failed_for"]["opinion score under 2.5"]["first"] == ["fsdd: nicolas.wav"]
    assert gates["transcript"]["alone"]["failed"] >= 1
    assert {"fsdd:lucas", "fsdd:george"} <= set(report["speakers"])
    assert not {"fsdd:theo", "fsdd:nicolas"} & set(report["speakers"])
    only = "voice only knows how this package's own synthesis renders age"
    assert gates["age"]["not_applicable_for"] == {only: report["through"]}
    assert gates["age"]["passed"] == 0


def test_every_prompt_says_what_it_is_and_is_untouched(made: tuple[Path, dict[str, Any]], corpus: Path) -> None:
    out, _ = made
    prompts = {row["speaker"]: row for row in rows(out / "prompts.csv")}
    george = prompts["fsdd:george"]
    assert {key: george[key] for key in ("gender", "age", "emotion", "language", "text", "licence", "consent")} == {
        "gender": "male", "age": "adult", "emotion": "neutral", "language": "en", "text": " ".join(["seven"] * 6),
        "licence": "CC BY-SA 4.0", "consent": "gave it freely",
    }  # fmt: skip
    assert george["confirmed"] == "one_speaker transcript gender"
    assert george["not_confirmed"] == "age: voice only knows how this package's own synthesis renders age"
    assert george["heard_text"] == george["text"]
    assert float(george["snr_db"]) > 20 and float(george["mos"]) > 2.5 and float(george["wer"]) <= 0.3
    for row in prompts.values():
        file = out / row["file"]
        assert file.read_bytes() == (corpus / "audio" / f"{row['sha256']}.flac").read_bytes()
        assert soundfile.info(file).samplerate == int(row["sample_rate"]) == 8000
    assert {path.name for path in (out / "prompts").iterdir()} == {Path(row["file"]).name for row in prompts.values()}


def test_runs_read_the_table(made: tuple[Path, dict[str, Any]]) -> None:
    out, report = made
    table_ = VoiceTable.load("tone", out / "voices.csv")
    assert len(table_.voices) == report["voices"] == len(report["speakers"])
    listed = {row["voice"]: row for row in rows(out / "voices.csv")}
    prompts = {row["file"]: row for row in rows(out / "prompts.csv")}
    for voice_ in table_.voices:
        assert (voice_.role, voice_.language, voice_.licence) == ("query", "en", "CC BY-SA 4.0")
        assert voice_.split == split_of(voice_.speaker, {"train": 0.8, "validation": 0.1, "test": 0.1})
        row = listed[voice_.voice]
        own = prompts[row["prompt"]]
        assert (row["prompt_sha256"], row["prompt_text"]) == (own["sha256"], own["text"])
        assert row["emotions"] == "neutral:1"


def test_a_run_speaks_with_the_voices_of_a_bank(
    made: tuple[Path, dict[str, Any]], tone_yaml: Callable[..., Path], tmp_path: Path
) -> None:
    """With tones in place of a zero-shot speaker, which does not ship."""
    voices = {row["voice"]: row for row in rows(made[0] / "voices.csv")}
    splits = {row["split"] for row in voices.values()}
    plan = {"quotas": {"gender": {"male": 6}}, "splits": {split: 1 / len(splits) for split in splits}}
    file = tone_yaml(plan={**plan, "voices": str(made[0] / "voices.csv"), "contrastive": 0.0})
    result = build(load_run(file), file, tmp_path / "out", quiet=True)
    assert result.findings == []
    assert sum(result.statistics["source"]["synthetic"].values()) == 6
    for shard in result.shards.glob("*.tar"):
        with tarfile.open(shard) as archive:
            for member in archive:
                if member.name.endswith(".json"):
                    document = json.loads(archive.extractfile(member).read())  # type: ignore[union-attr]
                    voice_ = voices[document["turns"][0]["query"]["voice"]]
                    assert voice_["split"] == document["split"]
                    assert voice_["speaker"] == document["turns"][0]["query"]["speaker"]


def test_the_page_plays_by_itself(made: tuple[Path, dict[str, Any]]) -> None:
    import base64

    out, report = made
    page = (out / "listen.html").read_text(encoding="utf-8")
    sounds = re.findall(r'src="data:audio/flac;base64,([^"]+)"', page)
    assert len(sounds) == report["prompts"]
    for sound, row in zip(sounds, rows(out / "prompts.csv"), strict=True):
        assert base64.b64decode(sound) == (out / row["file"]).read_bytes()
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_the_same_corpora_give_the_same_bank_whether_gates_stop_early_or_not(
    made: tuple[Path, dict[str, Any]], corpus: Path, tmp_path: Path
) -> None:
    out, report = made
    again = bank(tmp_path / "again", corpus)
    assert tree(tmp_path / "again") == tree(out)
    first = bank(tmp_path / "first", corpus, alone=False)
    assert rows(tmp_path / "first" / "prompts.csv") == rows(out / "prompts.csv")
    for name, gate in first["gates"].items():
        assert {key: gate[key] for key in gate if key != "alone"} == {
            key: report["gates"][name][key] for key in gate if key != "alone"
        }
    assert again == report


def test_a_language_that_the_recognizer_lacks_is_said(tmp_path: Path) -> None:
    digits(tmp_path / "src", jackson={}, theo={}, nicolas={}, yweweler={}, lucas={"language": "de"})
    take_in("csv", tmp_path / "src", tmp_path / "mine", name="mine")
    report = bank(tmp_path / "bank", tmp_path / "mine")
    assert report["gates"]["transcript"]["not_applicable_for"] == {"pocketsphinx does not know German": 1}
    by_speaker = {row["speaker"]: row for row in rows(tmp_path / "bank" / "prompts.csv")}
    lucas = by_speaker["mine:lucas"]
    assert "transcript: pocketsphinx does not know German" in lucas["not_confirmed"]
    assert "transcript" not in lucas["confirmed"]
    assert "transcript" in by_speaker["mine:george"]["confirmed"]
    assert "pocketsphinx does not know German" in (tmp_path / "bank" / "listen.html").read_text()
    voices = {row["speaker"]: row for row in rows(tmp_path / "bank" / "voices.csv")}
    assert (voices["mine:lucas"]["language"], voices["mine:lucas"]["prompt_language"]) == ("en", "de")
    strict = bank(tmp_path / "strict", tmp_path / "mine", require=("transcript",))
    assert strict["gates"]["transcript"]["failed_for"].keys() == {"required, and pocketsphinx does not know German"}
    assert list(strict["speakers"]) == ["mine:george"]


def test_what_a_voice_must_have_is_asked_for(tmp_path: Path) -> None:
    changes = {
        "jackson": {"gender": ""}, "theo": {"age": ""}, "nicolas": {"emotion": "boredom"}, "yweweler": {"text": ""},
        "lucas": {"event": "cough"},
    }  # fmt: skip
    digits(tmp_path / "src", **changes)
    take_in("csv", tmp_path / "src", tmp_path / "mine", name="mine")
    report = bank(tmp_path / "bank", tmp_path / "mine")
    assert {reason: lost["first"] for reason, lost in report["gates"]["stated"]["failed_for"].items()} == {
        "its corpus does not state its speaker's gender": ["mine: jackson.wav"],
        "its corpus does not state its speaker's age (--age does for all)": ["mine: theo.wav"],
        "its emotion 'boredom' is none of our labels": ["mine: nicolas.wav"],
        "it has no transcript": ["mine: yweweler.wav"],
        "it holds a sound event": ["mine: lucas.wav"],
    }
    stated = bank(tmp_path / "stated", tmp_path / "mine", age="adult", wer_max=None, mismatch_max=1)
    assert {row["age"] for row in rows(tmp_path / "stated" / "voices.csv")} == {"adult"}
    assert "mine:theo" in stated["speakers"]


def test_a_text_that_cannot_be_said_in_the_time_fails_in_any_language(tmp_path: Path) -> None:
    changes = {
        "lucas": {"language": "de", "text": "Das schwarze Stück Papier befindet sich da oben. " * 5},
        "theo": {"language": "zh", "text": "二" * 40},
        "yweweler": {"language": "zh", "text": "二" * 20},
    }
    digits(tmp_path / "src", jackson={}, nicolas={}, george={}, **changes)
    take_in("csv", tmp_path / "src", tmp_path / "mine", name="mine")
    report = bank(tmp_path / "bank", tmp_path / "mine")
    (lost,) = report["gates"]["pace"]["failed_for"].values()
    assert lost == {"clips": 2, "first": ["mine: lucas.wav", "mine: theo.wav"]}
    assert list(report["speakers"]) == ["mine:yweweler"]
    assert report["gates"]["transcript"]["not_applicable_for"] == {"pocketsphinx does not know Mandarin": 1}


def test_the_best_of_a_speaker_and_emotion_are_kept(tmp_path: Path) -> None:
    """Two takes of George, one with noise that lowers its score, both within the gates."""
    source = digits(tmp_path / "src", jackson={}, theo={}, nicolas={}, yweweler={}, lucas={})
    clean, rate = soundfile.read(source / "george.wav", dtype="int16")
    noise = np.random.default_rng(3).normal(0, 40, len(clean))
    save(source / "noisy.wav", np.round(clean + noise).astype(np.int16), rate)
    (row,) = rows(source / "labels.csv")
    table(source / "labels.csv", [{**row, "file": "noisy.wav"}, row])
    take_in("csv", source, tmp_path / "mine", name="mine")
    loose = {"mos_min": 1.0, "snr_db_min": None, "wer_max": None, "one_speaker_min": None, "confirm": {}}
    both = bank(tmp_path / "both", tmp_path / "mine", per_label=2, **loose)
    one = bank(tmp_path / "one", tmp_path / "mine", per_label=1, **loose)
    best, second = rows(tmp_path / "both" / "prompts.csv")
    assert float(best["mos"]) > float(second["mos"])
    assert best["source_file"] == "george.wav"
    assert [row["sha256"] for row in rows(tmp_path / "one" / "prompts.csv")] == [best["sha256"]]
    assert (both["beyond_per_label"], one["beyond_per_label"]) == (0, 1)
    assert one["off"] == ["snr", "one_speaker", "transcript", "gender", "age", "emotion"]


def test_damaged_files_and_recordings_of_two_corpora_fail_and_no_other_does(corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus, tmp_path / "one")
    files = {row["source_file"]: tmp_path / "one" / row["file"] for row in rows(corpus / "labels.csv")}
    files["lucas.wav"].write_bytes(files["george.wav"].read_bytes())
    files["jackson.wav"].unlink()
    files["yweweler.wav"].write_bytes(b"")
    shutil.copytree(corpus, tmp_path / "two")
    about = tmp_path / "two" / "corpus.yaml"
    about.write_text(about.read_text().replace("name: fsdd", "name: other"))
    report = bank(tmp_path / "bank", tmp_path / "one", tmp_path / "two")
    assert {reason: lost["clips"] for reason, lost in report["gates"]["intact"]["failed_for"].items()} == {
        "its file is not the one that was ingested": 1,
        "its file is missing or cannot be read": 2,
        "the same recording is in a corpus named before": 3,
    }
    assert "other:lucas" in report["speakers"] and "fsdd:george" in report["speakers"]
    assert not {"fsdd:lucas", "other:george"} & set(report["speakers"])


def test_hostile_names_and_words_are_text(tmp_path: Path) -> None:
    odd = "../..\\<img src=x onerror=alert(1)>'\""
    words = "seven seven seven seven seven seven </td><script>alert(1)</script>\u2028"
    digits(tmp_path / "src", george={"speaker": odd, "text": words}, lucas={"speaker": "A-1"}, theo={"speaker": "a 1"})
    take_in("csv", tmp_path / "src", tmp_path / "mine", name="mine", consent='yes <b>"all"</b>\n=1+1', language="en")
    report = bank(tmp_path / "bank", tmp_path / "mine", wer_max=None)
    page = (tmp_path / "bank" / "listen.html").read_text()
    assert "<script" not in page and "<img" not in page and "<b>" not in page
    assert "&lt;script&gt;" in page
    assert {path.parent for path in (tmp_path / "bank").rglob("*.flac")} == {tmp_path / "bank" / "prompts"}
    names = [voice_.voice for voice_ in VoiceTable.load("tone", tmp_path / "bank" / "voices.csv").voices]
    assert len(set(names)) == report["voices"] and all(re.fullmatch(r"[a-z0-9-]{1,60}", name) for name in names)
    assert voice_name("mine", "A-1") != voice_name("mine", "a 1") != voice_name("mine-a", "1")


def test_nothing_is_written_where_no_clip_passes(tmp_path: Path) -> None:
    take_in("csv", people(tmp_path / "src", 2), tmp_path / "mine")
    with pytest.raises(UserError, match=r"no clip passes all gates: shorter than 3 s \(16\)"):
        bank(tmp_path / "bank", tmp_path / "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "src"]


def test_wrong_folders_are_refused(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    save(tmp_path / "plain" / "a.wav", voice(1))
    table(tmp_path / "plain" / "labels.csv", [{"file": "a.wav"}])
    for folders, out, said in (
        ([tmp_path / "absent"], "bank", "is not a folder"),
        ([tmp_path / "plain"], "bank", "is no folder that echat ingest has made"),
        ([corpus, corpus], "bank", "another corpus is called fsdd too"),
        ([corpus], "full", "is there already"),
    ):
        with pytest.raises(UserError, match=said):
            bank(tmp_path / out, *folders)
    with pytest.raises(UserError, match="is inside of"):
        bank(corpus / "bank", corpus)
    assert not (tmp_path / "bank").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("snr: 3", "snr: is not a key"),
        ("seconds: [5, 2]", "smaller number first"),
        ("confirm: {mood: {engine: voice}}", "confirm names 'mood'"),
        ("confirm: {gender: {engine: ears}}", "'ears' is not a annotator.gender engine"),
        ("require: [snr_db]", "require names 'snr_db'"),
        ("retrain: [event]", "retrain names 'event'"),
        ("retrain: [gender]\nconfirm: {gender: {engine: f0_formants}}", "no annotator of gender can be trained"),
        ("splits: {train: 0.5}", "sum to 1"),
        ("mos_min: .nan", "is not a number"),
        ("age: ancient", "use one of child, adult, old"),
        ("[1, 2]", "is a mapping"),
    ],
)
def test_gates_that_make_no_sense_are_refused(corpus: Path, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "gates.yaml").write_text(text)
    with pytest.raises(UserError, match=re.escape(said)) as refused:
        make_bank([corpus], tmp_path / "bank", load_config(tmp_path / "gates.yaml", {}), tmp_path / "gates.yaml")
    assert "gates.yaml" in str(refused.value)


def test_options_change_the_file(tmp_path: Path) -> None:
    (tmp_path / "gates.yaml").write_text("mos_min: 3.5\nsnr_db_min: 15\nconfirm: {gender: {engine: voice}}\n")
    stated = {"seconds": "2,8", "snr_db_min": 30.0, "require": "mos, gender", "age": None, "retrain": ""}
    config = load_config(tmp_path / "gates.yaml", changes_of(stated, "transcript"))
    assert (config.mos_min, config.snr_db_min, config.seconds, config.wer_max) == (3.5, 30.0, (2.0, 8.0), None)
    assert config.gates == ("intact", "stated", "duration", "pace", "snr", "mos", "one_speaker", "gender")
    assert config.require == ("mos", "gender")
    assert load_config(None, changes_of({}, "emotion,gender")).gates[-1] == "age"
    for wrong in (({"seconds": "3"}, ""), ({}, "intact"), ({}, "snrr")):
        with pytest.raises(UserError, match=r"--seconds|--off"):
            changes_of(*wrong)


def test_the_command(corpus: Path, tmp_path: Path) -> None:
    args = ["ingest", "voices", str(corpus), "--out", str(tmp_path / "bank"), "--mos", "2.5", "--off", "emotion"]
    done = CliRunner().invoke(app, [*args, "--first"])
    assert done.exit_code == 0, done.output
    assert "6 clips passed all gates" in done.stdout
    assert "voice only knows how this package's own synthesis renders age" in done.stdout
    again = CliRunner().invoke(app, args)
    assert again.exit_code == 2
    assert again.stderr.count("\n") == 1 and "is there already" in again.stderr
    shutil.rmtree(tmp_path / "bank")
    told = CliRunner().invoke(app, [*args, "--json"])
    assert json.loads(io.StringIO(told.stdout).read())["clips"] == 6
