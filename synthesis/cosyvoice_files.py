"""What CosyVoice needs: its library, from the wheel or a checkout, and the files of a model. Nothing is loaded here."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from pathlib import Path

from manifests.engine import Problem
from manifests.weights import digest

HOME_VARIABLE = "COSYVOICE_HOME"
MATCHA = Path("third_party", "Matcha-TTS")  # a submodule of the checkout
CONFIGS = {"cosyvoice2.yaml": 2, "cosyvoice3.yaml": 3}
"""The file that says which generation a model folder is of."""
_NEEDED = ("llm.pt", "flow.pt", "hift.pt", "campplus.onnx")
_TOKENIZERS = {2: "speech_tokenizer_v2.onnx", 3: "speech_tokenizer_v3.onnx"}
_TEXT = "CosyVoice-BlankEN"  # the folder with the text tokenizer and the shape of the language model
_NEEDED_TEXT = (
    f"{_TEXT}/config.json",
    (f"{_TEXT}/tokenizer.json", f"{_TEXT}/vocab.json"),
    (f"{_TEXT}/model.safetensors", f"{_TEXT}/pytorch_model.bin"),
)
_ESTIMATOR = "flow.decoder.estimator.fp32.onnx"  # what TensorRT compiles
_MODULES = (
    "hyperpyyaml", "modelscope", "onnxruntime", "whisper", "tiktoken", "inflect", "librosa", "conformer", "diffusers",
    "einops", "omegaconf", "transformers", "torchaudio",
)  # fmt: skip
"""What loading imports beside the library itself, wherever that comes from."""


def generation(folder: Path) -> int:
    """2 or 3; 0 for a folder that holds neither."""
    return next((number for name, number in CONFIGS.items() if (folder / name).is_file()), 0)


def needed(folder: Path | None, tensorrt: bool = False) -> tuple[str | tuple[str, ...], ...]:
    """Files that a model folder must hold, as `Weights.needs`; those that both generations need without a folder."""
    made = generation(folder) if folder is not None else 0
    known = (*((_TOKENIZERS[made],) if made else ()), *((_ESTIMATOR,) if tensorrt else ()))
    return (*_NEEDED, tuple(CONFIGS), *_NEEDED_TEXT, *known)


def parts(folder: Path) -> list[Path]:
    """Files of a model folder that decide its sound; TensorRT and vLLM write what they compile beside them."""
    names = (*CONFIGS, *_NEEDED, *_TOKENIZERS.values(), _ESTIMATOR)
    text = (path for path in (folder / _TEXT).rglob("*") if path.suffix != ".md")
    return [path for path in (*(folder / name for name in names), *sorted(text)) if path.is_file()]


def problems(made: int) -> list[Problem]:
    """What of the library is missing; nothing is imported.

    Args:
        made: The generation that it shall load; 0 when that is not known.
    """
    home, source = checkout(), installed()
    if not source and home is not None:
        return [Problem(f"no CosyVoice in {home}", f"correct {HOME_VARIABLE}")]
    if not source:
        return [Problem("cosyvoice2-eu is not installed", "make engines")]
    found = []
    wanted = (*_MODULES, *(("tn",) if home is None else ()), *(("x_transformers",) if made == 3 else ()))
    absent = [name for name in wanted if importlib.util.find_spec(name) is None]
    if absent:
        found.append(Problem(f"CosyVoice needs {', '.join(absent)}, not installed", "make engines"))
    if home is not None and not (home / MATCHA / "matcha").is_dir() and importlib.util.find_spec("matcha") is None:
        found.append(Problem(f"{home / MATCHA} is empty", f"git -C {home} submodule update --init --recursive"))
    if home is None and made == 3:
        fix = f"clone CosyVoice and set {HOME_VARIABLE}, or name a CosyVoice 2 model"
        found.append(Problem("the wheel cosyvoice2-eu knows no CosyVoice 3", fix))
    return found


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
