"""Readers of the `tone` speaker's code: an exact recognizer and label annotators, for tests and simulations."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from annotators.audio import prepare
from annotators.base import Annotator, AnnotatorConfig, Label, Recognizer, RecognizerConfig, Transcript
from annotators.clip import SAMPLE_RATE, Clip
from manifests import tonecode
from manifests.engine import Throughput
from manifests.labels import CUES, LANGUAGES, NONE
from manifests.wer import error_rates, normalise


def read_symbols(samples: np.ndarray, sample_rate: int, most: int | None = None) -> np.ndarray:
    """Symbols of an utterance, int (num_symbols,), without the silence before and after; cuts and noise misread.

    Args:
        most: Read so many from the start; all of them if None.
    """
    wave = prepare(samples, sample_rate, tonecode.SAMPLE_RATE)[tonecode.LEAD_SAMPLES :]
    symbols = tonecode.read(wave if most is None else wave[: most * tonecode.SYMBOL_SAMPLES])
    silent = np.flatnonzero(symbols == tonecode.SILENCE)
    return symbols[: silent[0]] if silent.size else symbols


class ToneRecognizerConfig(RecognizerConfig):
    """Reads the text back, byte for byte."""

    throughput: ClassVar[Throughput] = Throughput(4000.0, "core", "measured on 2.5 s utterances")
    licence: ClassVar[str] = "Apache-2.0"

    engine: Literal["tone"] = "tone"

    @property
    def languages(self) -> tuple[str, ...]:
        return LANGUAGES

    def revision(self) -> str:
        return "tone/2"

    def open(self) -> Recognizer:
        return ToneRecognizer()


class ToneRecognizer:
    """Stateless."""

    def transcribe(self, samples: np.ndarray, sample_rate: int, reference: str, language: str) -> Transcript:
        """The text that the tones spell, scored as any transcript is."""
        symbols = read_symbols(samples, sample_rate)[len(tonecode.FAMILIES) :]
        text = bytes(int(symbol) for symbol in symbols if symbol < 256).decode(errors="replace")
        heard, wanted = normalise(text, language), normalise(reference, language)
        return Transcript(heard, wanted, *error_rates(wanted, heard))


class ToneLabelConfig(AnnotatorConfig):
    """Reads the label of one cue family."""

    throughput: ClassVar[Throughput] = Throughput(4000.0, "core", "measured on 2.5 s utterances")
    licence: ClassVar[str] = "Apache-2.0"

    engine: Literal["tone"] = "tone"

    def revision(self) -> str:
        return "tone/2"

    def open(self) -> Annotator:
        return ToneAnnotator(self.family)


class ToneAnnotator:
    """Stateless but for its family."""

    def __init__(self, family: str) -> None:
        self.family = family

    def annotate(self, clip: Clip) -> Label:
        """The label that the tones spell, with certainty; equal probabilities when they spell none."""
        place = tonecode.FAMILIES.index(self.family)
        symbols = read_symbols(clip.audio, SAMPLE_RATE, place + 1)
        heard = len(symbols) > place
        value = tonecode.symbol_label(self.family, int(symbols[place])) if heard else NONE
        classes = (*CUES[self.family], NONE) if self.family == "event" else CUES[self.family]
        if heard and value in classes:
            return Label(value, {name: float(name == value) for name in classes}, {})
        return Label(NONE, dict.fromkeys(classes, 1 / len(classes)), {})
