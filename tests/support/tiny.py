"""Tiny models, dialogues and data for tests of the trainer."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import torch

from manifests.think import render_tag
from model.adapter import AdapterConfig
from model.assemble import Assembler
from model.datasets import Lengths
from model.echat import EChat, ModelConfig, qwen2
from model.encoder import EncoderConfig
from model.phases import Limits
from model.sample import Sample, Turn
from model.text import TextTokenizer

CODEBOOK = 32


@lru_cache(maxsize=1)
def tokenizer() -> TextTokenizer:
    """The shipped tokenizer."""
    return TextTokenizer.load()


def tiny_config(dropout: float = 0.0) -> ModelConfig:
    """Sizes at which a step takes milliseconds."""
    return ModelConfig(
        CODEBOOK,
        EncoderConfig(dim=32, layers=1, heads=2, ffn_dim=64, dropout=dropout),
        AdapterConfig(layers=1, heads=2, ffn_dim=64, dropout=dropout),
        qwen2(48, 2, 4, 2, 96, len(tokenizer())),
    )


def tiny_model(seed: int = 0, dropout: float = 0.0) -> EChat:
    """A model with random weights, in evaluation mode."""
    torch.manual_seed(seed)
    return EChat(tiny_config(dropout)).eval()


def assembler(model: EChat) -> Assembler:
    """The assembler of a tiny model."""
    return Assembler(tokenizer(), model.vocabulary)


SHORT = partial(Limits, think_tokens=30, text_tokens=20, speech_tokens=40)
"""Bounds of replies in place of `Limits`: random weights never end by themselves."""
EMOTIONS = ("happy", "sad", "angry", "fear")


def dialogue(number: int, turns: int = 1, seconds: float = 1.0, tokens: int = 60) -> Sample:
    """A dialogue whose texts, voice and tokens follow from its number."""
    rng = np.random.default_rng(number)
    made = []
    for turn in range(turns):
        emotion = EMOTIONS[(number + turn) % len(EMOTIONS)]
        labels = {"emotion": emotion, "gender": "male" if number % 2 else "female", "event": "none"}
        frames = int(100 * seconds * (1 + 0.3 * rng.random()))
        query = f"Where is box {number}?"
        made.append(
            Turn(
                query_text=query,
                reply_text=f"You sound {emotion}. Box {number} is here.",
                think_tag=render_tag(query, labels, "comforting"),
                think_text=f"They look for box {number} and sound {emotion}.",
                reply_emotion="comforting",
                labels=labels,
                frames=frames,
                mel=torch.from_numpy(rng.normal(size=(frames, 80)).astype(np.float32)),
                reply_tokens=rng.integers(0, CODEBOOK, tokens).astype(np.int32),
            )
        )
    return Sample(f"d{number}", tuple(made))


class Dialogues:
    """A dataset of dialogues in memory."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = list(samples)

    @property
    def lengths(self) -> Lengths:
        turns = [sample.turns for sample in self.samples]
        texts = [
            "".join(t.query_text + t.reply_text + t.think_tag + t.think_text for t in of_one).encode()
            for of_one in turns
        ]
        return Lengths(
            np.array([sum(t.frames for t in of_one) for of_one in turns]),
            np.array([len(text) for text in texts]),
            np.array([sum(len(t.reply_tokens) for t in of_one) for of_one in turns]),
        )

    def __len__(self) -> int:
        return len(self.samples)

    def load(self, item: int, audio: bool = True) -> Sample:
        sample = self.samples[item]
        return sample if audio else replace(sample, turns=tuple(replace(t, mel=None) for t in sample.turns))


def tone_flac(hz: float, seconds: float = 1.0, rate: int = 16_000) -> bytes:
    """A pure tone as FLAC."""
    import soundfile

    wave = 0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    stream = io.BytesIO()
    soundfile.write(stream, wave, rate, format="FLAC", subtype="PCM_16")
    return stream.getvalue()
