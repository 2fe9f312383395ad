"""`echat calibrate annotators`: scores of known annotators, enrolment, left-out speakers, refusals, bad corpora."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import hearing
import matplotlib.image
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

from annotators.clip import Clip
from annotators.fingerprint import SKETCH, audio_hash, fingerprint, same_name, trained_on
from manifests.errors import UserError
from manifests.labels import EMOTIONS
from pipeline import registry
from pipeline.calibrate import Request, calibrate
from pipeline.cli import app
from pipeline.corpus import read_clip, read_corpus
from pipeline.enrol import audit, enrol
from pipeline.retrain import Loso

FSDD = Path(__file__).parents[1] / "data" / "fsdd"
RATE = 16000
SIX = tuple(emotion for emotion in EMOTIONS if emotion != "surprise")

Entry = dict[str, str]


@pytest.fixture(autouse=True)
def engines(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {role: dict(names) for role, names in registry._ENGINES.items()}
    monkeypatch.setattr(registry, "_ENGINES", known)
    for name in ("perfect", "chance", "relative"):
        registry.register("annotator.emotion", name, f"hearing:{name.capitalize()}Config")
    monkeypatch.setattr(hearing.RelativeConfig, "fitted_on", [])


def write(folder: Path, entries: list[tuple[Entry, np.ndarray]], suffix: str = "flac") -> Path:
    """A corpus of clips at 16 kHz."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (labels, samples) in enumerate(entries):
        # Integers, as converters keep them: written from floats, FLAC and WAV differ in the last bit.
        soundfile.write(folder / f"{number:03}.{suffix}", np.round(samples * 32767).astype(np.int16), RATE)
        rows.append({"file": f"{number:03}.{suffix}", **labels})
    table(folder, rows)
    return folder


def table(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def beep(hertz: float, seconds: float = 0.1, level: float = 0.3) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)


def vowel(hertz: float, level: float = 0.3) -> np.ndarray:
    """A buzz of 0.3 s whose pitch can be tracked."""
    time = np.arange(int(0.3 * RATE)) / RATE
    return level * sum(np.sin(2 * np.pi * hertz * n * time) / n for n in range(1, 12)) / 2


def beeps(each: int, emotions: tuple[str, ...] = SIX) -> list[tuple[Entry, np.ndarray]]:
    """Clips of two speakers, all of different loudness."""
    return [
        ({"speaker": f"s{turn % 2}", "emotion": emotion}, beep(hearing.PITCHES[emotion], level=0.1 + 0.01 * turn))
        for turn in range(each)
        for emotion in emotions
    ]


def two_voices(each: int = 4) -> list[tuple[Entry, np.ndarray]]:
    """A low and a high speaker, each happy 4 semitones above and sad 4 below their own pitch."""
    return [
        ({"speaker": speaker, "emotion": emotion}, vowel(base * 2 ** (tones / 12), 0.2 + 0.02 * turn))
        for speaker, base in (("low", 110.0), ("high", 240.0))
        for emotion, tones in (("happy", 4), ("sad", -4))
        for turn in range(each)
    ]


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["calibrate", "annotators", *map(str, arguments)])


def scores(folder: Path, annotators: str, **more: Any) -> dict[str, Any]:
    return calibrate(Request(folder, annotators=annotators, **more))[0]


def test_who_is_always_right_scores_one_and_who_guesses_scores_chance(tmp_path: Path):
    found = scores(write(tmp_path / "beeps", beeps(40)), "emotion=perfect,emotion=chance")
    right, guessed = found["emotion"], found["emotion_2"]
    assert (right["clips"], right["uar"], right["accuracy"], right["ece"]) == (240, 1.0, 1.0, 0.0)
    assert right["confusion"]["angry"] == {**dict.fromkeys(EMOTIONS, 0), "angry": 40}
    assert guessed["uar"] == pytest.approx(1 / 7, abs=0.08)
    assert guessed["uar_shared"] >= guessed["uar"]  # it may say surprise, which never occurs
    assert guessed["ece"] == pytest.approx(0.65 - guessed["accuracy"], abs=0.06)
    assert guessed["chance"] == pytest.approx(1 / 6, abs=1e-4)
    assert sum(one["clips"] for one in guessed["reliability"]) == 240


def test_scores_are_those_of_a_small_confusion_by_hand(tmp_path: Path):
    wrong = [({"speaker": "s", "emotion": "sad"}, beep(hearing.PITCHES["fear"]))]
    true = [({"speaker": "s", "emotion": "sad"}, beep(hearing.PITCHES["sad"], level=0.1 * n)) for n in (1, 2, 3)]
    other = [({"speaker": "s", "emotion": "happy"}, beep(hearing.PITCHES["happy"]))]
    found = scores(write(tmp_path / "hand", [*wrong, *true, *other]), "emotion=perfect")["emotion"]
    assert found["recall"] == {"happy": 1.0, "sad": 0.75}
    assert (found["accuracy"], found["uar"], found["uar_shared"], found["ece"]) == (0.8, 0.875, 0.875, 0.2)
    assert found["confusion"]["sad"]["fear"] == 1
    assert found["by_speaker"] == {"s": 0.8}


def test_enrolment_is_what_tells_high_from_low_voices(tmp_path: Path):
    folder = write(tmp_path / "voices", two_voices())
    with_, without = (scores(folder, "emotion=relative", enrol=number) for number in (4, 0))
    assert with_["emotion"]["uar"] == 1.0
    assert without["emotion"]["uar"] == 0.5
    assert (with_["emotion"]["clips"], without["emotion"]["clips"]) == (8, 16)
    assert with_["enrolment"]["clips"] == 8
    assert "4 clips a speaker" in with_["enrolment"]["protocol"]
    assert without["enrolment"]["protocol"].startswith("no enrolment")
    assert without["enrolment"]["scored_without_reference"] == 16


def test_enrolment_is_spread_over_emotions_seeded_and_at_most_half(tmp_path: Path):
    unknown = [({"speaker": "s0", "emotion": "boredom"}, beep(99, level=0.01 * n)) for n in range(1, 9)]
    corpus = read_corpus(write(tmp_path / "beeps", [*beeps(8), *unknown]))
    seen = audit(corpus)
    drawn = {seed: enrol(corpus, seen.clips, 12, seed).clips for seed in (0, 0, 1)}
    assert [clip.labels["emotion"] for clip in drawn[0]["s0"]] == 2 * sorted(SIX)
    assert drawn[0] == enrol(corpus, seen.clips, 12, 0).clips != drawn[1]
    assert len(enrol(corpus, seen.clips, 1000, 0).clips["s1"]) == 12


def test_a_speaker_of_few_clips_has_no_reference_and_is_scored(tmp_path: Path):
    few = [({"speaker": "few", "emotion": "sad"}, vowel(90 + n)) for n in range(4)]
    found = scores(write(tmp_path / "voices", [*two_voices(), *few]), "emotion=relative", enrol=4)
    assert found["enrolment"]["speakers"] == 2
    assert found["enrolment"]["scored_without_reference"] == 4
    assert found["emotion"]["clips"] == 12


def test_retraining_leaves_out_the_speaker_that_is_scored(tmp_path: Path):
    folder = write(tmp_path / "voices", two_voices())
    found = scores(folder, "emotion=relative", enrol=0, retrain=True)
    assert hearing.RelativeConfig.fitted_on == [(frozenset({"low"}), 8), (frozenset({"high"}), 8)]
    # The middle of the low voice calls all of the high one happy, and the other way round.
    assert found["emotion"]["confusion"] == {
        "happy": {**dict.fromkeys(EMOTIONS, 0), "happy": 4, "sad": 4},
        "sad": {**dict.fromkeys(EMOTIONS, 0), "happy": 4, "sad": 4},
    }
    assert found["emotion"]["trained"] == "leave one speaker out"


def test_retrained_heads_hear_references_and_keep_no_sound(tmp_path: Path):
    corpus = read_corpus(write(tmp_path / "voices", two_voices()))
    seen = audit(corpus)
    enrolment = enrol(corpus, seen.clips, 4, 0)
    loso = Loso(corpus, seen.clips, {"emotion": hearing.RelativeConfig(family="emotion")}, enrolment)
    assert {clip.reference.source for _, clip in loso._clips if clip.reference} == {"enrolment"}
    assert max(len(clip.audio) for _, clip in loso._clips) <= RATE // 100
    entry, kept = loso._clips[0]
    assert kept.cues == pytest.approx(Clip(*read_clip(entry)).cues, nan_ok=True)


@pytest.mark.parametrize("what", ["one speaker", "no speaker", "nothing to train", "one label"])
def test_retraining_that_cannot_be_is_refused(tmp_path: Path, what: str):
    entries = two_voices(2)
    if what == "one label":
        entries = [entry for entry in entries if entry[0]["speaker"] == "low" or entry[0]["emotion"] == "sad"]
    if what in ("one speaker", "no speaker"):
        entries = [({**labels, "speaker": "x" if what == "one speaker" else ""}, wave) for labels, wave in entries]
    folder = write(tmp_path / "voices", entries)
    engine = "perfect" if what == "nothing to train" else "relative"
    result = run(folder, "--annotators", f"emotion={engine}", "--retrain", "loso", "--enrol", 0)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert ("one label only" if what == "one label" else "--retrain") in result.stderr


def card_of(folder: Path, name: str) -> dict[str, Any]:
    clips = read_corpus(folder).clips
    return {"corpora": [{"name": name, "fingerprint": fingerprint(audio_hash(*read_clip(clip)) for clip in clips)}]}


def test_a_corpus_of_the_training_card_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    entries = beeps(20)
    folder = write(tmp_path / "original", entries)
    monkeypatch.setattr(hearing.PerfectConfig, "trained_on", card_of(folder, "Berlin Set"))
    renamed = write(tmp_path / "something else", entries[40:], "wav")
    named = write(tmp_path / "berlin-set", beeps(4, ("sad", "happy"))[3:])
    stated = write(tmp_path / "stated", [(labels, wave[:999]) for labels, wave in beeps(4)])
    assert run(stated, "--annotators", "emotion=perfect").exit_code == 0
    (stated / "corpus.yaml").write_text("name: Berlin_SET\n")
    for bad, what in ((folder, "clips of this corpus"), (renamed, "clips of this corpus"), (stated, "Berlin Set")):
        result = run(bad, "--annotators", "emotion=perfect")
        assert result.exit_code == 2
        assert what in result.stderr
        assert result.stderr.count("\n") == 1
        assert "--retrain loso" in result.stderr
    assert run(named, "--annotators", "emotion=perfect", "--corpus", "berlin set").exit_code == 2
    assert run(named, "--annotators", "emotion=chance").exit_code == 0
    assert run(folder, "--annotators", "emotion=perfect,emotion=relative", "--retrain", "loso").exit_code == 2


def test_retraining_lifts_the_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = write(tmp_path / "voices", two_voices(3))
    monkeypatch.setattr(hearing.RelativeConfig, "trained_on", card_of(folder, "voices"))
    assert run(folder, "--annotators", "emotion=relative", "--enrol", 0).exit_code == 2
    assert run(folder, "--annotators", "emotion=relative", "--enrol", 0, "--retrain", "loso").exit_code == 0


def test_a_part_of_a_corpus_is_known_by_its_sketch():
    clips = [audio_hash(beep(100, level=0.0005 * n), RATE) for n in range(1, 501)]
    card = {"corpora": ["Plain Name", {"name": "a", "fingerprint": fingerprint(clips)}]}
    assert len(set(clips)) == 500
    assert len(fingerprint(clips)) == SKETCH
    assert fingerprint(reversed(clips)) == fingerprint(clips)
    assert all(trained_on(card, "b", clips[start : start + 100]) for start in range(0, 500, 100))
    assert not trained_on(card, "b", [audio_hash(beep(101, level=0.0005 * n), RATE) for n in range(1, 501)])
    assert trained_on(card, "plain-name", []) == "the corpus Plain Name"
    assert not same_name("", "--")


def test_hashes_are_of_the_sound_alone():
    samples = np.round(beep(300) * 32768) / 32768
    assert audio_hash(samples, RATE) == audio_hash(samples.astype(np.float32), RATE)
    assert len({audio_hash(samples, RATE), audio_hash(samples, 8000), audio_hash(samples[1:], RATE)}) == 3
    assert audio_hash(np.stack([samples, samples], 1), RATE) != audio_hash(np.repeat(samples, 2), RATE)


def test_real_speech_by_the_shipped_annotator():
    found = scores(FSDD, "gender=f0_formants")
    assert found["corpus"]["scored"] == found["gender"]["clips"] == 6
    assert found["gender"]["recall"].keys() == {"male"}
    assert found["gender"]["recall"]["male"] >= 5 / 6
    assert found["gender"]["revision"].startswith("f0_formants-v")
    assert found["enrolment"]["clips"] == 0  # nothing here needs a reference, so none is taken from the scored clips


def test_json_table_and_pictures(tmp_path: Path):
    unknown = [({"speaker": "s0", "emotion": "boredom"}, beep(99, level=0.1 * n)) for n in (1, 2, 3)]
    folder = write(tmp_path / "beeps", [*beeps(3), *unknown])
    out = tmp_path / "out"
    result = run(folder, "--annotators", "emotion=perfect,emotion=chance", "--json", "--out", out)
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document == json.loads((out / "calibration.json").read_text())
    assert document["corpus"]["unknown_labels"] == {"emotion": {"boredom": 3}}
    assert document["emotion"]["clips"] == 18
    assert (document["emotion"]["consistency_only"], document["emotion_2"]["consistency_only"]) == (False, True)
    for slot in ("emotion", "emotion_2"):
        picture = matplotlib.image.imread(out / f"{slot}.png")
        assert min(picture.shape[:2]) > 300
        assert len(np.unique(picture[..., 0])) > 50
    shown = run(folder, "--annotators", "emotion=perfect,emotion=chance").stdout
    assert "consistency check only" in shown
    assert "boredom (3)" in shown
    assert "heard surprise" in shown
    again = run(folder, "--annotators", "emotion=perfect", "--out", tmp_path / "again")
    assert again.exit_code == 0
    assert (tmp_path / "again" / "emotion.png").read_bytes() == (out / "emotion.png").read_bytes()


def test_broken_and_doubled_files_are_named_and_counted(tmp_path: Path):
    folder = write(tmp_path / "beeps", beeps(2))
    (folder / "000.flac").write_bytes(b"this is no audio")
    (folder / "001.flac").unlink()
    (folder / "002.flac").write_bytes((folder / "003.flac").read_bytes())
    soundfile.write(folder / "004.flac", np.zeros(0), RATE)
    result = run(folder, "--annotators", "emotion=perfect")
    assert result.exit_code == 0, result.stderr
    assert "3 files could not be read: 000.flac" in result.stdout
    assert "1 files sound the same as an earlier one: 003.flac (002.flac)" in " ".join(result.stdout.split())
    assert scores(folder, "emotion=perfect")["corpus"]["scored"] == 8


def test_clips_whose_family_has_no_label_are_heard_and_not_scored(tmp_path: Path):
    folder = write(tmp_path / "plain", [({"speaker": "s"}, beep(hearing.PITCHES["sad"]))])
    found = scores(folder, "emotion=perfect")["emotion"]
    assert found["clips"] == 0
    assert found["unlabelled"] == {"clips": 1, "answers": {"sad": 1}}
    result = run(folder, "--annotators", "emotion=perfect", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert not list((tmp_path / "out").glob("*.png"))


def test_labels_of_other_corpora_and_a_speaker_who_is_one(tmp_path: Path):
    entries = [({"speaker": "a", "gender": "F", "age": "YOUTH", "emotion": "<ANGER>", "event": ""}, beep(200))]
    (clip,) = read_corpus(write(tmp_path / "x", entries)).clips
    assert clip.labels == {"gender": "female", "age": "adult", "emotion": "angry", "speakers": "one"}
    entries[0][0].update(event="none", speaker="", gender="robot")
    (clip,) = read_corpus(write(tmp_path / "y", entries)).clips
    assert clip.labels == {"age": "adult", "emotion": "angry", "event": "none"}
    assert clip.unknown == {"gender": "robot"}


def test_speakers_choose_clips(tmp_path: Path):
    folder = write(tmp_path / "beeps", beeps(4))
    result = run(folder, "--annotators", "emotion=perfect", "--speakers", "s1", "--json")
    assert json.loads(result.stdout)["corpus"]["speakers"] == ["s1"]
    assert json.loads(result.stdout)["emotion"]["clips"] == 12


LABELS = {
    "no table": None,
    "no file column": b"name,emotion\na.flac,sad\n",
    "nothing": b"file,emotion\n",
    "empty": b"",
    "twice": b"file,emotion\n000.flac,sad\n000.flac,sad\n",
    "outside": b"file,emotion\n../000.flac,sad\n",
    "not UTF-8": b"file,emotion\n\xff\xfe.flac,sad\n",
    "no audio": b"file,emotion\nmissing.flac,sad\n",
}


@pytest.mark.parametrize("what", LABELS)
def test_a_wrong_corpus_is_one_sentence(tmp_path: Path, what: str):
    folder = write(tmp_path / "beeps", beeps(1))
    content = LABELS[what]
    if content is None:
        (folder / "labels.csv").unlink()
    else:
        (folder / "labels.csv").write_bytes(content)
    result = run(folder, "--annotators", "emotion=perfect")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {folder}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--annotators", "emotion"], "is not FAMILY=ENGINE"),
        (["--annotators", "mood=cues"], "is not FAMILY=ENGINE"),
        (["--annotators", "emotion=nobody"], "use one of"),
        (["--annotators", "emotion=perfect,emotion=perfect"], "twice"),
        (["--annotators", "emotion=perfect", "--speakers", "s9"], "has no speaker 's9'; it has s0"),
        (["--annotators", "emotion=perfect", "--plugin", "no_such_module"], "no_such_module"),
    ],
)
def test_wrong_arguments_are_one_sentence(tmp_path: Path, arguments: list[str], said: str):
    result = run(write(tmp_path / "beeps", beeps(1)), *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_references_need_speakers(tmp_path: Path):
    folder = write(tmp_path / "plain", [({"emotion": "sad"}, vowel(200))])
    with pytest.raises(UserError, match="names no speaker"):
        scores(folder, "emotion=relative")
    assert scores(folder, "emotion=relative", enrol=0)["emotion"]["clips"] == 1
