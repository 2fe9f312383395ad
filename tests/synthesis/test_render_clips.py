"""The corpus tool: what it plans, and that it resumes; with a speaker that needs no model."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest

from manifests.bank import ScenarioBank
from manifests.errors import UserError
from manifests.labels import EMOTIONS, NONE, SPLITS
from manifests.voices import VoiceTable
from synthesis.base import EventSpan, Speech, Utterance
from synthesis.kokoro import KokoroConfig
from synthesis.render_clips import COLUMNS, Choice, choose_texts, choose_voices, main, render, utterances

TABLE, BANK = VoiceTable.load("kokoro"), ScenarioBank.load("en")


def _choice(**changes) -> Choice:
    plain = {
        "voices": "1", "splits": SPLITS, "ages": ("adult",), "emotions": ("neutral", "happy"), "events": (NONE,),
        "texts": 2, "intensity": (0.7, 1.0), "seed": 3,
    }  # fmt: skip
    return Choice(**{**plain, **changes})


class _Fake:
    """Noise by the seed, and an event where one is asked for; refuses one voice."""

    def __init__(self) -> None:
        self.spoken: list[Utterance] = []

    def speak(self, utterance: Utterance) -> Speech:
        self.spoken.append(utterance)
        if utterance.voice == "am_adam":
            raise ValueError("hoarse today")
        samples = np.random.default_rng(utterance.seed).uniform(-0.1, 0.1, 2400).astype(np.float32)
        event = EventSpan(utterance.event, 0.01, 0.05, "before", -3.0, "voice") if utterance.event != NONE else None
        return Speech(samples, 24000, event)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> _Fake:
    speaker = _Fake()
    monkeypatch.setattr(KokoroConfig, "open", lambda self: speaker)
    return speaker


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames or ()) == COLUMNS
        return list(reader)


def _tree(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_voices_are_balanced_and_a_larger_number_keeps_the_smaller() -> None:
    one, two = (choose_voices(TABLE, _choice(voices=number)) for number in ("1", "2"))
    assert {(v.split, v.gender) for v in one} == {(split, gender) for split in SPLITS for gender in ("female", "male")}
    assert len(one) == 6
    assert set(one) < set(two)
    assert {v.age for v in choose_voices(TABLE, _choice(voices="all", ages=("child",)))} == {"child"}
    assert [v.voice for v in choose_voices(TABLE, _choice(voices="bf_emma,am_adam"))] == ["am_adam", "bf_emma"]


def test_texts_are_of_the_voices_split_and_the_same_in_every_emotion() -> None:
    voice = choose_voices(TABLE, _choice(voices="bf_emma"))[0]
    three = choose_texts(BANK, voice, _choice(texts=3))
    assert three[:2] == choose_texts(BANK, voice, _choice(texts=2))
    assert len(set(three)) == 3
    plan = [utterance for _, utterance in utterances(_choice(emotions=EMOTIONS), TABLE, BANK)]
    for name in {utterance.voice for utterance in plan}:
        by = {e: {u.text for u in plan if u.voice == name and u.emotion == e} for e in EMOTIONS}
        assert all(texts == by["neutral"] for texts in by.values())
    assert {u.intensity for u in plan if u.emotion == "neutral"} == {0.0}
    strengths = [u.intensity for u in plan if u.emotion != "neutral"]
    assert 0.7 <= min(strengths) < 0.8 < 0.9 < max(strengths) <= 1.0


def test_equal_options_give_equal_files_and_nothing_is_spoken_twice(tmp_path: Path, fake: _Fake) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert render(one, _choice(texts=1)) == 12
    assert render(one, _choice()) == 12  # the other text
    assert render(two, _choice()) == 24
    assert _tree(one) == _tree(two)
    spoken = len(fake.spoken)
    assert render(two, _choice()) == 0
    assert len(fake.spoken) == spoken
    victim = next(two.glob("*.flac"))
    victim.unlink()
    assert render(two, _choice()) == 1
    assert _tree(one) == _tree(two)


def test_labels_hold_what_was_asked_and_the_event(tmp_path: Path, fake: _Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    able = KokoroConfig().capabilities
    monkeypatch.setattr(KokoroConfig, "capabilities", type(able)(**{**vars(able), "events": ("laugh",)}))
    render(tmp_path, _choice(voices="bf_emma,am_adam", events=(NONE, "laugh"), texts=1))
    rows = _rows(tmp_path)
    assert {row["voice"] for row in rows} == {"bf_emma"}  # the other voice was left out
    assert {(row["split"], row["gender"], row["age"]) for row in rows} == {("test", "female", "adult")}
    assert all((tmp_path / row["file"]).is_file() for row in rows)
    laugh = next(row for row in rows if row["event"] == "laugh")
    assert (laugh["event_start"], laugh["event_end"]) == ("0.0100", "0.0500")
    assert (laugh["event_position"], laugh["event_snr_db"]) == ("before", "-3.00")
    assert {row["event_start"] for row in rows if row["event"] == NONE} == {""}


def test_what_cannot_be_rendered_is_refused_in_a_sentence(
    tmp_path: Path, fake: _Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "--voices", "nobody"]) == 2
    assert "nobody not in" in capsys.readouterr().err
    with pytest.raises(UserError, match="ask for fewer"):
        render(tmp_path, _choice(texts=9999))
    (tmp_path / "labels.csv").write_text("a,b\n")
    with pytest.raises(UserError, match="not a table of this tool"):
        render(tmp_path, _choice())
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--emotions", "bored"])
    assert not fake.spoken


def test_cue_tables_of_the_user_give_other_clips(tmp_path: Path, fake: _Fake) -> None:
    (tmp_path / "cues").mkdir()
    rows = "".join(f"{emotion},1.1,heard in a play\n" for emotion in EMOTIONS)
    (tmp_path / "cues" / "emotion.csv").write_text("emotion,f0,source\n" + rows)
    options = [str(tmp_path / "out"), "--voices", "bf_emma", "--emotions", "sad"]
    assert main(options) == 0
    assert main([*options, "--cues", str(tmp_path / "cues")]) == 0
    assert len(_rows(tmp_path / "out")) == 2
