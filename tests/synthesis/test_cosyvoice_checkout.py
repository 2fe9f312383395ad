"""CosyVoice from a checkout without a network: a stand-in with upstream's names tells what it was asked."""

from __future__ import annotations

import gc
import importlib.util
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from stub_cosyvoice import imported_from_elsewhere, make_checkout, make_model, stub_vllm
from tiny_cosyvoice import make_bank

from manifests.errors import UserError
from pipeline.gpu import out_of_memory
from synthesis import cosyvoice_model
from synthesis.base import Utterance
from synthesis.cosyvoice import CosyVoiceConfig

VOICES = ("en-train-adult-female-1", "en-train-adult-male-1", "zh-train-adult-male-1")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CosyVoiceConfig]:
    monkeypatch.setenv("COSYVOICE_HOME", str(make_checkout(tmp_path / "checkout")))
    monkeypatch.setattr(cosyvoice_model, "import_torchaudio", lambda: None)  # which `make setup` does not install
    bank = make_bank(tmp_path / "bank", VOICES, ("neutral", "sad"))
    with imported_from_elsewhere():
        yield CosyVoiceConfig(model=str(make_model(tmp_path / "model")), bank=bank)


@pytest.fixture
def vllm(config: CosyVoiceConfig, monkeypatch: pytest.MonkeyPatch) -> CosyVoiceConfig:
    """As it is run on a GPU: several utterances at once."""
    monkeypatch.setitem(sys.modules, "vllm", stub_vllm([]))
    return config.model_copy(update={"vllm": True, "concurrency": 8})


def library() -> Any:
    """The stand-in, once the engine has imported it."""
    return importlib.import_module("cosyvoice.cli.cosyvoice")


def asked(*kinds: str) -> list[Any]:
    return [entry for entry in library().LOG if entry[0] in kinds]


def utterance(**labels: Any) -> Utterance:
    return Utterance(**{"text": "Hi.", "voice": VOICES[0], "seed": 5, **labels})


def test_a_model_of_the_third_generation_is_loaded_through_the_checkout(config: CosyVoiceConfig) -> None:
    flagged = config.model_copy(update={"fp16": True, "speed": 1.5})
    speech = flagged.open().speak(utterance())
    assert speech.sample_rate == 24000
    assert len(speech.samples) == 2400
    (load,) = asked("load")
    assert load[1] == {
        "model_dir": config.model, "load_trt": False, "load_vllm": False, "fp16": True, "trt_concurrent": 1,
    }  # fmt: skip
    assert asked("zero_shot") == [("zero_shot", "Hi.", {"speed": 1.5, "text_frontend": False})]


def test_what_the_third_generation_reads_before_every_text_is_there(config: CosyVoiceConfig) -> None:
    speaker = config.open()
    speaker.speak(utterance())
    speaker.speak(utterance(emotion="angry", intensity=0.2))
    speaker.speak(utterance(voice=VOICES[2]))
    system = "You are a helpful assistant."
    assert [entry[1] for entry in asked("enrol")] == [
        f"{system}<|endofprompt|>Hi there.", f"{system}<|endofprompt|>你好。",
    ]  # fmt: skip
    heard = [entry[1].get("prompt_text") for entry in asked("tts")]
    assert heard == [
        f"{system}<|endofprompt|>Hi there.",
        f"{system} Please say this in an annoyed tone.<|endofprompt|>",
        None,
    ]
    assert asked("cross_lingual")[0][1] == f"{system}<|endofprompt|>Hi."


def test_prompts_are_given_as_files_that_are_gone_afterwards(config: CosyVoiceConfig) -> None:
    speech = config.open().speak(utterance())
    (enrolled,) = asked("enrol")
    assert enrolled[2].endswith(".wav")
    assert not Path(enrolled[2]).exists()
    prompt, _ = soundfile.read(config.bank / "prompts" / f"{VOICES[0]}.neutral.1.flac")  # type: ignore[operator]
    assert speech.samples.max() == pytest.approx(np.abs(prompt).max(), rel=0.1)


def test_speakers_at_once_hear_a_prompt_once(vllm: CosyVoiceConfig) -> None:
    made = vllm.open().speak_all([utterance(seed=number) for number in range(8)])  # type: ignore[attr-defined]
    assert len({speech.samples.tobytes() for speech in made}) == 1
    assert len(asked("enrol")) == 1


def test_a_voice_is_not_taken_from_one_who_speaks(vllm: CosyVoiceConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cosyvoice_model, "_ENROLLED", 1)
    speaker = vllm.open()
    together = threading.Barrier(2, timeout=20)  # nobody looks its voice up before both were enrolled
    monkeypatch.setitem(library().HOOKS, "speak", lambda: together.wait())
    made = speaker.speak_all([utterance(), utterance(voice=VOICES[1])])  # type: ignore[attr-defined]
    assert [type(speech).__name__ for speech in made] == ["Speech", "Speech"]
    assert len(speaker._model._voices) == 1  # type: ignore[attr-defined]
    assert not speaker._model._frontend.spk2info  # type: ignore[attr-defined]


def test_the_voice_that_was_unused_longest_is_forgotten(
    config: CosyVoiceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cosyvoice_model, "_ENROLLED", 2)
    speaker = config.open()
    for voice in (VOICES[0], VOICES[1], VOICES[0], VOICES[2], VOICES[0]):
        speaker.speak(utterance(voice=voice))
    assert len(asked("enrol")) == 3


def short_of_memory(kept: list[Any], label: str = "") -> Any:
    """A language model that fails with a large tensor in its hands, for prompts that hold `label`."""

    def job(given: Any) -> None:
        if label in given["prompt_text"]:
            large = torch.zeros(8)
            kept.append(weakref.ref(large))
            raise torch.OutOfMemoryError("CUDA out of memory")

    return job


def test_what_the_language_model_held_when_it_failed_is_given_back(
    config: CosyVoiceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    speaker = config.open()
    with monkeypatch.context() as patch:
        patch.setitem(library().HOOKS, "llm", short_of_memory(kept))
        for _ in range(2):
            with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
                speaker.speak(utterance())
    gc.collect()
    assert [held() for held in kept] == [None, None]
    assert len(speaker.speak(utterance()).samples)


def test_an_error_that_cannot_be_made_again_is_told_in_words(
    config: CosyVoiceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OddError(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")

    def job(given: Any) -> None:
        raise OddError(1, 2)

    speaker = config.open()
    monkeypatch.setitem(library().HOOKS, "llm", job)
    with pytest.raises(RuntimeError, match="OddError: 1 and 2"):
        speaker.speak(utterance())


def test_a_fault_among_several_at_once_fails_them_all_so_that_halves_are_tried(
    vllm: CosyVoiceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = vllm.open()
    texts = [utterance(), utterance(emotion="angry", text="No.")]
    monkeypatch.setitem(library().HOOKS, "llm", short_of_memory([], "angry"))
    with pytest.raises((torch.OutOfMemoryError, RuntimeError)) as caught:
        speaker.speak_all(texts)  # type: ignore[attr-defined]
    assert out_of_memory(caught.value) or "several" in str(caught.value)
    (alone,) = speaker.speak_all(texts[:1])  # type: ignore[attr-defined]
    assert len(alone.samples) == 2400


def test_a_bad_row_among_several_at_once_fails_alone(vllm: CosyVoiceConfig) -> None:
    texts = [utterance(), utterance(text="?!"), utterance(emotion="sad")]
    made = vllm.open().speak_all(texts)  # type: ignore[attr-defined]
    assert [type(speech).__name__ for speech in made] == ["Speech", "ValueError", "Speech"]


def test_vllm_is_told_the_architecture_before_the_model_is_loaded(
    config: CosyVoiceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[Any] = []
    monkeypatch.setitem(sys.modules, "vllm", stub_vllm(log))
    config.model_copy(update={"vllm": True}).open()
    assert log == [("register", "CosyVoice2ForCausalLM", "CosyVoice2ForCausalLM")]
    assert asked("load")[0][1]["load_vllm"] is True


def test_vllm_that_cannot_be_imported_is_a_sentence(config: CosyVoiceConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UserError, match=r"cannot run on vLLM .*set vllm: false"):
        config.model_copy(update={"vllm": True}).open()


def test_a_checkout_without_its_submodule_is_told(
    config: CosyVoiceConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "checkout" / "third_party" / "Matcha-TTS" / "matcha"
    (package / "__init__.py").unlink()
    package.rmdir()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # no wheel that would bring it either
    fixes = [problem.fix for problem in config.problems() if "Matcha-TTS" in problem.what]
    assert fixes == [f"git -C {tmp_path / 'checkout'} submodule update --init --recursive"]
