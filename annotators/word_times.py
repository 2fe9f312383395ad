"""When each word of a transcript was said: forced alignment as whisperx does it, and checks of what comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from annotators.base import Word
from annotators.clip import SAMPLE_RATE
from manifests.torchaudio_cpu import import_torchaudio

VERSION = 1  # of the code below: raise it when the same clip and text may get other times
_SLACK = 0.03  # seconds: a frame of the aligner and rounding
_LEAST_COVERED = 0.5  # share of the sounding time that lies between the first word and the last
_LOUD_DB = 35.0  # sound this far below the loudest is taken for silence
_HOP = SAMPLE_RATE // 100


class Aligner:
    """A wav2vec2 CTC model of one language."""

    def __init__(self, model: Any, metadata: dict[str, Any], device: str, align: Callable[..., Any]) -> None:
        """Keep the model; see `load`."""
        self._model, self._metadata, self._device, self._align = model, metadata, device, align

    @classmethod
    def load(cls, language: str, folder: Path, device: str) -> Aligner:
        """Read a model from a folder in the layout of transformers."""
        import_torchaudio()
        splitter = import_module("nltk.tokenize.punkt").PunktSentenceTokenizer
        alignment: Any = import_module("whisperx.alignment")
        # A clip is one utterance, so whisperx' sentences are of no interest, and their splitter would be downloaded.
        alignment.nltk_load = lambda _: splitter()
        model, metadata = alignment.load_align_model(language, device, model_name=str(folder))
        return cls(model.eval(), metadata, device, alignment.align)

    def words(self, audio: np.ndarray, text: str) -> tuple[Word, ...] | None:
        """Times of the words of a text in a clip.

        Args:
            audio: float32 (num_samples,), mono at 16 kHz.
            text: What is said in it; words with blanks between, or characters in a language without blanks.

        Returns:
            The words in order; None where the text has no words, or where the times fail `plausible`.
        """
        text = " ".join(text.split())
        if not text or not len(audio):
            return None
        segment: Any = {"text": text, "start": 0.0, "end": len(audio) / SAMPLE_RATE}
        found = self._align([segment], self._model, self._metadata, audio, self._device)["word_segments"]
        if any(one.get(key) is None for one in found for key in ("start", "end")):
            return None
        words = [
            Word(one["word"], round(float(one["start"]), 3), round(float(one["end"]), 3), float(one.get("score", 0.0)))
            for one in found
        ]
        return tuple(words) if plausible(words, text, audio) else None


def plausible(words: Sequence[Word], text: str, audio: np.ndarray) -> bool:
    """Whether times can be right: all of the text's characters, in order, within the clip, over most of its sound.

    Args:
        words: In order.
        text: What was aligned.
        audio: float32 (num_samples,), mono at 16 kHz.
    """
    if not words or "".join(word.word for word in words).replace(" ", "") != text.replace(" ", ""):
        return False
    times = np.array([(word.start, word.end) for word in words], np.float64)
    if not np.isfinite(times).all() or (times[:, 1] < times[:, 0]).any():
        return False
    if (times[1:, 0] < times[:-1, 1] - _SLACK).any():
        return False
    if times[0, 0] < -_SLACK or times[-1, 1] > len(audio) / SAMPLE_RATE + _SLACK:
        return False
    sounding = sounding_times(audio)
    if not len(sounding):
        return False
    covered = (sounding >= times[0, 0] - _SLACK) & (sounding <= times[-1, 1] + _SLACK)
    return float(covered.mean()) >= _LEAST_COVERED


def sounding_times(audio: np.ndarray) -> np.ndarray:
    """Middles, in seconds, of the 10 ms of a clip that are not silent; float64 (num_frames,)."""
    count = len(audio) // _HOP
    power = (audio[: count * _HOP].reshape(count, _HOP).astype(np.float64) ** 2).mean(axis=1)
    if not count or power.max() <= 1e-10:
        return np.zeros(0)
    return (np.flatnonzero(power > power.max() * 10 ** (-_LOUD_DB / 10)) + 0.5) * _HOP / SAMPLE_RATE
