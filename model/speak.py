"""Speech tokens to a waveform, behind one protocol; which codec speaks is the caller's choice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from manifests.errors import UserError
from model.assemble import Assembled, Assembler
from model.audio import mel_of
from model.generate import Generator, Reply, Sampling
from model.phases import Limits
from model.sample import Sample, Turn
from model.tasks import TASKS, Audio, Words


class TokenToWave(Protocol):
    """What turns speech tokens into sound: the embedded codebook's inverse, a flow-matching decoder, ..."""

    codebook_size: int

    def decode(self, tokens: np.ndarray) -> Any:
        """Speech (`samples` float32 (num_samples,), `sample_rate` Hz) of int32 tokens (num_tokens,)."""
        ...


def stream_speech(
    generator: Generator, codec: TokenToWave, prompt: Assembled, task: str, sampling: Sampling, limits: Limits
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Answer a prompt bit by bit: (`think` or `text`, words, no samples) or (`speech`, no words, samples)."""
    silence = np.zeros(0, np.float32)
    for chunk in generator.stream(prompt, task, sampling, limits):
        samples = codec.decode(chunk.speech).samples if len(chunk.speech) else silence
        yield chunk.kind, chunk.text, samples


def answer(
    generator: Generator, assembler: Assembler, task: str, sampling: Sampling, limits: Limits,
    audio: Path | None = None, text: str = "",
) -> Reply:  # fmt: skip
    """Answer one recording or one text.

    Raises:
        UserError: The task wants what is not given, or the recording cannot be read.
    """
    if task not in TASKS:
        raise UserError(f"--task {task}: use one of {', '.join(TASKS)}")
    hears = any(isinstance(piece, Audio) for piece in TASKS[task].user)
    if hears and audio is None:
        raise UserError(f"--task {task}: listens to a recording; give --audio, or take tts or t2t")
    reads = any(isinstance(piece, Words) for piece in TASKS[task].user)
    if reads and not text.strip():
        raise UserError(f"--task {task}: reads a text; give --text")
    mel = None
    if hears and audio is not None:
        try:
            mel = mel_of(audio.read_bytes())
        except OSError as error:
            raise UserError(f"{audio}: cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise UserError(f"{audio}: {error}") from error
    labels = {"age": "adult", "gender": "female", "emotion": "neutral", "event": "none"}  # ask for every label
    turn = Turn(text, reply_text=text, frames=len(mel) if mel is not None else 0, mel=mel, labels=labels)
    prompt = assembler.assemble(
        Sample("prompt", (turn,)), task, ("transcript", "age", "gender", "emotion"), answer=False
    )
    (reply,) = generator.generate([prompt], task, sampling, limits)
    return reply
