"""CosyVoice 2 and 3: a zero-shot speaker whose voices are the prompts of a bank, and which follows instructions.

How an utterance is spoken (`mode: auto`):

- a prompt of the wanted emotion is in the bank: zero-shot, which takes over voice and manner of the prompt;
- its cues ask for something else, or the prompt's manner is another: instruct, in words composed from the cues
  (`synthesis.instructions`);
- nothing is to be said in words, and the prompt is in another language than the text, or nobody wrote its words down:
  cross-lingual.

Deterministic for one GPU type and library version: every draw is seeded by the row. With vLLM draws depend on what is
spoken beside; the waveform that was committed is the truth then.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from manifests.engine import Capabilities, Problem, Throughput, unkeyed
from manifests.errors import UserError
from manifests.labels import AGES, EMOTIONS, GENDERS, NONE
from manifests.weights import Weights, digest
from synthesis import cosyvoice_files as files
from synthesis import cosyvoice_model as library
from synthesis import instructions
from synthesis.base import Speaker, SpeakerConfig, Speech, Utterance
from synthesis.prompts import CALM, VOICES, Prompt, VoiceBank, read_bank

EVENT_MARKS = {"laugh": "[laughter]", "cough": "[cough]", "sigh": "[sigh]"}
"""Sound events that the model makes itself, and the marks that ask for them."""
BREATH = "[breath]"
MAX_CHARACTERS = 1000
_VERSION = 3  # part of the revision: change it with any edit that changes the speech
_LLM, _FLOW, _VOCODER = 1.13, 8.23, 45.0
"""Seconds of audio a second of each network at batch 1."""
_LLM_BATCHED, _LLM_MOST = 1.55, 32
"""And of the first for each utterance of a batch: measured at 8 and 32; at 128 it was no more than at 32."""
_MEASURED = "eager, H200: benchmarks/engines_gpu.py"
_MARKS = tuple("[]<>|")  # would be read as the model's own marks


class CosyVoiceConfig(SpeakerConfig):
    """Config of the CosyVoice speaker."""

    licence: ClassVar[str] = "Apache-2.0 (code and weights)"
    seconds_per_char: ClassVar[float] = 0.065
    sample_rate_hz: ClassVar[int] = 24_000

    engine: Literal["cosyvoice"] = "cosyvoice"
    model: str = unkeyed("FunAudioLLM/Fun-CosyVoice3-0.5B-2512", "Folder or hub id; what is in it is in the revision")
    bank: Path | None = unkeyed(None, "A voice bank (`echat ingest voices`); likewise")
    mode: Literal["auto", "zero_shot", "cross_lingual", "instruct"] = "auto"
    dialect: str = ""
    breath: bool = Field(default=False, description="Begin every utterance with an audible breath")
    speed: float = Field(default=1.0, ge=0.5, le=2.0, description="Factor on the speech rate")
    fp16: bool = False
    tensorrt: bool = False
    vllm: bool = False
    concurrency: int = unkeyed(8, "Utterances in flight at once; used with vllm, which batches them", ge=1, le=64)

    @property
    def throughput(self) -> Throughput:
        """Of its three networks one after the other; vLLM batches the first alone."""
        llm = _LLM_BATCHED * min(self.concurrency, _LLM_MOST) if self.vllm else _LLM
        rate = 1 / (1 / llm + 1 / _FLOW + 1 / _VOCODER)
        return Throughput(round(rate, 2), "gpu", f"its networks' shapes, random weights, {_MEASURED}")

    @property
    def capabilities(self) -> Capabilities:
        languages = instructions.languages()
        if self.dialect:  # which no other language has: a run in one is refused when it is planned
            languages = tuple(name for name in languages if self.dialect in instructions.dialects(name))
        return Capabilities(languages, AGES, GENDERS, EMOTIONS, tuple(EVENT_MARKS))

    @property
    def voices(self) -> str:
        """A table that stands for a bank where none is named, so that a run can be priced; nobody can speak it."""
        return "cosyvoice"

    @property
    def voice_table(self) -> Path | None:
        return self.bank / VOICES if self.bank is not None and self.bank.is_dir() else None

    @property
    def batch_rows(self) -> int:
        return self.concurrency if self.vllm else 1

    def has_voice(self, voice: str, recipe: str = "") -> bool:
        if self.bank is None or not self.bank.is_dir():
            return not recipe  # of the table that stands for a bank
        return not recipe and voice in read_bank(self.bank).prompts

    @property
    def weights(self) -> Weights:
        """The model's folder or hub id, and what its generation must have."""
        place = Weights(self.model).place()
        return Weights(self.model, files.needed(place, self.tensorrt))

    @property
    def where(self) -> str:
        return self.weights.where

    def revision(self) -> str:
        """Names the weights, the bank, the instructions and this code.

        Raises:
            UserError: The bank cannot be read.
        """
        place = self.weights.place()
        if place is not None and self.weights.hub is None:
            weights = digest(files.parts(place))
        else:
            weights = self.weights.revision()
        bank = read_bank(self.bank).digest if self.bank is not None and self.bank.is_dir() else "none"
        return f"cosyvoice/{_VERSION}/{files.version()}/{weights}/bank-{bank}/instructions-{instructions.table_hash()}"

    def problems(self) -> list[Problem]:
        place = Weights(self.model).place()
        made = files.generation(place) if place else 0
        found = files.problems(made)
        found += self.weights.problems()
        if place and place.is_file():
            found.append(Problem(f"{place} is no folder of CosyVoice 2 or 3", "name the folder that holds llm.pt"))
        if self.bank is None:
            found.append(Problem("no voice bank is named", "set bank to what `echat ingest voices` made"))
        else:
            try:
                read_bank(self.bank)
            except UserError as error:
                found.append(Problem(str(error), "correct bank"))
        for flag, module in (("vllm", "vllm"), ("tensorrt", "tensorrt")):
            if getattr(self, flag) and importlib.util.find_spec(module) is None:
                found.append(
                    Problem(f"{flag} is asked for and not installed", f"pip install {module}, or {flag}: false")
                )
        known = {name for language in instructions.languages() for name in instructions.dialects(language)}
        if self.dialect and self.dialect not in known:
            found.append(
                Problem(f"no instruction says the dialect {self.dialect!r}", f"use {', '.join(sorted(known))}")
            )
        return found

    def open(self) -> Speaker:
        """Load the model.

        Raises:
            UserError: The library, the weights or the bank are missing.
        """
        folder = self.weights.found()
        if self.bank is None:
            raise UserError("the engine cosyvoice needs a voice bank: set bank to what `echat ingest voices` made")
        flags = library.Flags(self.fp16, self.tensorrt, self.vllm, self.concurrency if self.vllm else 1, self.speed)
        return CosyVoiceSpeaker(self, library.CosyVoice(folder, flags), read_bank(self.bank))


class CosyVoiceSpeaker:
    """The loaded model and its bank."""

    def __init__(self, config: CosyVoiceConfig, model: library.CosyVoice, bank: VoiceBank) -> None:
        self._config, self._model, self._bank = config, model, bank
        self.sample_rate = model.sample_rate

    def speak(self, utterance: Utterance) -> Speech:
        """Speak one utterance at the model's rate.

        Raises:
            ValueError: The voice, a label or the text cannot be rendered, or the model gave no sound.
        """
        text = marked(utterance, self._config.breath)
        prompt = self._bank.pick(utterance.voice, utterance.emotion, utterance.language, utterance.seed)
        mode, instruction = self._manner(utterance, prompt)
        # With vLLM several utterances draw from the same generators, so seeding would say nothing.
        with nullcontext() if self._config.vllm else library.seeded(utterance.seed):
            if mode == "instruct":
                samples = self._model.instruct(text, prompt, instruction)
            elif mode == "cross_lingual":
                samples = self._model.cross_lingual(text, prompt)
            else:
                samples = self._model.zero_shot(text, prompt)
        if not len(samples) or not np.isfinite(samples).all():
            raise ValueError(f"the model gave {'sound that is not finite' if len(samples) else 'no sound'}")
        return Speech(np.clip(samples, -1.0, 1.0).astype(np.float32), self._model.sample_rate)

    def speak_all(self, utterances: Sequence[Utterance]) -> list[Speech | Exception]:
        """Speak several at once where the backend batches them; see `BatchSpeaker`."""
        if not self._config.vllm:
            return [self._try(utterance) for utterance in utterances]
        before = self._model.faults
        with ThreadPoolExecutor(self._config.concurrency) as pool:
            made = list(pool.map(self._try, utterances))
        if self._model.faults > before and len(utterances) > 1:
            # Nobody knows whose it was, and who was cut short by it may look whole: halves find out.
            raise RuntimeError("the language model failed on one of several utterances spoken at once")
        return made

    def _try(self, utterance: Utterance) -> Speech | Exception:
        try:
            return self.speak(utterance)
        except UserError:
            raise
        except ValueError as error:
            return error

    def _manner(self, utterance: Utterance, prompt: Prompt) -> tuple[str, str]:
        """The mode for an utterance, and the instruction of the mode `instruct`.

        Raises:
            ValueError: The table has no words for a cue, or the mode `zero_shot` would lend it the wrong manner.
        """
        mode, strange = self._config.mode, prompt.emotion not in (utterance.emotion, *CALM)
        instruction = instructions.compose(utterance, self._config.dialect, calm=strange)
        if mode == "zero_shot":
            _check_zero_shot(utterance, prompt)
        if mode in ("zero_shot", "cross_lingual"):
            return mode, ""
        # Only zero-shot takes over a manner, and it needs the prompt's words, in the language of the text.
        foreign = prompt.language != utterance.language or not prompt.text
        carried = prompt.emotion == utterance.emotion and not foreign
        carried = carried and utterance.age == "adult" and not self._config.dialect
        # Where there is nothing to instruct, an empty instruction would be read as one.
        if instruction and (mode == "instruct" or not carried):
            return "instruct", instruction
        return ("cross_lingual" if foreign else "zero_shot"), ""


def _check_zero_shot(utterance: Utterance, prompt: Prompt) -> None:
    if not prompt.text:
        raise ValueError(f"nobody wrote down what {prompt.path.name} says, which the mode zero_shot needs: use auto")
    if prompt.emotion not in (utterance.emotion, *CALM):
        raise ValueError(
            f"the voice {utterance.voice!r} has no prompt that is {utterance.emotion} or calm, and the mode zero_shot"
            f" would speak as {prompt.path.name}, which is {prompt.emotion}: use auto, or add a prompt"
        )


def marked(utterance: Utterance, breath: bool = False) -> str:
    """The text with the marks for its sound event, at its beginning, after a comma, or at its end.

    Raises:
        ValueError: The text is empty, too long, or has characters that the model would take for marks; or the event
            has no mark.
    """
    text = utterance.text.strip()
    if not any(character.isalnum() for character in text):
        raise ValueError("the text has no words")
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"the text is too long: {len(text)} characters, cosyvoice takes {MAX_CHARACTERS} here")
    odd = sorted({character for character in text if character in _MARKS or not character.isprintable()})
    if odd:
        raise ValueError(f"the text has characters that cosyvoice would take for marks: {' '.join(map(repr, odd))}")
    if utterance.event != NONE:
        if utterance.event not in EVENT_MARKS:
            raise ValueError(f"cosyvoice has no event {utterance.event!r}")
        mark = EVENT_MARKS[utterance.event]
        pauses = [place + 1 for place, character in enumerate(text[:-1]) if character in ",;，；、"]
        places = [0, *pauses, len(text)]
        place = places[utterance.seed % len(places)]
        text = f"{text[:place]}{mark}{text[place:]}"
    return f"{BREATH}{text}" if breath else text
