"""CosyVoice 2 through the wheel, on tiny random weights: every mode, kept voices, and checkpoints of another model."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines_gate import heavy
from tiny_cosyvoice import make_bank, make_cosyvoice2

from manifests.errors import UserError
from synthesis.base import Utterance
from synthesis.cosyvoice import MAX_CHARACTERS, CosyVoiceConfig

pytestmark = heavy
VOICES = ("en-train-adult-female-1", "zh-train-adult-male-1")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> CosyVoiceConfig:
    folder = tmp_path_factory.mktemp("cosyvoice")
    return CosyVoiceConfig(
        model=str(make_cosyvoice2(folder / "model")), bank=make_bank(folder / "bank", VOICES, ("neutral", "sad"))
    )


@pytest.fixture(scope="module")
def speaker(config: CosyVoiceConfig) -> Any:
    return config.open()


@pytest.fixture
def asked(speaker: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Which of the library's ways to speak was taken, and with what; the library still speaks."""
    calls: list[tuple[Any, ...]] = []

    def spy(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            calls.append((name, *args))
            return real(*args, **options)

        return call

    model = speaker._model._model
    for name in ("inference_zero_shot", "inference_cross_lingual", "inference_instruct2", "add_zero_shot_spk"):
        monkeypatch.setattr(model, name, spy(name, getattr(model, name)))
    return calls


def utterance(**labels: Any) -> Utterance:
    return Utterance(**{"text": "Hi.", "voice": VOICES[0], "seed": 5, **labels})


@pytest.mark.parametrize(
    ("labels", "mode"),
    [
        ({}, "inference_zero_shot"),
        ({"emotion": "sad"}, "inference_zero_shot"),  # the bank has a sad prompt
        ({"emotion": "angry"}, "inference_instruct2"),
        ({"emotion": "sad", "age": "old"}, "inference_instruct2"),
        ({"voice": VOICES[1]}, "inference_cross_lingual"),
        ({"voice": VOICES[1], "language": "zh", "text": "你好。"}, "inference_zero_shot"),
        ({"voice": VOICES[1], "emotion": "angry"}, "inference_instruct2"),
    ],
)
def test_the_cues_choose_the_mode(speaker: Any, asked: list[Any], labels: dict[str, Any], mode: str) -> None:
    speech = speaker.speak(utterance(**labels))
    assert speech.sample_rate == 24000
    assert np.isfinite(speech.samples).all()
    assert [call[0] for call in asked if call[0] != "add_zero_shot_spk"] == [mode]


@pytest.mark.parametrize(("emotion", "mode"), [("neutral", "inference_zero_shot"), ("sad", "inference_instruct2")])
def test_what_is_to_be_instructed_is_and_nothing_is_not(
    speaker: Any, asked: list[Any], monkeypatch: pytest.MonkeyPatch, emotion: str, mode: str
) -> None:
    monkeypatch.setattr(speaker, "_config", speaker._config.model_copy(update={"mode": "instruct"}))
    speaker.speak(utterance(emotion=emotion))
    assert [call[0] for call in asked if call[0] != "add_zero_shot_spk"] == [mode]


def test_an_instruction_reaches_the_model_and_leaves_the_kept_voice_whole(
    speaker: Any, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    frontend, model = speaker._model._frontend, speaker._model._model.model
    heard: list[dict[str, Any]] = []
    speak = model.tts

    def tts(**given: Any) -> Any:
        heard.append(given)
        return speak(**given)

    monkeypatch.setattr(model, "tts", tts)
    for emotion in ("angry", "disgust"):
        speaker.speak(utterance(emotion=emotion, intensity=0.5))
    speaker.speak(utterance())
    said = [frontend.tokenizer.tokenizer.decode(given["prompt_text"][0]) for given in heard]
    assert said == [
        "Please say this in an annoyed tone.<|endofprompt|>",
        "Please say this in a slightly disgusted tone, slowly.<|endofprompt|>",
        "Hi there.",
    ]
    assert ["llm_prompt_speech_token" in given for given in heard] == [False, False, True]
    assert sum(call[0] == "add_zero_shot_spk" for call in asked) <= 1, "a voice is heard once"
    assert not frontend.spk2info, "what an utterance needed is gone with it"
    assert all("llm_prompt_speech_token" in voice for voice in speaker._model._voices.values())


def test_kept_voices_do_not_change_what_is_spoken(config: CosyVoiceConfig, speaker: Any) -> None:
    speaker.speak(utterance(emotion="angry"))
    speaker.speak(utterance(voice=VOICES[1]))
    assert np.array_equal(config.open().speak(utterance()).samples, speaker.speak(utterance()).samples)


def test_a_text_near_the_longest_is_spoken(speaker: Any) -> None:
    text = "And so on. " * (MAX_CHARACTERS // 11)
    speech = speaker.speak(utterance(text=text))
    assert len(text) > 0.95 * MAX_CHARACTERS
    assert np.isfinite(speech.samples).all()
    assert len(speech.samples) > 10 * len(speaker.speak(utterance()).samples)


def test_speed_shortens(config: CosyVoiceConfig, speaker: Any) -> None:
    fast = config.model_copy(update={"speed": 2.0}).open().speak(utterance()).samples
    assert len(fast) == pytest.approx(len(speaker.speak(utterance()).samples) / 2, rel=0.1)


def test_what_fails_in_the_language_models_thread_is_told(speaker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def short(*args: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    before = speaker.speak(utterance()).samples
    with monkeypatch.context() as patch:
        patch.setattr(speaker._model._model.model.llm, "inference", short)
        with pytest.raises(torch.OutOfMemoryError):
            speaker.speak(utterance())
    assert np.array_equal(speaker.speak(utterance()).samples, before)


def test_a_checkpoint_of_another_model_is_refused(config: CosyVoiceConfig, tmp_path: Path) -> None:
    import shutil

    import torch

    folder = tmp_path / "model"
    shutil.copytree(config.model, folder)
    state = torch.load(folder / "llm.pt", weights_only=True)
    state.pop("llm_decoder.weight")
    torch.save(state, folder / "llm.pt")
    with pytest.raises(UserError, match=r"llm\.pt: is not of this model: it lacks llm_decoder\.weight"):
        config.model_copy(update={"model": str(folder)}).open()


def test_vllm_takes_the_language_model_apart_after_it_was_checked(
    config: CosyVoiceConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel's own export, which changes parts of the model; the engine that would read it needs a GPU."""
    import shutil

    from cosyvoice.cli import model as library  # pyright: ignore[reportMissingImports]
    from stub_cosyvoice import stub_vllm

    def load_vllm(model: Any, folder: str) -> None:
        library.export_cosyvoice2_vllm(model.llm, folder, model.device)
        del model.llm.llm.model.model.layers

    log: list[Any] = []
    architecture = types.ModuleType("cosyvoice.vllm.cosyvoice2")
    architecture.CosyVoice2ForCausalLM = type("CosyVoice2ForCausalLM", (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", stub_vllm(log))
    monkeypatch.setitem(sys.modules, "cosyvoice.vllm.cosyvoice2", architecture)
    monkeypatch.setattr(library.CosyVoice2Model, "load_vllm", load_vllm)
    folder = tmp_path / "model"
    shutil.copytree(config.model, folder)
    config.model_copy(update={"model": str(folder), "vllm": True}).open()
    assert log == [("register", "CosyVoice2ForCausalLM", "CosyVoice2ForCausalLM")]
    assert "CosyVoice2ForCausalLM" in (folder / "vllm" / "config.json").read_text()


def test_a_model_of_the_third_generation_needs_a_checkout(config: CosyVoiceConfig, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(config.model, folder)
    (folder / "cosyvoice2.yaml").rename(folder / "cosyvoice3.yaml")
    (folder / "speech_tokenizer_v2.onnx").rename(folder / "speech_tokenizer_v3.onnx")
    third = config.model_copy(update={"model": str(folder)})
    assert ["clone CosyVoice" in problem.fix for problem in third.problems()] == [True]
    with pytest.raises(UserError, match="COSYVOICE_HOME"):
        third.open()


def test_the_library_makes_no_normalisers_of_its_own(speaker: Any) -> None:
    """They would write their grammars over those of the package, which may be read-only."""
    assert (speaker._model._frontend.zh_tn_model, speaker._model._frontend.en_tn_model) == (None, None)
