"""What of the CosyVoice speaker needs no model: instructions, marks, banks, and what it says is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from stub_cosyvoice import make_model
from tiny_cosyvoice import make_bank

from manifests.errors import UserError
from manifests.labels import AGES, EMOTIONS
from manifests.run import load_run
from pipeline.dag import build_dag
from synthesis import instructions
from synthesis.base import Utterance
from synthesis.cosyvoice import EVENT_MARKS, CosyVoiceConfig, CosyVoiceSpeaker, marked
from synthesis.prompts import read_bank

ROOT = Path(__file__).parents[2]
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
    assert bank.pick(VOICE, "sad", "en", 0).emotion == "sad"
    assert bank.pick(VOICE, "angry", "en", 0).emotion == "neutral"
    assert bank.pick(VOICE, "neutral", "en", 0).samples(16000).dtype == np.float32
    with pytest.raises(ValueError, match="no voice 'nobody'"):
        bank.pick("nobody", "sad", "en", 0)


def test_a_prompt_in_the_language_of_the_text_is_picked_before_one_of_the_emotion(tmp_path: Path) -> None:
    table = make_bank(tmp_path / "bank", [VOICE], ["neutral", "sad"]) / "prompts.csv"
    table.write_text(table.read_text().replace("sad,en,", "sad,zh,"))
    bank = read_bank(tmp_path / "bank")
    assert {bank.pick(VOICE, "sad", "en", seed).emotion for seed in range(4)} == {"neutral"}
    assert bank.pick(VOICE, "sad", "zh", 0).emotion == "sad"
    assert bank.pick(VOICE, "neutral", "zh", 0).language == "zh"
    assert bank.pick(VOICE, "sad", "de", 0).emotion == "sad", "one in another language, where there is none in it"


class Silent:
    """A model that writes down how it was asked to speak, and gives a moment of noise."""

    sample_rate, faults = 24000, 0

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, mode: str) -> Any:
        def speak(text: str, prompt: Any, *instruction: str) -> np.ndarray:
            self.asked.append((mode, prompt.emotion, *instruction))
            return np.full(240, 0.1, np.float32)

        return speak


def spoken(bank: Path, **labels: Any) -> tuple[Any, ...]:
    """How an utterance is asked for, by the mode that `mode` names."""
    model, settings = Silent(), {key: labels.pop(key) for key in ("mode", "dialect") if key in labels}
    config = CosyVoiceConfig(bank=bank, **settings)
    CosyVoiceSpeaker(config, model, read_bank(bank)).speak(utterance(**labels))  # type: ignore[arg-type]
    return model.asked[0]


@pytest.mark.parametrize("mode", ["auto", "instruct"])
def test_a_voice_that_has_an_angry_prompt_alone_is_told_to_be_calm(tmp_path: Path, mode: str) -> None:
    bank = make_bank(tmp_path / "bank", [VOICE], ["angry"])
    assert spoken(bank, mode=mode) == ("instruct", "angry", "Please say this in a calm, neutral tone.")
    assert spoken(bank, mode=mode, emotion="sad", intensity=0.2)[2] == "Please say this in a somewhat sad tone."
    if mode == "auto":
        assert spoken(bank, mode=mode, emotion="angry") == ("zero_shot", "angry")


def test_what_zero_shot_cannot_say_in_the_manner_wanted_is_refused_as_a_row(tmp_path: Path) -> None:
    bank = make_bank(tmp_path / "bank", [VOICE], ["angry"])
    with pytest.raises(ValueError, match=r"no prompt that is neutral or calm, and the mode zero_shot would speak as"):
        spoken(bank, mode="zero_shot")
    assert spoken(bank, mode="zero_shot", emotion="angry") == ("zero_shot", "angry")


def test_a_prompt_whose_words_nobody_wrote_down_is_no_zero_shot_prompt(tmp_path: Path) -> None:
    table = make_bank(tmp_path / "bank", [VOICE], ["neutral", "sad"]) / "prompts.csv"
    table.write_text(table.read_text().replace("Hi there.", ""))
    with pytest.raises(ValueError, match=r"nobody wrote down what .*flac says, which the mode zero_shot needs"):
        spoken(table.parent, mode="zero_shot")
    assert spoken(table.parent) == ("cross_lingual", "neutral")
    assert spoken(table.parent, emotion="sad")[0] == "instruct", "without its words its manner is not taken over"


def test_a_dialect_is_spoken_in_its_language_alone(tmp_path: Path) -> None:
    assert CosyVoiceConfig().capabilities.languages == ("zh", "en")
    assert CosyVoiceConfig(dialect="cantonese").capabilities.languages == ("zh",)
    manifest = yaml.safe_load((ROOT / "manifests" / "runs" / "echat200k.yaml").read_text())
    manifest["speak_reply"]["dialect"] = "cantonese"
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(manifest))
    with pytest.raises(UserError, match="speak_reply cannot speak 'en'; its engine speaks zh"):
        _ = build_dag(load_run(file), file).planner.quotas


def test_a_prompt_that_was_exchanged_is_not_spoken_with(tmp_path: Path) -> None:
    bank = read_bank(make_bank(tmp_path / "bank", [VOICE]))
    prompt = bank.pick(VOICE, "neutral", "en", 0)
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
    bank, model = make_bank(tmp_path / "bank", [VOICE]), make_model(tmp_path / "model", 2)
    first = CosyVoiceConfig(model=str(model), bank=bank).revision()
    (model / "flow.decoder.estimator.fp16.mygpu.plan").write_bytes(b"what TensorRT compiled")
    shutil.copytree(bank, tmp_path / "elsewhere")
    assert CosyVoiceConfig(model=str(model), bank=tmp_path / "elsewhere", concurrency=2).revision() == first
    (model / "llm.pt").write_bytes(b"trained further")
    second = CosyVoiceConfig(model=str(model), bank=bank).revision()
    assert second != first
    (model / "CosyVoice-BlankEN" / "vocab.json").write_bytes(b"other tokens")
    assert CosyVoiceConfig(model=str(model), bank=bank).revision() not in (first, second)
    second = CosyVoiceConfig(model=str(model), bank=bank).revision()
    make_bank(tmp_path / "other", [VOICE], ["sad"])
    assert CosyVoiceConfig(model=str(model), bank=tmp_path / "other").revision() != second


@pytest.mark.parametrize(
    ("generation", "missing"),
    [
        (2, "speech_tokenizer_v2.onnx"),
        (3, "speech_tokenizer_v3.onnx"),
        (2, "CosyVoice-BlankEN/config.json"),
        (3, "CosyVoice-BlankEN/vocab.json"),
        (3, "campplus.onnx"),
    ],
)
def test_a_model_folder_that_is_not_complete_is_told(tmp_path: Path, generation: int, missing: str) -> None:
    model = make_model(tmp_path / "model", generation)
    whole = CosyVoiceConfig(model=str(model)).problems()
    assert not [problem for problem in whole if str(model) in problem.what]
    (model / missing).unlink()
    (told,) = [problem for problem in CosyVoiceConfig(model=str(model)).problems() if str(model) in problem.what]
    assert missing in told.what
    with pytest.raises(UserError, match=missing):
        CosyVoiceConfig(model=str(model)).open()


def test_tensorrt_needs_the_graph_that_it_compiles(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    told = [problem.what for problem in CosyVoiceConfig(model=str(model), tensorrt=True).problems()]
    assert f"{model} has no flow.decoder.estimator.fp32.onnx" in told


def test_a_folder_of_something_else_is_told(tmp_path: Path) -> None:
    file = tmp_path / "llm.pt"
    file.write_bytes(b"")
    told = [problem.what for problem in CosyVoiceConfig(model=str(file)).problems()]
    assert f"{file} is no folder of CosyVoice 2 or 3" in told
    bank = make_bank(tmp_path / "bank", [VOICE])
    with pytest.raises(UserError, match="is no folder of CosyVoice 2 or 3"):
        CosyVoiceConfig(model=str(file), bank=bank).open()
