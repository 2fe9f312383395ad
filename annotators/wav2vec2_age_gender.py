"""Annotator of age and gender by audEERING's wav2vec2 heads (Burkhardt et al. 2023), through transformers.

One network estimates the age in years and the probability of a female, a male and a child's voice. It was trained on
real speech, so that it is a second opinion beside the heads of this package, which know our own synthesis.
"""

from __future__ import annotations

import math
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from annotators import heads, packages
from annotators.base import Annotator, AnnotatorConfig, Label
from annotators.clip import SAMPLE_RATE, Clip
from manifests.engine import Problem, Throughput, unkeyed
from manifests.errors import UserError
from manifests.labels import AGES, GENDERS
from manifests.weights import Weights

VERSION = 2  # of the code below: raise it when the same clip may get another label or probability of it
_FILES = ("config.json", ("model.safetensors", "pytorch_model.bin"))
_VOICES = ("female", "male", "child")  # order of the gender head
_YEARS = 100.0  # the age head gives centuries
_LONGEST = 30  # seconds that are heard of a clip: the network's memory grows with the square


class AgeGender:
    """The loaded network, shared by the annotators of age and gender in a process."""

    def __init__(self, network: Any, device: str) -> None:
        """Keep the network; see `load`."""
        self._network, self._device = network, device

    def measure(self, clip: Clip) -> tuple[float, dict[str, float]] | None:
        """Age in years and the probability of each kind of voice, of the first 30 s; None of a clip without sound."""
        import torch

        audio = clip.audio[: _LONGEST * SAMPLE_RATE]
        if clip.soundless:
            return None
        scaled = (audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)  # as its feature extractor does
        with torch.inference_mode():
            age, voices = self._network(torch.from_numpy(scaled.astype(np.float32))[None].to(self._device))
        return age.item() * _YEARS, dict(zip(_VOICES, voices[0].tolist(), strict=True))


@lru_cache(maxsize=1)
def load(folder: Path, device: str) -> AgeGender:
    """Read the network from a folder, once a process.

    Raises:
        UserError: The folder holds another model; names a weight that is missing.
    """
    from annotators.wav2vec2_network import read_network

    return AgeGender(read_network(folder).to(device), device)  # type: ignore[arg-type]


def age_probabilities(years: float, child_below: float, old_from: float, deviation: float) -> dict[str, float]:
    """Probability of each age group, were the true age normally distributed around the estimate."""

    def below(limit: float) -> float:
        return 0.5 * (1 + math.erf((limit - years) / (deviation * math.sqrt(2))))

    child, not_old = below(child_below), below(old_from)
    return {"child": child, "adult": not_old - child, "old": 1 - not_old}


class Wav2vec2Age:
    """Age group from the years that the network estimates."""

    def __init__(self, network: AgeGender, child_below: float, old_from: float, deviation: float) -> None:
        """Keep network and cut-offs, in years."""
        self._network, self._cuts = network, (child_below, old_from, deviation)

    def annotate(self, clip: Clip) -> Label:
        """Label one clip; `none` at even odds for silence and for less than 0.1 s."""
        found = self._network.measure(clip)
        if found is None:
            return heads.unsure(AGES)
        years, voices = found
        probabilities = age_probabilities(years, *self._cuts)
        # Between cut-offs that lie close together no group need be likeliest where the estimate is.
        child_below, old_from, _ = self._cuts
        value = "child" if years < child_below else "old" if years >= old_from else "adult"
        return Label(value, probabilities, {"years": years, "child_voice": voices["child"]})


class Wav2vec2Gender:
    """Female or male; what the network gives to a child's voice is left out, and told as evidence."""

    def __init__(self, network: AgeGender) -> None:
        """Keep the network."""
        self._network = network

    def annotate(self, clip: Clip) -> Label:
        """Label one clip; `none` at even odds for silence and for less than 0.1 s."""
        found = self._network.measure(clip)
        if found is None:
            return heads.unsure(GENDERS)
        years, voices = found
        total = voices["female"] + voices["male"]
        probabilities = {name: voices[name] / total if total > 0 else 0.5 for name in GENDERS}
        return heads.label(probabilities, {"years": years, "child_voice": voices["child"]})


class _Config(AnnotatorConfig):
    """What age and gender share."""

    licence = "code Apache-2.0 (transformers); weights CC-BY-NC-SA-4.0: not for commercial use"
    throughput = Throughput(98.0, "gpu", "its shape, random weights, batch 1, H200: benchmarks/engines_gpu.py")

    engine: Literal["wav2vec2_age_gender"] = "wav2vec2_age_gender"
    model: str = unkeyed(
        "audeering/wav2vec2-large-robust-24-ft-age-gender",
        "A folder, or OWNER/NAME[@COMMIT]; what is in it is in the revision",
    )
    device: Literal["auto", "cpu", "cuda"] = unkeyed("auto", "Where it runs; auto takes a GPU that is there")

    @cached_property
    def _weights(self) -> Weights:
        return Weights(self.model, _FILES)

    @property
    def where(self) -> str:
        """The folder with the weights."""
        return self._weights.where

    def revision(self) -> str:
        """Versions of this code and of transformers, and the weights."""
        package = packages.version("transformers")
        return f"wav2vec2-age-gender-v{VERSION}+transformers-{package}+{self._weights.revision()}"

    def problems(self) -> list[Problem]:
        """The weights are missing; nothing is loaded."""
        return self._weights.problems()

    def _network(self) -> AgeGender:
        for problem in self.problems():
            raise UserError(f"wav2vec2_age_gender cannot run: {problem.what}; {problem.fix}")
        return load(self._weights.found(), packages.device_of(self.device))


class Wav2vec2AgeConfig(_Config):
    """Age in years, cut into child, adult and old."""

    role = "annotator.age"
    classes: ClassVar[tuple[str, ...]] = AGES

    child_below: float = Field(default=14.0, description="Years below which a voice is a child's")
    old_from: float = Field(default=60.0, description="Years from which a voice is old")
    deviation: float = Field(
        default=10.0, gt=0, description="Standard error of the estimate in years, which makes it probabilities"
    )

    @model_validator(mode="after")
    def _order(self) -> Wav2vec2AgeConfig:
        if self.child_below >= self.old_from:
            raise ValueError("child_below must be less than old_from")
        return self

    def open(self) -> Annotator:
        """Load the network.

        Raises:
            UserError: The weights are missing or of another model.
        """
        return Wav2vec2Age(self._network(), self.child_below, self.old_from, self.deviation)


class Wav2vec2GenderConfig(_Config):
    """Gender, by the same network."""

    role = "annotator.gender"
    classes: ClassVar[tuple[str, ...]] = GENDERS

    def open(self) -> Annotator:
        """Load the network.

        Raises:
            UserError: The weights are missing or of another model.
        """
        return Wav2vec2Gender(self._network())
