"""Whisper over many short clips at once, on CTranslate2.

Whisper was trained on windows of 30 s, and the usual front ends give each clip such a window, whatever its length, so
that the encoder mostly hears silence. Here a clip's window is just long enough for it, and clips with windows of equal
length share batches. The length of the window depends on the clip alone, and clips are never joined, so that a row's
result does not depend on its neighbours. In a short window the decoder sometimes says a text twice over; a clip that
comes out so, or badly otherwise, is heard again in a window of 30 s.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from annotators.clip import SAMPLE_RATE

VERSION = 2  # of the code below: raise it when the same clip may give another transcript
FULL = 30  # seconds: the longest window, and that of the training
MARGIN = 2.0  # seconds of silence after a clip at least: with less, more clips are said twice over and heard again
LONGEST = FULL - MARGIN
_FRAMES = 100  # of the spectrogram, a second
_TOKENS = 15  # a second at most, more than anybody says; a decoder that loops stops there
_MOST_TOKENS = 224  # of one window, as Whisper itself
_LEAST_LOGPROB, _LIKELY_SILENT, _MOST_COMPRESSED = -1.0, 0.6, 2.4  # Whisper's own limits
_TWICE = re.compile(r"(?: ((?:\S+ ){3,}?)\1)|([^\x00-\u2fff]{6,})\2")


@dataclass(frozen=True)
class Decoded:
    """What was heard in one clip.

    Attributes:
        logprob: Mean log probability of its tokens.
        no_speech: Probability that nobody speaks.
        complete: The decoder came to an end by itself.
    """

    text: str
    logprob: float
    no_speech: float
    complete: bool

    @property
    def doubtful(self) -> bool:
        """Whether Whisper itself would try again: it looped, or is not sure of itself."""
        data = self.text.encode()
        compressed = bool(data) and len(data) / len(zlib.compress(data)) > _MOST_COMPRESSED
        return compressed or not self.complete or self.logprob < _LEAST_LOGPROB or repeats(self.text)

    @property
    def spoken(self) -> str:
        """The text; empty where Whisper takes the clip for silence."""
        return "" if self.no_speech > _LIKELY_SILENT and self.logprob < _LEAST_LOGPROB else self.text


def repeats(text: str) -> bool:
    """Whether three words or more (six characters, in a script without blanks) are said again at once."""
    reduced = "".join(c for c in text.lower() if c.isalnum() or c == " ")
    return _TWICE.search(f" {' '.join(reduced.split())} ") is not None


def window_seconds(num_samples: int) -> int:
    """The window of a clip, in whole seconds, that leaves `MARGIN` after it; at most `FULL`."""
    return min(FULL, math.ceil(num_samples / SAMPLE_RATE + MARGIN))


class Whisper:
    """A loaded model."""

    def __init__(self, model: Any, beam: int, batch_seconds: float, short_windows: bool) -> None:
        """Keep the model.

        Args:
            model: `faster_whisper.WhisperModel`.
            beam: Width of the beam search; 1 is greedy.
            batch_seconds: Windows of at most this many seconds in all share a batch.
            short_windows: Whether windows may be shorter than 30 s.
        """
        self._model, self._beam = model, beam
        self._batch_seconds, self._short = batch_seconds, short_windows

    def transcribe(self, clips: Sequence[np.ndarray], language: str) -> list[str]:
        """What is said in each clip, in order.

        Args:
            clips: Each float32 (num_samples,), mono at 16 kHz, of any length; empty and silent ones give "".
            language: Of all of them, as Whisper codes it.
        """
        out = [""] * len(clips)
        groups: dict[int, list[int]] = {}
        for place, clip in enumerate(clips):
            if len(clip) > LONGEST * SAMPLE_RATE:
                out[place] = self._long(clip, language)
            elif len(clip) and float(np.abs(clip).max()) > 0:
                groups.setdefault(window_seconds(len(clip)) if self._short else FULL, []).append(place)
        for window, places in sorted(groups.items()):
            again = []
            for place, heard in self._decode_all(clips, places, window, language):
                out[place] = heard.spoken
                if heard.doubtful and window < FULL:
                    again.append(place)
            for place, heard in self._decode_all(clips, again, FULL, language):
                out[place] = heard.spoken
        return [" ".join(text.split()) for text in out]

    def _decode_all(
        self, clips: Sequence[np.ndarray], places: Sequence[int], window: int, language: str
    ) -> Iterator[tuple[int, Decoded]]:
        """Decode some clips, in batches."""
        size = max(1, int(self._batch_seconds // window))
        for start in range(0, len(places), size):
            part = places[start : start + size]
            features = np.stack([self.features(clips[place], window) for place in part])
            yield from zip(part, self._decode(features, window, language), strict=True)

    def features(self, clip: np.ndarray, window: int) -> np.ndarray:
        """Log-mel spectrogram of a clip in its window, float32 (num_mels, 100 * window)."""
        padded = np.pad(clip, (0, window * SAMPLE_RATE - len(clip)))
        return self._model.feature_extractor(padded, padding=0)[:, : window * _FRAMES].astype(np.float32)

    def _decode(self, features: np.ndarray, window: int, language: str) -> list[Decoded]:
        """Encode and decode a batch, float32 (batch, num_mels, num_frames)."""
        storage = import_module("ctranslate2").StorageView.from_array(np.ascontiguousarray(features))
        tokenizer = self._tokenizer(language)
        most = min(_MOST_TOKENS, _TOKENS * window)
        prompt = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
        results = self._model.model.generate(
            self._model.model.encode(storage),
            [prompt] * len(features),
            beam_size=self._beam,
            max_length=2 * most,  # CTranslate2 stops after half of it, however long the prompt is
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=[-1],
        )
        found = []
        for result in results:
            tokens = result.sequences_ids[0]
            logprob = result.scores[0] * len(tokens) / (len(tokens) + 1)  # the end counts too
            text = tokenizer.decode(tokens).strip()
            found.append(Decoded(text, logprob, result.no_speech_prob, len(tokens) < most))
        return found

    def _long(self, clip: np.ndarray, language: str) -> str:
        """A clip beyond one window, in windows one after the other, as faster-whisper cuts them."""
        segments, _ = self._model.transcribe(
            clip, language=language, beam_size=self._beam, temperature=0.0, condition_on_previous_text=False
        )
        return " ".join(segment.text for segment in segments)

    def _tokenizer(self, language: str) -> Any:
        make, model = import_module("faster_whisper.tokenizer").Tokenizer, self._model
        return make(model.hf_tokenizer, model.model.is_multilingual, task="transcribe", language=language)
