"""CosyVoice itself, from the PyPI wheel or an upstream checkout, behind one way to ask for speech.

The wheel (`cosyvoice2-eu`, CosyVoice 2) takes prompts as tensors at 16 kHz, upstream (CosyVoice 2 and 3) as paths. Both
keep voices that were heard once; what both get wrong is mended here:

- a kept voice is handed out as the object itself, from which the modes then delete parts: here as a copy;
- with a kept voice the instruction is ignored: here the voice is kept apart from its prompt's words.

A model's folder is code: its YAML file names classes to make. Load none that you do not trust.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import itertools
import logging
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manifests.errors import UserError
from manifests.torchaudio_cpu import import_torchaudio
from manifests.weights import digest
from synthesis.prompts import Prompt

HOME_VARIABLE = "COSYVOICE_HOME"
CONFIGS = {"cosyvoice2.yaml": 2, "cosyvoice3.yaml": 3}
"""The file that says which generation a model folder is of."""
NEEDED = ("llm.pt", "flow.pt", "hift.pt", "campplus.onnx")
END_OF_PROMPT = "<|endofprompt|>"
SYSTEM = "You are a helpful assistant."  # what CosyVoice 3 was trained to read before every instruction
PROMPT_RATE = 16000
_ENROLLED = 256  # voices whose features are kept


@dataclass(frozen=True)
class Flags:
    """How the model is run."""

    fp16: bool = False
    tensorrt: bool = False
    vllm: bool = False
    concurrency: int = 1
    speed: float = 1.0


def generation(folder: Path) -> int:
    """2 or 3; 0 for a folder that holds neither."""
    return next((number for name, number in CONFIGS.items() if (folder / name).is_file()), 0)


def checkout() -> Path | None:
    """The upstream checkout that the environment names."""
    named = os.environ.get(HOME_VARIABLE)
    return Path(named).expanduser() if named else None


def installed() -> str:
    """Where the library would come from: the checkout, the wheel, or empty for nowhere."""
    home = checkout()
    if home is not None:
        return f"${HOME_VARIABLE}" if (home / "cosyvoice" / "cli" / "cosyvoice.py").is_file() else ""
    return "cosyvoice2-eu" if importlib.util.find_spec("cosyvoice2_eu") is not None else ""


def version() -> str:
    """What decides the sound beside the weights: the wheel's version, or a hash of the checkout's code."""
    home = checkout()
    if home is not None:
        return f"checkout-{digest(sorted((home / 'cosyvoice').rglob('*.py')))}"
    try:
        return importlib.metadata.version("cosyvoice2-eu")
    except importlib.metadata.PackageNotFoundError:
        return "none"


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
        with seeded(0):  # the flow draws its noise once, when it is made
            self._model = _load(folder, flags)
        self.sample_rate = int(self._model.sample_rate)
        parameters = inspect.signature(self._model.inference_zero_shot).parameters
        self._takes_paths = "prompt_wav" in parameters
        self._frontend = self._model.frontend
        self._frontend.spk2info = _Kept(self._frontend.spk2info)
        self._numbers = itertools.count()
        self._faults: list[Exception] = []
        self._model.model.llm_job = self._watch(self._model.model.llm_job)
        # The pipeline's texts are written as they are spoken, so nothing is left to normalise.
        self._options = {"stream": False, "text_frontend": False, "speed": flags.speed}
        self._files = tempfile.TemporaryDirectory(prefix="echat-prompts-")

    def zero_shot(self, text: str, prompt: Prompt) -> np.ndarray:
        """Speak as the prompt does, in its manner too. Returns float32 (num_samples,)."""
        voice = self._enrol(prompt)
        return self._join(self._model.inference_zero_shot(text, "", "", zero_shot_spk_id=voice, **self._options))

    def cross_lingual(self, text: str, prompt: Prompt) -> np.ndarray:
        """Speak in the prompt's voice, a text in another language than its own."""
        voice = self._enrol(prompt)
        if self.generation == 3:
            text = f"{SYSTEM}{END_OF_PROMPT}{text}"
        return self._join(self._model.inference_cross_lingual(text, "", zero_shot_spk_id=voice, **self._options))

    def instruct(self, text: str, prompt: Prompt, instruction: str) -> np.ndarray:
        """Speak in the prompt's voice, in the manner that the instruction asks for."""
        kept = self._frontend.spk2info
        voice = self._enrol(prompt)
        words = f"{SYSTEM} {instruction}" if self.generation == 3 else instruction
        tokens, length = self._frontend._extract_text_token(f"{words}{END_OF_PROMPT}")
        name = f"{voice}#{next(self._numbers)}"
        kept[name] = {**kept[voice], "prompt_text": tokens, "prompt_text_len": length}
        try:
            return self._join(self._model.inference_instruct2(text, words, "", zero_shot_spk_id=name, **self._options))
        finally:
            del kept[name]

    def _enrol(self, prompt: Prompt) -> str:
        """The name of a kept voice; its features are computed once."""
        kept = self._frontend.spk2info
        if prompt.sha256 not in kept:
            text = f"{SYSTEM}{END_OF_PROMPT}{prompt.text}" if self.generation == 3 else prompt.text
            self._model.add_zero_shot_spk(text, self._sound(prompt), prompt.sha256)
            kept.forget(_ENROLLED)
        return prompt.sha256

    def _sound(self, prompt: Prompt) -> Any:
        if self._takes_paths:
            import soundfile

            path = Path(self._files.name) / f"{prompt.sha256}.wav"
            soundfile.write(path, prompt.samples(self.sample_rate), self.sample_rate)
            return str(path)
        import torch

        return torch.from_numpy(prompt.samples(PROMPT_RATE))[None]

    def _watch(self, job: Callable[..., None]) -> Callable[..., None]:
        """The language model's job, which runs in a thread that nobody hears dying."""

        def watched(*args: Any) -> None:
            try:
                job(*args)
            except Exception as error:  # raised again where the speech is waited for
                self._faults.append(error)

        return watched

    @property
    def faults(self) -> int:
        """How often the language model has failed."""
        return len(self._faults)

    def _join(self, pieces: Iterator[dict[str, Any]]) -> np.ndarray:
        before = self.faults
        try:
            parts = [piece["tts_speech"].float().cpu().numpy().reshape(-1) for piece in pieces]
        except Exception:
            if self.faults > before:
                raise self._faults[-1] from None
            raise
        if self.faults > before:  # of this utterance, or of one that was spoken at the same time: `speak_all` knows
            raise self._faults[-1]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)


class _Kept(dict):  # type: ignore[type-arg]
    """Voices by name; whoever takes one gets a copy that can be changed."""

    def __getitem__(self, name: str) -> dict[str, Any]:
        return dict(super().__getitem__(name))

    def forget(self, most: int) -> None:
        """Drop the voices that were kept first, down to `most`."""
        for name in list(self)[: max(0, len(self) - most)]:
            self.pop(name, None)


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
            for path in (home, home / "third_party" / "Matcha-TTS"):
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
        make = getattr(library, "AutoModel", None)
        if make is not None:
            return make(model_dir=str(folder), trt_concurrent=flags.concurrency, **options)
        if generation(folder) == 3:
            raise UserError(
                f"{folder}: is a CosyVoice 3 model, which the wheel cosyvoice2-eu does not know: clone CosyVoice and"
                f" set {HOME_VARIABLE}"
            )
        model = library.CosyVoice2(str(folder), trt_concurrent=flags.concurrency, final=True, **options)
    _check_language_model(model, folder)
    return model


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
