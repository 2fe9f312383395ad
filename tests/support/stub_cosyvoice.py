"""A stand-in for a checkout of CosyVoice: the same names and signatures as upstream's, no networks.

It is written into a folder, for the engine imports it from there. `cosyvoice.cli.cosyvoice.LOG` says what was asked.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FRONTEND = """
class CosyVoiceFrontEnd:
    def __init__(self):
        self.spk2info = {}

    def _extract_text_token(self, text):
        return text, len(text)
"""
_CLI = '''
import threading
import time

import soundfile
import torch
from cosyvoice.cli.frontend import CosyVoiceFrontEnd

LOG = []
tqdm = list


class Network:
    """What upstream calls the model: its language model runs in a thread of its own."""

    def llm_job(self, given):
        HOOKS["llm"](given)

    def tts(self, **given):
        thread = threading.Thread(target=self.llm_job, args=(given,))
        thread.start()
        thread.join()
        LOG.append(("tts", given))
        yield {"tts_speech": torch.full((1, 2400), given["level"])}


HOOKS = {"llm": lambda given: None, "speak": lambda: None}


class CosyVoice:
    sample_rate = 24000

    def __init__(self):
        self.frontend, self.model = CosyVoiceFrontEnd(), Network()

    def add_zero_shot_spk(self, prompt_text, prompt_wav, zero_shot_spk_id):
        LOG.append(("enrol", prompt_text, prompt_wav))
        time.sleep(0.05)  # others come by meanwhile
        samples, rate = soundfile.read(prompt_wav)
        assert rate == self.sample_rate
        self.frontend.spk2info[zero_shot_spk_id] = {
            "level": float(abs(samples).max()), "prompt_text": prompt_text, "llm_prompt_speech_token": [1],
        }
        return True

    def _speak(self, mode, text, voice, drop=(), **options):
        HOOKS["speak"]()
        given = self.frontend.spk2info[voice]
        for name in drop:
            del given[name]
        LOG.append((mode, text, options))
        yield from self.model.tts(**given)

    def inference_zero_shot(
        self, tts_text, prompt_text, prompt_wav, zero_shot_spk_id="", stream=False, speed=1.0, text_frontend=True
    ):
        return self._speak("zero_shot", tts_text, zero_shot_spk_id, speed=speed, text_frontend=text_frontend)

    def inference_cross_lingual(
        self, tts_text, prompt_wav, zero_shot_spk_id="", stream=False, speed=1.0, text_frontend=True
    ):
        return self._speak("cross_lingual", tts_text, zero_shot_spk_id, ("prompt_text", "llm_prompt_speech_token"))

    def inference_instruct2(
        self, tts_text, instruct_text, prompt_wav, zero_shot_spk_id="", stream=False, speed=1.0, text_frontend=True
    ):
        return self._speak("instruct", tts_text, zero_shot_spk_id, ("llm_prompt_speech_token",))


def AutoModel(**options):
    LOG.append(("load", options))
    return CosyVoice()
'''


def make_checkout(folder: Path) -> Path:
    """Write the checkout, its submodule too."""
    files = {
        "cosyvoice/__init__.py": "",
        "cosyvoice/cli/__init__.py": "",
        "cosyvoice/cli/frontend.py": _FRONTEND,
        "cosyvoice/cli/cosyvoice.py": _CLI,
        "cosyvoice/vllm/__init__.py": "",
        "cosyvoice/vllm/cosyvoice2.py": "class CosyVoice2ForCausalLM:\n    pass\n",
        "third_party/Matcha-TTS/matcha/__init__.py": "",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def make_model(folder: Path, generation: int = 3) -> Path:
    """A model folder with every file that a generation needs, none of which is one."""
    names = ("llm.pt", "flow.pt", "hift.pt", "campplus.onnx", f"cosyvoice{generation}.yaml")
    text = ("config.json", "vocab.json", "merges.txt", "model.safetensors")
    for name in (*names, f"speech_tokenizer_v{generation}.onnx", *(f"CosyVoice-BlankEN/{name}" for name in text)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


@contextmanager
def imported_from_elsewhere() -> Iterator[None]:
    """Import the library anew inside, and whatever was imported before again after it."""
    paths, before = list(sys.path), _forget()
    try:
        yield
    finally:
        sys.path[:] = paths
        _forget()
        sys.modules.update(before)


def _forget() -> dict[str, Any]:
    names = [name for name in sys.modules if name.partition(".")[0] in ("cosyvoice", "matcha")]
    return {name: sys.modules.pop(name) for name in names}


def stub_vllm(log: list[Any]) -> types.ModuleType:
    """vLLM with a registry of models that writes down what it is told."""
    module = types.ModuleType("vllm")
    register = lambda self, name, model: log.append(("register", name, model.__name__))  # noqa: E731
    module.ModelRegistry = type("Registry", (), {"register_model": register})()  # type: ignore[attr-defined]
    return module
