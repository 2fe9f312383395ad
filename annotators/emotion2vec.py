"""Annotator of emotion by emotion2vec+ (Ma et al. 2024) through funasr.

The model hears any language and needs no reference of the voice. Its nine classes are mapped to ours by `CLASSES`; what
it calls other or unknown is no label here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from annotators import heads, packages
from annotators.base import Annotator, AnnotatorConfig, Label
from annotators.clip import SAMPLE_RATE, Clip
from manifests.engine import Problem, Throughput, unkeyed
from manifests.errors import UserError
from manifests.labels import EMOTIONS, NONE
from manifests.torchaudio_cpu import import_torchaudio
from manifests.weights import Weights

VERSION = 1  # of the code below: raise it when the same clip may get another label
CLASSES: Mapping[str, str] = {
    "angry": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "happy": "happy",
    "neutral": "neutral",
    "other": NONE,
    "sad": "sad",
    "surprised": "surprise",
    "unknown": NONE,
    "<unk>": NONE,
}
"""Ours by emotion2vec's, whose tokens are Chinese and English with a slash between."""
_FILES = ("model.pt", ("configuration.json", "config.yaml"), "config.yaml", "tokens.txt")
_PREFIX = "d2v_model."  # of the checkpoint's names of the encoder


class Emotion2vec:
    """The loaded model; each clip goes through it alone."""

    def __init__(self, model: Any, embedding: bool) -> None:
        """Keep the model.

        Args:
            model: `funasr.AutoModel`.
            embedding: Whether labels carry the clip's embedding.
        """
        self._model, self._embedding = model, embedding

    def annotate(self, clip: Clip) -> Label:
        """Label one clip; `none` at even odds for silence and for less than 0.1 s."""
        if clip.soundless:
            return heads.unsure((*EMOTIONS, NONE))
        # It gets the array at 16 kHz; a path would be read through torchcodec.
        (found,) = self._model.generate(
            clip.audio, granularity="utterance", extract_embedding=self._embedding, disable_pbar=True, fs=SAMPLE_RATE
        )
        probabilities = mapped(found["labels"], found["scores"])
        best = max(probabilities, key=lambda name: probabilities[name])
        evidence = {
            f"emotion2vec_{_plain(name)}": float(p) for name, p in zip(found["labels"], found["scores"], strict=True)
        }
        embedding = np.asarray(found["feats"], np.float32).reshape(-1) if self._embedding else None
        return Label(best, probabilities, evidence, embedding)


def mapped(labels: list[str], scores: list[float]) -> dict[str, float]:
    """Probabilities of our emotions and of none, which sum to 1.

    Args:
        labels: Of the model, such as `生气/angry`; each once.
        scores: Theirs.

    Raises:
        ValueError: A label is none of the model's nine.
    """
    out: dict[str, float] = dict.fromkeys((*EMOTIONS, NONE), 0.0)
    for label, score in zip(labels, scores, strict=True):
        if _plain(label) not in CLASSES:
            raise ValueError(f"the model's tokens.txt has the class {label!r}, which is none of emotion2vec's nine")
        out[CLASSES[_plain(label)]] += float(score)
    total = sum(out.values())
    return {name: value / total for name, value in out.items()}


def _plain(label: str) -> str:
    return label.rpartition("/")[2]


class Emotion2vecConfig(AnnotatorConfig):
    """emotion2vec+ large by default: seven emotions of ours out of its nine classes."""

    role = "annotator.emotion"
    licence = "code MIT (funasr, emotion2vec); weights: FunASR model licence"
    throughput = Throughput(98.0, "gpu", "its shape, random weights, batch 1, H200: benchmarks/engines_gpu.py")

    engine: Literal["emotion2vec"] = "emotion2vec"
    model: str = unkeyed(
        "emotion2vec/emotion2vec_plus_large", "A folder, or OWNER/NAME[@COMMIT]; what is in it is in the revision"
    )
    embedding: bool = Field(default=False, description="Keep the utterance embedding beside the label")
    device: Literal["auto", "cpu", "cuda"] = unkeyed("auto", "Where it runs; auto takes a GPU that is there")
    threads: int = unkeyed(1, "Threads of one worker on a CPU", ge=1)

    @property
    def keeps_embedding(self) -> bool:
        """Whether its labels carry an embedding."""
        return self.embedding

    @cached_property
    def _weights(self) -> Weights:
        return Weights(self.model, _FILES)

    @property
    def where(self) -> str:
        """The folder with the weights."""
        return self._weights.where

    def revision(self) -> str:
        """Versions of this code and of funasr, and the weights."""
        return f"emotion2vec-v{VERSION}+funasr-{packages.version('funasr')}+{self._weights.revision()}"

    def problems(self) -> list[Problem]:
        """A package or the weights are missing; nothing is loaded."""
        return [*packages.missing(("funasr", "torchaudio")), *self._weights.problems()]

    def open(self) -> Annotator:
        """Load the model, and check that its weights are those of the checkpoint.

        Raises:
            UserError: A package or the weights are missing, or the checkpoint is of another model.
        """
        for problem in self.problems():
            raise UserError(f"emotion2vec cannot run: {problem.what}; {problem.fix}")
        folder = self._weights.found()
        import_torchaudio()
        model = import_module("funasr").AutoModel(
            model=str(folder), device=packages.device_of(self.device), ncpu=self.threads, disable_update=True,
            disable_pbar=True, disable_log=True, log_level="ERROR", trust_remote_code=False,
        )  # fmt: skip
        check_weights(model.model, folder / "model.pt")
        return Emotion2vec(model, self.embedding)


def check_weights(model: Any, file: Path) -> None:
    """Check that every weight of a model is the checkpoint's; funasr leaves what it does not find at random values.

    Raises:
        UserError: One is missing, of another shape or of another value; names the file and the weight.
    """
    import torch

    state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    for key in ("state_dict", "model_state_dict", "model"):
        state = state.get(key, state)
    for name, loaded in model.state_dict().items():
        kept = state.get(name, state.get(_PREFIX + name))
        if kept is None or kept.shape != loaded.shape or not torch.equal(kept.to(loaded.dtype), loaded.cpu()):
            why = "has none" if kept is None else "has another"
            raise UserError(f"{file}: {why} of the model's weight {name}: name the folder of an emotion2vec model")
