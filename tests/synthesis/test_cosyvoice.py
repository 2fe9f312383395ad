"""What of the CosyVoice speaker needs no model: instructions, marks, banks, and what it says is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tiny_cosyvoice import make_bank

from manifests.errors import UserError
from manifests.labels import AGES, EMOTIONS
from synthesis import instructions
from synthesis.base import Utterance
from synthesis.cosyvoice import EVENT_MARKS, CosyVoiceConfig, marked
from synthesis.prompts import read_bank

VOICE = "en-train-adult-female-1"


def utterance(text: str = "Well, that is good.", **labels: Any) -> Utterance:
    return Utterance(**{"text": text, "voice": VOICE, "seed": 3, **labels})


@pytest.mark.parametrize(
    ("labels", "dialect", "expected"),
    [
        ({}, "", ""),
        ({"emotion": "sad", "intensity": 0.9}, "", "Please say this in a deeply sad tone, slowly."),
        ({"emotion": "sad", "intensity": 0.2}, "", "Please say this in a somewhat sad tone."),
        ({"emotion": "sad", "intensity": 0.0}, "", ""),
        ({"age": "old"}, "", "Please say this like an elderly person."),
        ({"language": "zh", "emotion": "happy", "age": "child"}, "", "请用非常高兴的语气，像小孩子一样说这句话。"),
        ({"language": "zh"}, "cantonese", "请用广东话说这句话。"),
    ],
)
def test_instructions_say_the_cues(labels: dict[str, Any], dialect: str, expected: str) -> None:
    assert instructions.compose(utterance(**labels), dialect) == expected


def test_every_cue_has_words_in_every_language_that_is_declared() -> None:
    assert set(instructions.languages()) == {"en", "zh"}
    for language in instructions.languages():
        for emotion in EMOTIONS:
            for age in AGES:
                for intensity in (0.3, 1.0):
                    instructions.compose(utterance(language=language, emotion=emotion, age=age, intensity=intensity))
        assert instructions.dialects(language)


def test_what_the_table_cannot_say_is_the_rows_error() -> None:
    with pytest.raises(ValueError, match="dialect 'sichuan' in en"):
        instructions.compose(utterance(), "sichuan")


def test_an_event_is_marked_at_a_pause_or_an_end_of_the_text() -> None:
    for event, mark in EVENT_MARKS.items():
        made = {marked(utterance(event=event, seed=seed)) for seed in range(9)}
        assert made == {
            f"{mark}Well, that is good.",
            f"Well,{mark} that is good.",
            f"Well, that is good.{mark}",
        }
    assert marked(utterance(), breath=True) == "[breath]Well, that is good."


@pytest.mark.parametrize("text", ["", " ", "?!", "a\nb", "<strong>a</strong>", "[laughter]", "a|b", "x" * 1001])
def test_text_that_would_be_read_as_marks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the text"):
        marked(utterance(text))


def test_a_prompt_of_the_emotion_is_picked_else_a_calm_one(tmp_path: Path) -> None:
    bank = read_bank(make_bank(tmp_path / "bank", [VOICE], ["neutral", "sad"]))
    assert bank.pick(VOICE, "sad", 0).emotion == "sad"
    assert bank.pick(VOICE, "angry", 0).emotion == "neutral"
    assert bank.pick(VOICE, "neutral", 0).samples(16000).dtype == np.float32
    with pytest.raises(ValueError, match="no voice 'nobody'"):
        bank.pick("nobody", "sad", 0)


def test_a_prompt_that_was_exchanged_is_not_spoken_with(tmp_path: Path) -> None:
    bank = read_bank(make_bank(tmp_path / "bank", [VOICE]))
    prompt = bank.pick(VOICE, "neutral", 0)
    soundfile.write(prompt.path, np.zeros(16000, np.float32), 16000)
    with pytest.raises(UserError, match=r"is not the prompt that prompts\.csv lists"):
        prompt.samples(16000)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("file,", "path,", "lacks the column.s. file"),
        (f"prompts/{VOICE}.neutral.1.flac", "../outside.flac", "name a file inside the bank"),
        (f"prompts/{VOICE}.neutral.1.flac", "/etc/passwd", "name a file inside the bank"),
        ("1.5000", "long", "seconds is 'long'"),
        ("1.5000", "31", "30 s at most"),
        ("1.5000", "nan", "30 s at most"),
    ],
)
def test_a_damaged_bank_is_a_sentence(tmp_path: Path, old: str, new: str, message: str) -> None:
    table = make_bank(tmp_path / "bank", [VOICE]) / "prompts.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        read_bank(tmp_path / "bank")
    config = CosyVoiceConfig(bank=tmp_path / "bank")
    assert any("prompts.csv" in problem.what for problem in config.problems())


def test_what_is_missing_is_told_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("COSYVOICE_HOME", str(tmp_path))
    fixes = {problem.what: problem.fix for problem in CosyVoiceConfig(vllm=True, dialect="martian").problems()}
    assert fixes.pop(f"no CosyVoice in {tmp_path}") == "correct COSYVOICE_HOME"
    assert "hf download FunAudioLLM/Fun-CosyVoice3-0.5B-2512" in fixes.values()
    assert fixes["no voice bank is named"] == "set bank to what `echat ingest voices` made"
    assert "sichuan" in fixes["no instruction says the dialect 'martian'"]
    assert any("vllm is asked for" in what for what in fixes)


def test_the_revision_follows_weights_and_prompts_and_not_how_it_is_run(tmp_path: Path) -> None:
    bank, model = make_bank(tmp_path / "bank", [VOICE]), tmp_path / "model"
    model.mkdir()
    for name in ("llm.pt", "flow.pt", "hift.pt", "campplus.onnx", "cosyvoice2.yaml"):
        (model / name).write_bytes(name.encode())
    first = CosyVoiceConfig(model=str(model), bank=bank).revision()
    (model / "flow.decoder.estimator.fp16.mygpu.plan").write_bytes(b"what TensorRT compiled")
    shutil.copytree(bank, tmp_path / "elsewhere")
    assert CosyVoiceConfig(model=str(model), bank=tmp_path / "elsewhere", concurrency=2).revision() == first
    (model / "llm.pt").write_bytes(b"trained further")
    second = CosyVoiceConfig(model=str(model), bank=bank).revision()
    assert second != first
    make_bank(tmp_path / "other", [VOICE], ["sad"])
    assert CosyVoiceConfig(model=str(model), bank=tmp_path / "other").revision() != second
