"""Recognizer on Whisper with word times, as WhisperX: transcripts in batches over utterances, then forced alignment.

Unlike the embedded recognizer it does not know the text, so its error rates are error rates: of words in English, of
characters in Mandarin (`annotators.transcript_score`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import import_module
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from annotators import packages, transcript_score, whisper, word_times
from annotators.audio import prepare
from annotators.base import Recognizer, RecognizerConfig, Spoken, Transcript
from annotators.whisper import Whisper
from annotators.word_times import Aligner
from manifests.engine import Problem, Throughput, unkeyed
from manifests.errors import UserError
from manifests.labels import LANGUAGES
from manifests.weights import Weights

VERSION = 1  # of the code below: raise it when the same clip may give another transcript
_MODEL_FILES = ("model.bin", "config.json", "tokenizer.json", ("vocabulary.json", "vocabulary.txt"))
_ALIGNER_FILES = ("config.json", "vocab.json", "preprocessor_config.json", ("model.safetensors", "pytorch_model.bin"))
_MODULES = ("faster_whisper", "ctranslate2")
_ALIGNER_MODULES = ("whisperx", "torchaudio", "nltk")
_ON_CPU = Throughput(9.2, "core", "CPU time of whisper-base, int8, beam 5, one thread: benchmarks/whisperx_batching.py")
_ON_GPU = Throughput(
    106.0, "gpu", "large-v3's shape, random weights, greedy, clips of like length, H200: benchmarks/engines_gpu.py"
)
_ALIGNERS = {
    "en": "facebook/wav2vec2-base-960h",
    "zh": "jonatasgrosman/wav2vec2-large-xlsr-53-chinese-zh-cn",
}


class WhisperxRecognizer:
    """The loaded models; no state from one utterance to the next."""

    def __init__(self, model: Whisper, aligners: Mapping[str, Aligner]) -> None:
        """Keep them.

        Args:
            aligners: By language; without one there are no word times.
        """
        self._model, self._aligners = model, aligners

    def transcribe(self, samples: np.ndarray, sample_rate: int, reference: str, language: str) -> Transcript:
        """Recognise one utterance; see `transcribe_batch`.

        Raises:
            UserError: The language is neither English nor Mandarin.
            ValueError: The clip is empty or holds NaN or infinite samples.
        """
        (heard,) = self.transcribe_batch([Spoken(samples, sample_rate, reference, language)])
        if isinstance(heard, Exception):
            raise heard
        return heard

    def transcribe_batch(self, batch: Sequence[Spoken]) -> list[Transcript | Exception]:
        """Recognise utterances, those of one language and about one length together.

        Returns:
            In order, a transcript each (empty for silence), or why that utterance cannot be recognised.
        """
        out: dict[int, Transcript | Exception] = {}
        clips: dict[str, dict[int, np.ndarray]] = {}
        for place, spoken in enumerate(batch):
            try:
                clips.setdefault(_known(spoken.language), {})[place] = prepare(spoken.samples, spoken.sample_rate)
            except ValueError as error:
                out[place] = error
        for language, mine in clips.items():
            texts = self._model.transcribe(list(mine.values()), language)
            for (place, clip), text in zip(mine.items(), texts, strict=True):
                words = self._words(clip, text, language)
                out[place] = transcript_score.score(text, batch[place].reference, language, words)
        return [out[place] for place in range(len(batch))]

    def _words(self, clip: np.ndarray, text: str, language: str) -> tuple[word_times.Word, ...] | None:
        aligner = self._aligners.get(language)
        return aligner.words(clip, text) if aligner and text else None


def _known(language: str) -> str:
    if language not in LANGUAGES:
        raise UserError(f"whisperx is used for {', '.join(LANGUAGES)} here, not {language!r}")
    return language


class WhisperxConfig(RecognizerConfig):
    """Whisper by CTranslate2, with word times by a wav2vec2 aligner; the language is the row's."""

    licence = "code BSD-2-Clause (whisperx), MIT (the rest); weights MIT (Whisper), Apache-2.0 (aligners)"

    engine: Literal["whisperx"] = "whisperx"
    model: str = unkeyed(
        "Systran/faster-whisper-large-v3",
        "Whisper for CTranslate2: a folder, or OWNER/NAME[@COMMIT]; what is in it is in the revision",
    )
    align: dict[str, str] = unkeyed(_ALIGNERS, "wav2vec2 aligner of each language, likewise; without one no word times")
    beam: int = Field(default=5, ge=1, le=20, description="Width of the beam search; 1 is greedy")
    windows: Literal["short", "full"] = Field(
        default="short", description="encoder windows as long as the clip and 2 s, or of 30 s always"
    )
    compute_type: Literal["default", "int8", "int8_float16", "float16", "bfloat16", "float32"] = Field(
        default="default", description="Arithmetic; default is that of the weights, where the device has it"
    )
    device: Literal["auto", "cpu", "cuda"] = unkeyed("auto", "Where it runs; auto takes a GPU that is there")
    threads: int = unkeyed(1, "Threads of one worker on a CPU", ge=1)
    rows: int = unkeyed(32, "Dialogues whose utterances are recognised together", ge=1, le=1024)
    batch_seconds: float = unkeyed(240.0, "Most seconds of windows in one batch of the encoder", gt=0)

    @property
    def throughput(self) -> Throughput:
        """Of a GPU where one is asked for; `auto` may find none."""
        return _ON_GPU if self.device == "cuda" else _ON_CPU

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that it recognises."""
        return LANGUAGES

    @property
    def batch_rows(self) -> int:
        """Rows given to it at once."""
        return self.rows

    @field_validator("align")
    @classmethod
    def _languages(cls, align: dict[str, str]) -> dict[str, str]:
        for language in align:
            if language not in LANGUAGES:
                raise ValueError(f"{language!r} is not a language here: use {', '.join(LANGUAGES)}")
        return align

    @property
    def _modules(self) -> tuple[str, ...]:
        return (*_MODULES, *(_ALIGNER_MODULES if self.align else ()))

    @cached_property
    def _weights(self) -> Weights:
        return Weights(self.model, _MODEL_FILES)

    @cached_property
    def _aligners(self) -> dict[str, Weights]:
        return {language: Weights(name, _ALIGNER_FILES) for language, name in self.align.items()}

    @property
    def where(self) -> str:
        """The folders of Whisper and of the aligners."""
        aligners = (f"{language}: {one.where}" for language, one in sorted(self._aligners.items()))
        return "; ".join((self._weights.where, *aligners))

    def revision(self) -> str:
        """Versions of this code and the packages, and the weights."""
        parts = [f"whisperx-v{VERSION}.{whisper.VERSION}.{word_times.VERSION}.{transcript_score.VERSION}"]
        parts += [f"{name.replace('_', '-')}-{packages.version(name)}" for name in self._modules]
        parts += [f"{name}-{packages.version(name)}" for name in transcript_score.PACKAGES]
        parts.append(self._weights.revision())
        parts += [f"{language}:{one.revision()}" for language, one in sorted(self._aligners.items())]
        return "+".join(parts)

    def problems(self) -> list[Problem]:
        """Packages and weights that are missing; nothing is loaded."""
        found = packages.missing((*self._modules, *transcript_score.MODULES))
        for weights in (self._weights, *self._aligners.values()):
            found += weights.problems()
        return found

    def open(self) -> Recognizer:
        """Load the models.

        Raises:
            UserError: A package or weights are missing.
        """
        for problem in self.problems():
            raise UserError(f"whisperx cannot run: {problem.what}; {problem.fix}")
        device = packages.device_of(self.device)
        model = import_module("faster_whisper").WhisperModel(
            str(self._weights.found()), device=device, compute_type=self.compute_type, cpu_threads=self.threads
        )
        aligners = {name: Aligner.load(name, one.found(), device) for name, one in self._aligners.items()}
        recognizer = Whisper(model, self.beam, self.batch_seconds, self.windows == "short")
        return WhisperxRecognizer(recognizer, aligners)
