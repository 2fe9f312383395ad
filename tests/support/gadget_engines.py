"""Two engines that cannot live in one environment: they want different versions of the package `gadget`."""

from __future__ import annotations

import importlib.metadata
import sys
from typing import Any, Literal

import numpy as np

from annotators.base import Recognizer, Transcript
from annotators.tone import ToneRecognizerConfig
from manifests.engine import Problem
from pipeline.registry import register
from synthesis.base import Speaker, Speech, Utterance
from synthesis.tone import ToneConfig

register("speaker", "gadget1", "gadget_engines:SpeakerOfGadget1")
register("recognizer", "gadget2", "gadget_engines:RecognizerOfGadget2")


def version() -> str:
    try:
        return importlib.metadata.version("gadget")
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def problems(wanted: str) -> list[Problem]:
    have = version()
    return (
        [] if have == wanted else [Problem(f"gadget {wanted} is needed, found {have}", f"pip install gadget=={wanted}")]
    )


def use(wanted: str) -> None:
    """Say which environment this is, in the voice of the package."""
    import gadget  # pyright: ignore[reportMissingImports]

    if wanted != gadget.VERSION:
        raise RuntimeError(f"this needs gadget {wanted}, not {gadget.VERSION}, in {sys.executable}")


class SpeakerOfGadget1(ToneConfig):
    engine: Literal["gadget1"] = "gadget1"  # type: ignore[assignment]

    def revision(self) -> str:
        return f"gadget-{version()}"

    def problems(self) -> list[Problem]:
        return problems("1.0")

    def open(self) -> Speaker:
        return _Speaker(super().open())


class _Speaker:
    def __init__(self, tone: Speaker) -> None:
        self.tone = tone

    def speak(self, utterance: Utterance) -> Speech:
        use("1.0")
        return self.tone.speak(utterance)


class RecognizerOfGadget2(ToneRecognizerConfig):
    engine: Literal["gadget2"] = "gadget2"  # type: ignore[assignment]

    def revision(self) -> str:
        return f"gadget-{version()}"

    def problems(self) -> list[Problem]:
        return problems("2.0")

    def open(self) -> Recognizer:
        return _Recognizer(super().open())


class _Recognizer:
    def __init__(self, tone: Any) -> None:
        self.tone = tone

    def transcribe(self, samples: np.ndarray, sample_rate: int, reference: str, language: str) -> Transcript:
        use("2.0")
        return self.tone.transcribe(samples, sample_rate, reference, language)
