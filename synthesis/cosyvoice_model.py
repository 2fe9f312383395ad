"""CosyVoice itself, from the PyPI wheel or an upstream checkout, behind one way to ask for speech.

The wheel (`cosyvoice2-eu`, CosyVoice 2) takes prompts as tensors at 16 kHz, upstream (CosyVoice 2 and 3) as paths. Both
keep voices that were heard once; what both get wrong is mended here:

- a kept voice is handed out as the object itself, from which the modes then delete parts: here as a copy;
- with a kept voice the instruction is ignored: here the voice is kept apart from its prompt's words.

A model's folder is code: its YAML file names classes to make. Load none that you do not trust.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import logging
import os
import random
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manifests.errors import UserError
from manifests.torchaudio_cpu import import_torchaudio
from synthesis.cosyvoice_files import CONFIGS, HOME_VARIABLE, MATCHA, checkout, generation
from synthesis.prompts import Prompt

END_OF_PROMPT = "<|endofprompt|>"
SYSTEM = "You are a helpful assistant."  # what CosyVoice 3 was trained to read before every instruction
PROMPT_RATE = 16000
_ENROLLED = 256  # voices whose features are kept
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Flags:
    """How the model is run."""

    fp16: bool = False
    tensorrt: bool = False
    vllm: bool = False
    concurrency: int = 1
    speed: float = 1.0


class CosyVoice:
    """A loaded model.

    Args:
        folder: Of its weights.
        flags: How it is run.

    Raises:
        UserError: The library is not there, or is too old for the model.
    """

    def __init__(self, folder: Path, flags: Flags) -> None:
        self.generation = generation(folder)
        if not self.generation:
            raise UserError(f"{folder}: is no folder of CosyVoice 2 or 3: it has no {' or '.join(CONFIGS)}")
        with seeded(0):  # the flow draws its noise once, when it is made
            self._model = _load(folder, flags)
        self.sample_rate = int(self._model.sample_rate)
        parameters = inspect.signature(self._model.inference_zero_shot).parameters
        self._takes_paths = "prompt_wav" in parameters
        self._frontend = self._model.frontend
        self._frontend.spk2info = _Kept(self._frontend.spk2info)
        self._voices: dict[str, dict[str, Any]] = {}  # features by prompt, the longest unused first
        self._numbers = itertools.count()
        self._enrolling = threading.Lock()
        self._faults = 0
        self._fault: Exception = RuntimeError("no fault")
        self._model.model.llm_job = self._watch(self._model.model.llm_job)
        # The pipeline's texts are written as they are spoken, so nothing is left to normalise.
        self._options = {"stream": False, "text_frontend": False, "speed": flags.speed}
        self._files = tempfile.TemporaryDirectory(prefix="echat-prompts-")

    def zero_shot(self, text: str, prompt: Prompt) -> np.ndarray:
        """Speak as the prompt does, in its manner too. Returns float32 (num_samples,)."""
        with self._named(prompt) as voice:
            return self._join(self._model.inference_zero_shot(text, "", "", zero_shot_spk_id=voice, **self._options))

    def cross_lingual(self, text: str, prompt: Prompt) -> np.ndarray:
        """Speak in the prompt's voice, a text in another language than its own."""
        if self.generation == 3:
            text = f"{SYSTEM}{END_OF_PROMPT}{text}"
        with self._named(prompt) as voice:
            return self._join(self._model.inference_cross_lingual(text, "", zero_shot_spk_id=voice, **self._options))

    def instruct(self, text: str, prompt: Prompt, instruction: str) -> np.ndarray:
        """Speak in the prompt's voice, in the manner that the instruction asks for."""
        words = f"{SYSTEM} {instruction}" if self.generation == 3 else instruction
        tokens, length = self._frontend._extract_text_token(f"{words}{END_OF_PROMPT}")
        with self._named(prompt, prompt_text=tokens, prompt_text_len=length) as voice:
            return self._join(self._model.inference_instruct2(text, words, "", zero_shot_spk_id=voice, **self._options))

    @contextmanager
    def _named(self, prompt: Prompt, **changes: Any) -> Iterator[str]:
        """A name by which the library finds a prompt's features, some of them changed, for one utterance.

        The name is of that utterance alone, so no other one takes the features away while it speaks.
        """
        with self._enrolling:
            features = self._features(prompt)
        kept, name = self._frontend.spk2info, f"{prompt.sha256}#{next(self._numbers)}"
        kept[name] = {**features, **changes}
        try:
            yield name
        finally:
            del kept[name]

    def _features(self, prompt: Prompt) -> dict[str, Any]:
        """What the library hears in a prompt, computed once as long as it is kept; one caller at a time."""
        kept, key = self._frontend.spk2info, prompt.sha256
        if key not in self._voices:
            text = f"{SYSTEM}{END_OF_PROMPT}{prompt.text}" if self.generation == 3 else prompt.text
            with self._sound(prompt) as sound:
                self._model.add_zero_shot_spk(text, sound, key)
            self._voices[key] = kept.pop(key)
        self._voices[key] = self._voices.pop(key)  # now the last to be forgotten
        for unused in list(self._voices)[: len(self._voices) - _ENROLLED]:
            del self._voices[unused]
        return self._voices[key]

    @contextmanager
    def _sound(self, prompt: Prompt) -> Iterator[Any]:
        """The prompt's sound as the library takes it: a tensor at 16 kHz, or a file that is there meanwhile."""
        if not self._takes_paths:
            import torch

            yield torch.from_numpy(prompt.samples(PROMPT_RATE))[None]
            return
        import soundfile

        path = Path(self._files.name) / f"{prompt.sha256}.wav"
        try:
            soundfile.write(path, prompt.samples(self.sample_rate), self.sample_rate)
            yield str(path)
        finally:
            path.unlink(missing_ok=True)

    def _watch(self, job: Callable[..., None]) -> Callable[..., None]:
        """The language model's job, which runs in a thread that nobody hears dying."""

        def watched(*args: Any) -> None:
            try:
                job(*args)
            except Exception as error:  # raised again where the speech is waited for
                # As text, for whoever keeps the record would keep the frames and the tensors in them.
                _LOG.warning("the language model failed\n%s", traceback.format_exc())
                self._fault = _bare(error)
                self._faults += 1

        return watched

    @property
    def faults(self) -> int:
        """How often the language model has failed."""
        return self._faults

    def _join(self, pieces: Iterator[dict[str, Any]]) -> np.ndarray:
        before = self.faults
        try:
            parts = [piece["tts_speech"].float().cpu().numpy().reshape(-1) for piece in pieces]
        except Exception:
            if self.faults > before:
                raise _bare(self._fault) from None
            raise
        if self.faults > before:  # of this utterance, or of one that was spoken at the same time: `speak_all` knows
            raise _bare(self._fault)
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)


class _Kept(dict):  # type: ignore[type-arg]
    """Voices by name; whoever takes one gets a copy that can be changed."""

    def __getitem__(self, name: str) -> dict[str, Any]:
        return dict(super().__getitem__(name))


def _bare(error: Exception) -> Exception:
    """An error like another without its traceback, whose frames hold the tensors that did not fit."""
    try:
        return copy.copy(error)
    except Exception:  # whatever a constructor may raise that wants other arguments
        return RuntimeError(f"{type(error).__name__}: {error}")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Every global generator that the model draws from, set to a seed for a while and then put back."""
    import torch

    mine, numbers = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed % 2**63)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield
    finally:
        random.setstate(mine)
        np.random.set_state(numbers)


def _load(folder: Path, flags: Flags) -> Any:
    options = {"load_trt": flags.tensorrt, "load_vllm": flags.vllm, "fp16": flags.fp16}
    with _quiet():
        home = checkout()
        if home is not None:
            for path in (home, home / MATCHA):
                if str(path) not in sys.path:
                    sys.path.insert(0, str(path))
        import_torchaudio()
        try:
            from cosyvoice.cli import cosyvoice as library  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise UserError(
                f"CosyVoice cannot be imported ({error}): run `make engines`, see docs/cluster.md"
            ) from error
        library.tqdm = lambda items: items
        _leave_out_normalisers(sys.modules["cosyvoice.cli.frontend"])
        if flags.vllm:
            _register_with_vllm()
        make = getattr(library, "AutoModel", None)
        if make is not None:
            return make(model_dir=str(folder), trt_concurrent=flags.concurrency, **options)
        if generation(folder) == 3:
            raise UserError(
                f"{folder}: is a CosyVoice 3 model, which the wheel cosyvoice2-eu does not know: clone CosyVoice and"
                f" set {HOME_VARIABLE}"
            )
        # vLLM takes the language model apart, so it gets it after the check.
        options["load_vllm"] = False
        model = library.CosyVoice2(str(folder), trt_concurrent=flags.concurrency, final=True, **options)
        _check_language_model(model, folder)
        if flags.vllm:
            model.model.load_vllm(str(folder / "vllm"))
    return model


def _register_with_vllm() -> None:
    """Tell vLLM the architecture of CosyVoice's language model, without which it refuses to load that.

    Raises:
        UserError: vLLM, or what the library has for it, cannot be imported.
    """
    try:
        from cosyvoice.vllm.cosyvoice2 import CosyVoice2ForCausalLM  # pyright: ignore[reportMissingImports]
        from vllm import ModelRegistry  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"CosyVoice cannot run on vLLM ({error}): install the vLLM that its requirements name, or set vllm: false"
        ) from error
    ModelRegistry.register_model("CosyVoice2ForCausalLM", CosyVoice2ForCausalLM)


def _leave_out_normalisers(frontend: Any) -> None:
    """Keep the library from making what its `text_frontend` would use, which is off here.

    It takes long, and writes grammars with flags of its own into the package WeTextProcessing: a fault where that is
    read-only, and a change of others' results where it is not.
    """
    for name in ("ZhNormalizer", "EnNormalizer"):
        if hasattr(frontend, name):
            setattr(frontend, name, lambda *_, **__: None)


def _check_language_model(model: Any, folder: Path) -> None:
    """Refuse a checkpoint that lacks a part: the wheel then goes on with random numbers.

    Raises:
        UserError: Names the file and what it lacks.
    """
    import torch

    path = folder / "llm.pt"
    there = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    wanted = model.model.llm.state_dict()
    missing = [name for name, value in wanted.items() if name not in there or there[name].shape != value.shape]
    if missing:
        raise UserError(f"{path}: is not of this model: it lacks {missing[0]} and {len(missing) - 1} more of its parts")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the library prints, and its handler on the root logger, out of ours."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stdout = sys.stdout
    try:
        with open(os.devnull, "w") as sink:
            sys.stdout = sink
            yield
    finally:
        sys.stdout = stdout
        root.handlers[:] = handlers
        root.setLevel(level)
