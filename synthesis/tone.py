"""A speaker without a model: pure tones that carry the text and every label, so that they can be read back.

For tests, dry runs and simulations, where a neural voice would cost minutes. Its counterparts are the engines of
`annotators.tone`; the code is `manifests.tonecode`. Nobody should train on it, so it cannot be published.
"""

from __future__ import annotations

import time
import zlib
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from manifests import tonecode
from manifests.engine import Capabilities, Throughput, unkeyed
from manifests.labels import AGES, EMOTIONS, EVENTS, GENDERS, LANGUAGES
from synthesis.base import CodecConfig, Speaker, SpeakerConfig, Speech, SpeechCodec, Utterance

_LEVEL_DBFS = (-26.0, -20.0)  # at intensity 0 and 1
_NOISE_DBFS = -70.0


class ToneConfig(SpeakerConfig):
    """Config of the tone speaker."""

    throughput: ClassVar[Throughput] = Throughput(4000.0, "core", "measured on 2.5 s utterances, cost 0")
    licence: ClassVar[str] = "Apache-2.0"
    seconds_per_char: ClassVar[float] = tonecode.SYMBOL_SAMPLES / tonecode.SAMPLE_RATE
    sample_rate_hz: ClassVar[int] = tonecode.SAMPLE_RATE

    engine: Literal["tone"] = "tone"
    max_seconds: float = Field(default=60.0, gt=0, description="A text that takes longer is refused")
    cost: float = unkeyed(0.0, "CPU-seconds burnt per utterance, to simulate a slower engine", ge=0)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(LANGUAGES, AGES, GENDERS, EMOTIONS, EVENTS, publishable=False)

    @property
    def voices(self) -> str:
        return "tone"

    def revision(self) -> str:
        return "tone/2"

    def open(self) -> Speaker:
        return ToneSpeaker(self)


class ToneSpeaker:
    """Stateless but for its config."""

    def __init__(self, config: ToneConfig) -> None:
        self.config = config

    def speak(self, utterance: Utterance) -> Speech:
        """Render any text and labels: 40 ms a byte, at a level set by the intensity, over faint seeded noise.

        Raises:
            ValueError: The text is empty or takes longer than `max_seconds`.
        """
        data = utterance.text.encode()
        if not utterance.text.strip():
            raise ValueError("the text is empty")
        labels = [tonecode.label_symbol(family, getattr(utterance, family)) for family in tonecode.FAMILIES]
        symbols = np.array([*labels, *data])
        num = symbols.size * tonecode.SYMBOL_SAMPLES + 2 * tonecode.LEAD_SAMPLES
        if num > self.config.max_seconds * tonecode.SAMPLE_RATE:
            raise ValueError(f"the text takes {num / tonecode.SAMPLE_RATE:.0f} s, over {self.config.max_seconds:g} s")
        _burn(self.config.cost)
        rng = np.random.default_rng([utterance.seed, zlib.crc32(utterance.voice.encode())])
        samples = rng.standard_normal(num, dtype=np.float32) * np.float32(10 ** (_NOISE_DBFS / 20))
        phase = rng.uniform(0, 2 * np.pi)  # the voice: same symbols, another waveform
        low, high = _LEVEL_DBFS
        level = np.sqrt(2) * 10 ** ((low + (high - low) * utterance.intensity) / 20)
        words = np.float32(level) * tonecode.tones(symbols, phase)
        samples[tonecode.LEAD_SAMPLES : -tonecode.LEAD_SAMPLES] += words
        return Speech(samples, tonecode.SAMPLE_RATE)


def _burn(seconds: float) -> None:
    """Keep this thread's CPU busy for `seconds` of its own time."""
    end = time.thread_time() + seconds
    while seconds and time.thread_time() < end:
        sum(range(2000))


class ToneCodecConfig(CodecConfig):
    """Tokens are the symbols of the tone code: exact, and 25 a second as real codecs give."""

    throughput: ClassVar[Throughput] = Throughput(4000.0, "core", "measured on 2.5 s utterances")
    licence: ClassVar[str] = "Apache-2.0"

    engine: Literal["tone"] = "tone"

    def revision(self) -> str:
        return "tone/2"

    def open(self) -> SpeechCodec:
        return ToneCodec()


class ToneCodec:
    """Stateless."""

    token_rate = 25
    codebook_size = tonecode.NUM_SYMBOLS + 1

    def encode(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """Symbols of a waveform of the tone speaker; see `SpeechCodec.encode`."""
        if sample_rate != tonecode.SAMPLE_RATE:
            raise ValueError(f"the tone code runs at {tonecode.SAMPLE_RATE} Hz, not {sample_rate}")
        if not np.isfinite(samples).all():
            raise ValueError("the waveform has samples that are NaN or infinite")
        return tonecode.read(samples).astype(np.int32)

    def decode(self, tokens: np.ndarray) -> Speech:
        """The tones again, at an amplitude of 0.1."""
        return Speech(np.float32(0.1) * tonecode.tones(tokens), tonecode.SAMPLE_RATE)
