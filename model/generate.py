"""Generation: batched, with a cache, through the phases of a task; whole or as a stream of text and speech."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manifests.think import THINK_END, THINK_START
from model.assemble import AUDIO, PAD, Assembled
from model.batch import pad_mels
from model.echat import EChat
from model.phases import DONE, TEXT, Limits, Phases
from model.text import TextTokenizer


@dataclass(frozen=True)
class Sampling:
    """How the next id is chosen; the paper's settings of spoken replies are top_k 10, top_p 0.9, temperature 1.2."""

    temperature: float = 0.0
    """0: always the likeliest."""
    top_k: int = 0
    """Choose among so many likeliest; 0: among all."""
    top_p: float = 1.0
    """Choose among the likeliest that together have this probability."""
    seed: int = 0
    """Of every draw; a row of a batch draws as it would alone."""

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ValueError("sampling needs temperature >= 0, top_k >= 0 and 0 < top_p <= 1")


@dataclass(frozen=True)
class Reply:
    """What was generated for one prompt.

    Attributes:
        think: Without its marks; empty when the task does not think.
        text: The reply, or the answer of an understanding task.
        speech: int32 (num_tokens,), speech tokens.
        finished: False when a limit cut a part off.
        thought: False when a limit cut the thinking off.
        spoken: False when a limit cut the speech off.
    """

    think: str
    text: str
    speech: np.ndarray
    finished: bool
    thought: bool = True
    spoken: bool = True


@dataclass(frozen=True)
class Chunk:
    """A piece of a streamed reply: `kind` is `think`, `text` or `speech`."""

    kind: str
    text: str = ""
    speech: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))


class Generator:
    """A model ready to answer."""

    def __init__(self, model: EChat, text: TextTokenizer) -> None:
        self.model = model.eval()
        self.text = text

    def generate(
        self, prompts: Sequence[Assembled], task: str, sampling: Sampling | None = None, limits: Limits | None = None
    ) -> list[Reply]:
        """Answer some prompts (`Assembler.assemble(..., answer=False)`) together; in order."""
        followers = self._followers(prompts, task, limits)
        for _ in self._run(prompts, followers, sampling or Sampling()):
            pass
        return [self._reply(phases) for phases in followers]

    def stream(
        self, prompt: Assembled, task: str, sampling: Sampling | None = None, limits: Limits | None = None
    ) -> Iterator[Chunk]:
        """Answer one prompt bit by bit: words as they are complete, speech in blocks of the task's interleaving."""
        (phases,) = self._followers([prompt], task, limits)
        size = phases.turns.speech if phases.turns else 25
        said = {"think": 0, "text": 0}
        spoken = 0
        for _ in self._run([prompt], [phases], sampling or Sampling()):
            for kind, ids in (("think", phases.think), ("text", phases.words)):
                words = self._plain(ids)
                whole = len(words) if not words.endswith("\ufffd") else said[kind]  # half a character is not shown
                if whole > said[kind]:
                    yield Chunk(kind, words[said[kind] : whole])
                    said[kind] = whole
            if len(phases.speech) - spoken >= size or (phases.kind == DONE and len(phases.speech) > spoken):
                yield Chunk("speech", speech=np.array(phases.speech[spoken:], np.int32))
                spoken = len(phases.speech)

    def _followers(self, prompts: Sequence[Assembled], task: str, limits: Limits | None) -> list[Phases]:
        return [Phases(task, self.text, self.model.vocabulary, limits or Limits()) for _ in prompts]

    def _plain(self, ids: list[int]) -> str:
        return self.text.decode(ids).replace(THINK_START, "").replace(THINK_END, "")

    def _reply(self, phases: Phases) -> Reply:
        limits = phases.limits
        thought = len(phases.think) < limits.think_tokens
        spoken = len(phases.speech) < limits.speech_tokens
        finished = thought and spoken and len(phases.words) < limits.text_tokens
        speech = np.array(phases.speech, np.int32)
        think, words = self._plain(phases.think).strip(), self._plain(phases.words).strip()
        return Reply(think, words, speech, finished, thought, spoken)

    @torch.inference_mode()
    def _run(self, prompts: Sequence[Assembled], followers: list[Phases], sampling: Sampling) -> Iterator[None]:
        """Generate until every row is done; yields after each step. Rows are padded on the left."""
        from transformers import DynamicCache

        ids_BL, mask_BL = self._left_padded(prompts)
        device = ids_BL.device
        x_BLD = self.model.embed(ids_BL, self._heard(prompts))
        positions_BL = (mask_BL.cumsum(1) - 1).clamp(min=0)
        decoder: Any = self.model.decoder
        cache: Any = DynamicCache(config=decoder.config)
        draws = [torch.Generator().manual_seed(sampling.seed + number) for number in range(len(prompts))]
        while any(phases.kind != DONE for phases in followers):
            hidden_BLD = decoder(
                inputs_embeds=x_BLD, attention_mask=mask_BL, position_ids=positions_BL, cache=cache,
                use_cache=True,
            ).last_hidden_state  # fmt: skip
            logits_BV = self.model.logits(hidden_BLD[:, -1]).float().cpu()
            chosen = [
                self.text.end if phases.kind == DONE else self._choose(logits_V, phases, sampling, draw)
                for logits_V, phases, draw in zip(logits_BV, followers, draws, strict=True)
            ]
            for phases, joint in zip(followers, chosen, strict=True):
                if phases.kind != DONE:
                    phases.add(joint)
            yield
            next_B1 = torch.tensor(chosen, device=device)[:, None]
            x_BLD = self.model.embed(next_B1, None)
            positions_BL = positions_BL[:, -1:] + 1
            mask_BL = torch.cat([mask_BL, torch.ones_like(mask_BL[:, :1])], dim=1)

    def _heard(self, prompts: Sequence[Assembled]) -> Tensor | None:
        turns = [turn.mel for prompt in prompts for turn in prompt.turns]
        if not turns:
            return None
        device = self.model.speech_head.weight.device
        mels_ATM, frames_A = pad_mels([mel for mel in turns if mel is not None])
        return self.model.listen(mels_ATM.to(device), frames_A.to(device))

    def _left_padded(self, prompts: Sequence[Assembled]) -> tuple[Tensor, Tensor]:
        length = max(map(len, prompts))
        ids = np.full((len(prompts), length), PAD, np.int64)
        for row, prompt in enumerate(prompts):
            ids[row, length - len(prompt) :] = prompt.ids
        ids_BL = torch.from_numpy(ids).to(self.model.speech_head.weight.device)
        return ids_BL, (ids_BL >= AUDIO).long()

    def _choose(self, logits_V: Tensor, phases: Phases, sampling: Sampling, draw: torch.Generator) -> int:
        if phases.forced is not None:
            return phases.forced
        text_size = self.model.vocabulary.text_size
        allowed_V = torch.full_like(logits_V, -torch.inf)
        span = slice(0, len(self.text)) if phases.kind == TEXT else slice(text_size, None)
        allowed_V[span] = logits_V[span]
        allowed_V[phases.banned] = -torch.inf
        return pick(allowed_V, sampling, draw)


def pick(logits_V: Tensor, sampling: Sampling, draw: torch.Generator) -> int:
    """Choose an id by its score; ids at -inf are never chosen."""
    if sampling.temperature == 0:
        return int(logits_V.argmax())
    logits_V = logits_V / sampling.temperature
    if sampling.top_k:
        least = logits_V.topk(min(sampling.top_k, int(torch.isfinite(logits_V).sum()))).values[-1]
        logits_V = logits_V.masked_fill(logits_V < least, -torch.inf)
    odds_V = logits_V.softmax(-1)
    if sampling.top_p < 1:
        sorted_V, order_V = odds_V.sort(descending=True, stable=True)
        before_V = sorted_V.cumsum(-1) - sorted_V
        odds_V = odds_V.index_fill(0, order_V[before_V >= sampling.top_p], 0.0)
    return int(torch.multinomial(odds_V, 1, generator=draw))
