"""Replies that a model generates, and how good they are without a judge: words, labels, emotion, likelihood, sanity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from manifests.bank import ScenarioBank
from manifests.labels import CUES, NONE
from manifests.think import THINK_END, THINK_START, parse_tag
from manifests.think.natural import stated
from manifests.wer import error_rates, normalise
from model.assemble import Assembled, Assembler
from model.classify import token_nll
from model.echat import EChat
from model.generate import Generator, Reply
from model.phases import Limits
from model.sample import Sample, Turn
from model.tasks import TASKS, Audio, Interleaved, Piece, Speech, Words

Values = dict[str, list[float]]

PACE = (0.5, 2.0)
"""Plausible length of speech: as many tokens to a character as the dataset's reply to this item has, times these."""
SLACK = 25
"""Tokens that a length may be off beside that: a second."""
LOOP_TOKENS, LOOP_PERIOD = 50, 25
"""Speech that repeats itself for two seconds, in a pattern of at most one second, is stuck."""


class ReplyScorer:
    """Generates replies in one layout and scores them; greedy, so the same every time."""

    def __init__(self, model: EChat, assembler: Assembler, task: str, given: str = "audio") -> None:
        pieces = TASKS[task].assistant
        if not any(isinstance(piece, Audio) for piece in TASKS[task].user):
            raise ValueError(f"the task {task} does not listen")
        self.model, self.assembler, self.task, self.given = model, assembler, task, given
        self.generator = Generator(model, assembler.text)
        self.thinks = next((p.field for p in pieces if isinstance(p, Words) and p.field.startswith("think")), "")
        # Speech of a baseline is not scored, so it need not be made.
        self.limits = Limits() if given == "audio" else Limits(speech_tokens=0)

    def score(self, samples: Sequence[Sample]) -> list[tuple[Values, dict[str, Any]]]:
        """Values by metric, and what was generated, of each dialogue; each with its audio loaded."""
        prompts = [self._prompt(sample) for sample in samples]
        begun = [self._begun(sample) for sample in samples]
        replies = self.generator.generate(prompts, self.task, limits=self.limits)
        replies = [replace(reply, think=(start + reply.think)) for start, reply in zip(begun, replies, strict=True)]
        transcripts = self._transcripts(samples, replies)
        likelihoods = self._likelihoods(samples, replies)
        out = []
        for sample, reply, words, more in zip(samples, replies, transcripts, likelihoods, strict=True):
            values, told = self._judged(sample, reply)
            values |= more
            if self.given != "transcript":
                values |= _word_errors(sample, words)
            out.append((values, {**told, "transcript": words}))
        return out

    def _begun(self, sample: Sample) -> str:
        """How the thought begins, where the transcript is given: the model goes on from there."""
        if self.given != "transcript" or self.thinks != "think_tag" or not sample.current.knows("transcript"):
            return ""
        words = " ".join(sample.current.query_text.replace("<", " ").replace(">", " ").split())
        return f"heard: {words} | age="

    def _prompt(self, sample: Sample) -> Assembled:
        prompt = self.assembler.assemble(sample, self.task, answer=False)
        begun = self._begun(sample)
        return prompt.then(self.assembler.text.encode(THINK_START + begun)) if begun else prompt

    def _transcripts(self, samples: Sequence[Sample], replies: Sequence[Reply]) -> list[str]:
        """What the model heard said: from the tag it thinks in, or else asked for by itself."""
        if self.thinks == "think_tag":
            return [parse_tag(reply.think).transcript for reply in replies]
        asked = [number for number, sample in enumerate(samples) if sample.current.knows("transcript")]
        words = [""] * len(samples)
        if asked:
            prompts = [
                self.assembler.assemble(samples[number], "understand", ("transcript",), answer=False)
                for number in asked
            ]
            for number, reply in zip(asked, self.generator.generate(prompts, "understand"), strict=True):
                words[number] = reply.text
        return words

    def _likelihoods(self, samples: Sequence[Sample], replies: Sequence[Reply]) -> list[Values]:
        """`reply.nll` and `speech.nll` of the dataset's reply, given what the model itself thought before it."""
        sequences, numbers = [], []
        for number, (sample, reply) in enumerate(zip(samples, replies, strict=True)):
            try:
                sequences.append(self._forced(sample, reply))
                numbers.append(number)
            except ValueError:
                continue  # the dataset's reply is none for this layout; the metric's weight says how many are left
        values: list[Values] = [{} for _ in samples]
        if sequences:
            sums, counts = (tensor.tolist() for tensor in token_nll(self.model, sequences))
            for number, of_item, of_tokens in zip(numbers, sums, counts, strict=True):
                for name, total, count in zip(("reply.nll", "speech.nll"), of_item, of_tokens, strict=True):
                    if count:
                        values[number][name] = [round(total / count, 6), count]
        return values

    def _forced(self, sample: Sample, reply: Reply) -> Assembled:
        """The dataset's reply behind the model's own thought; only the reply is asked for."""
        own = sample.current
        if self.thinks == "think_tag":
            own = replace(own, think_tag=f"{THINK_START}{reply.think}{THINK_END}")
        elif self.thinks == "think_text":
            own = replace(own, think_text=reply.think or "-")
        sequence = self.assembler.assemble(replace(sample, turns=(*sample.history, own)), self.task)
        tail = sum(self._length(piece, own) for piece in TASKS[self.task].assistant)
        asked = sequence.is_target & (np.arange(len(sequence)) >= len(sequence) - tail)
        return Assembled(sequence.ids, asked, sequence.turns)

    def _length(self, piece: Piece, turn: Turn) -> int:
        """Ids of a piece of the reply; thoughts do not count."""
        words = len(self.assembler.text.encode(turn.reply_text)) + 1  # and the end mark
        speech = len(turn.reply_tokens) + 2  # between two edges
        match piece:
            case Words(field="reply_text"):
                return words
            case Speech():
                return speech
            case Interleaved():
                return words + speech
        return 0

    def _judged(self, sample: Sample, reply: Reply) -> tuple[Values, dict[str, Any]]:
        """Values that need the texts and tokens alone, and what was generated."""
        turn, values = sample.current, {}
        named, emotion = {}, ""
        if self.thinks == "think_tag":
            tag = parse_tag(reply.think)
            named, emotion = dict(tag.labels), tag.reply_emotion
            values["think.well_formed"] = [float(tag.well_formed and reply.thought), 1.0]
            values["reply.emotion"] = [float(emotion == turn.reply_emotion), 1.0]
        elif self.thinks:
            named = stated(reply.think, sample.language, turn.query_text)
            whole = reply.thought and any(char.isalpha() for char in reply.think)
            values["think.well_formed"] = [float(whole), 1.0]
        if self.thinks:
            for family in CUES:
                if turn.knows(family):
                    values[f"think.{family}"] = [float(named.get(family, "") == turn.label(family)), 1.0]
        addressed = addresses(reply.text, sample.language)
        cues = {family: turn.label(family) for family in turn.cues if turn.label(family) != NONE}
        if cues:
            met = sum(addressed[family] == value for family, value in cues.items())
            values["reply.addresses_cue"] = [met / len(cues), float(len(cues))]
        if self.given == "audio" and len(turn.reply_tokens):
            values["speech.sane"] = [float(is_sane(reply, turn.reply_text, len(turn.reply_tokens))), 1.0]
        told = {
            "query": turn.query_text, "think": reply.think, "text": reply.text, "speech_tokens": len(reply.speech),
            "finished": reply.finished, "think_labels": named, "emotion": emotion or NONE,
            "planned": {"text": turn.reply_text, "emotion": turn.reply_emotion, "cues": cues},
            "labels": {family: turn.label(family) for family in CUES if turn.knows(family)},
            "addresses": addressed, "history": [[past.query_text, past.reply_text] for past in sample.history],
            "language": sample.language,
        }  # fmt: skip
        return values, told


def _word_errors(sample: Sample, heard: str) -> Values:
    """`transcript.wer`, weighted by the words of the query; in Chinese by its characters."""
    if not sample.current.knows("transcript"):
        return {}
    said = normalise(sample.current.query_text, sample.language)
    words = len(said.split())
    if not words:
        return {}
    wer, _ = error_rates(said, normalise(heard, sample.language))
    return {"transcript.wer": [round(wer, 6), float(words)]}


@lru_cache(maxsize=4)
def _bank(language: str) -> ScenarioBank:
    return ScenarioBank.load(language)


def addresses(text: str, language: str) -> dict[str, str]:
    """The label of each family that a reply speaks to, by the keywords of the shipped openers; `none` where it names
    none, or several."""
    bank = _bank(language)
    found = {}
    for family, values in CUES.items():
        named = [value for value in values if bank.mentions(text, family, value)]
        found[family] = named[0] if len(named) == 1 else NONE
    return found


def is_sane(reply: Reply, planned_text: str, planned_tokens: int) -> bool:
    """Whether the speech ends by itself, is about as long as its text takes, and is not stuck.

    Args:
        planned_text: The dataset's reply, whose speech of `planned_tokens` tells how fast the voice speaks.
    """
    pace = planned_tokens / max(1, len(planned_text))
    low, high = (factor * pace * len(reply.text) for factor in PACE)
    plausible = low - SLACK <= len(reply.speech) <= high + SLACK
    return bool(reply.text.strip()) and len(reply.speech) > 0 and reply.spoken and plausible and not loops(reply.speech)


def loops(tokens: np.ndarray) -> bool:
    """Whether speech tokens repeat a pattern for long."""
    for period in range(1, LOOP_PERIOD + 1):
        equal = tokens[period:] == tokens[:-period]
        breaks = np.flatnonzero(np.concatenate([[True], ~equal, [True]]))
        if len(equal) and np.diff(breaks).max() - 1 >= LOOP_TOKENS:
            return True
    return False
