"""What is asked for a row: query, reply, think text and three judgements, each a request of its own.

A row is written alone, so all that it needs to know of other rows is asked again, and comes from the cache:

- the rows of a contrastive pair say the same: the request for a query holds only what both rows share (scenario, slots,
  topic, follow-up, the queries before) and a seed of the pair;
- a later turn answers to what was said before: the requests of the earlier turns are made again from the row's plan.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from manifests.bank import ScenarioBank
from manifests.errors import UserError
from manifests.ids import seed_of
from manifests.labels import CUES, NONE, REPLY_EMOTIONS
from manifests.prompts import Prompts, quoted, shown_cues
from manifests.think.natural import compose_natural, contradictions
from pipeline.llm.answers import (
    MAX_CHARS,
    BadAnswerError,
    Form,
    QueryForm,
    ReplyForm,
    ScoreForm,
    ThinkForm,
    in_language,
    read_answer,
)
from pipeline.llm.cache import Answer, Request
from pipeline.llm.server import ServerError
from pipeline.real import SOURCE
from pipeline.writers.base import requested_cues, slots_of

JUDGES = ("neutral", "plausible", "relevant")
"""After ParaS2S: are the words neutral as to the cue, could somebody say them so, does the reply answer the cue."""

_SHOWN = 700  # characters of a rejected answer in the error of its row; the rest is in the cache
_SENT_BACK = 2000  # characters of it that the model is shown again

F = TypeVar("F", bound=Form)


class Asker(Protocol):
    """Whoever answers; see `pipeline.llm.client.Client`."""

    async def ask(self, request: Request) -> Answer: ...

    def repaired(self) -> None: ...

    def reject(self, requests: Sequence[tuple[Request, Answer]], reason: str) -> str: ...


@dataclass(frozen=True)
class Style:
    """How to ask.

    Attributes:
        parameters: Sampling parameters of texts; judges are asked at temperature 0.
    """

    model: str
    revision: str
    judge_model: str
    parameters: Mapping[str, Any]
    contrastive: bool
    natural_think: bool
    judges: bool


@dataclass(frozen=True)
class Turn:
    """What the plan says of one turn."""

    followup: str
    cues: dict[str, str]
    contrast: dict[str, str]
    intensity: float


@dataclass(frozen=True)
class Written:
    """Query and reply of one turn."""

    query: str
    reply: str
    emotion: str
    served: str


@dataclass(frozen=True)
class Author:
    """Writes rows by asking."""

    asker: Asker
    prompts: Prompts
    bank: ScenarioBank
    style: Style

    async def texts(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The texts of a row: the columns of `schema.SCRIPT` but for those that say how a text is spoken.

        Raises:
            BadAnswerError: An answer is of no use, and neither is the one that was asked for in its place.
            ServerError, WorkFailedError, UserError: See `Client.ask`.
        """
        turns, written = turns_of(row), []
        for number, turn in enumerate(turns):
            query = await self._query(row, turns[: number + 1], [item.query for item in written])
            written.append(await self._reply(row, number, turn, query, written))
        last = await _all(
            self._think(row, turns[-1], written),
            *(self._judge(name, row, turns[-1], written) for name in JUDGES if self.style.judges),
        )
        scores = last[1:] or [None] * len(JUDGES)
        said, revision = written[-1], f"@{self.style.revision}" if self.style.revision else ""
        return {
            "query_text": said.query,
            "reply_text": said.reply,
            "reply_emotion": said.emotion,
            "think_text": last[0],
            "writer": f"openai/{self.style.model}{revision}{said.served}",
            "prompts": self.prompts.revision,
            **{f"judge_{name}": score for name, score in zip(JUDGES, scores, strict=True)},
        }

    async def _query(self, row: Mapping[str, Any], turns: Sequence[Turn], said: list[str]) -> str:
        """What the user says; depends on nothing that the rows of a pair do not share."""
        if row["plan.source"] == SOURCE:
            return row["plan.transcript"]
        limit = MAX_CHARS[self.prompts.language]["query"]
        seed = seed_of(row["plan.pair"] or row["id"], len(said), "query")
        form, _ = await self._ask(
            "query", QueryForm, seed, lambda form: self._fits(form.query, "query"),
            topic=row["plan.topic"], scenario=quoted(self._scenario(row)), said=list(map(quoted, said)),
            followup=quoted(self._followup(turns[-1].followup)) if turns[-1].followup else "", max_chars=limit,
        )  # fmt: skip
        return form.query

    async def _reply(
        self, row: Mapping[str, Any], number: int, turn: Turn, query: str, before: Sequence[Written]
    ) -> Written:
        paired = bool(self.style.contrastive and turn.contrast)
        form, answer = await self._ask(
            "contrast" if paired else "reply",
            ReplyForm,
            seed_of(row["id"], number, "reply"),
            lambda form: self._fits(form.reply, "reply"),
            query=quoted(query),
            history=_history(before),
            **self._voice(turn),
            other_cues=shown_cues(turn.contrast, self.prompts.language),
            reply_emotions=list(REPLY_EMOTIONS),
            max_chars=MAX_CHARS[self.prompts.language]["reply"],
        )
        served = f" ({answer.model})" if answer.model and answer.model != self.style.model else ""
        return Written(query, form.reply, form.reply_emotion, served)

    async def _think(self, row: Mapping[str, Any], turn: Turn, written: Sequence[Written]) -> str:
        said, seed, language = written[-1], seed_of(row["id"], row["turn"], "think"), row["plan.language"]
        if not self.style.natural_think:
            return compose_natural(said.query, turn.cues, said.emotion, language, seed)
        labels = _heard(row, turn)

        def check(form: ThinkForm) -> None:
            self._fits(form.think, "think")
            wrong = next(contradictions(form.think, labels, language, said.query), None)
            if wrong:
                raise BadAnswerError(f"think speaks of {wrong}, which the voice does not carry")

        form, _ = await self._ask(
            "think", ThinkForm, seed, check, query=quoted(said.query), reply=quoted(said.reply),
            reply_emotion=said.emotion, history=_history(written[:-1]), **self._voice(turn),
            max_chars=MAX_CHARS[self.prompts.language]["think"],
        )  # fmt: skip
        return form.think

    async def _judge(self, name: str, row: Mapping[str, Any], turn: Turn, written: Sequence[Written]) -> float:
        said = written[-1]
        form, _ = await self._ask(
            name, ScoreForm, seed_of(row["id"], row["turn"], "judge", name), None, query=quoted(said.query),
            reply=quoted(said.reply), history=_history(written[:-1]), **self._voice(turn),
        )  # fmt: skip
        return form.share

    async def _ask(
        self, what: str, form: type[F], seed: int, check: Callable[[F], None] | None, **values: Any
    ) -> tuple[F, Answer]:
        """Ask; an answer that does not fit is sent back once with the reason."""
        messages = self.prompts.render(what, **values)
        request = self._request(what, messages, seed)
        answer = await self.asker.ask(request)
        try:
            return _read(form, answer, check), answer
        except BadAnswerError as error:
            first = error
        self.asker.repaired()
        sent = {"role": "assistant", "content": answer.text[:_SENT_BACK] or "{}"}
        again = self._request(what, [*messages, sent, *self.prompts.render("repair", error=quoted(str(first)))], seed)
        second = await self.asker.ask(again)
        try:
            return _read(form, second, check), second
        except BadAnswerError as error:
            kept = self.asker.reject([(request, answer), (again, second)], str(error))
            raw = second.text if len(second.text) <= _SHOWN else f"{second.text[:_SHOWN]}... ({len(second.text)} chars)"
            raise BadAnswerError(
                f"{what}: {error} (asked twice; at first: {str(first)[:120]}); answer, whole in {kept}: {raw!r}"
            ) from None

    def _request(self, what: str, messages: Sequence[dict[str, str]], seed: int) -> Request:
        style, judging = self.style, what in JUDGES
        parameters = {**style.parameters, **({"temperature": 0.0} if judging else {})}
        model = style.judge_model if judging else style.model
        return Request(what, model, style.revision, tuple(messages), parameters, seed % 2**31)

    def _voice(self, turn: Turn) -> dict[str, Any]:
        strength = turn.intensity if turn.cues.get("emotion", NONE) not in (NONE, "neutral") else 0.0
        return {"cues": shown_cues(turn.cues, self.prompts.language), "strength": strength}

    def _fits(self, text: str, role: str) -> None:
        limit = MAX_CHARS[self.prompts.language][role]
        if len(text) > limit:
            raise BadAnswerError(f"{role} has {len(text)} characters; keep to {limit}")
        in_language(text, self.prompts.language)

    def _scenario(self, row: Mapping[str, Any]) -> str:
        found = next((item for item in self.bank.scenarios if item.id == row["plan.scenario"]), None)
        if found is None:
            raise UserError(f"the scenario {row['plan.scenario']!r} was planned but is not in the bank any more")
        return found.query_text(slots_of(row))

    def _followup(self, name: str) -> str:
        found = self.bank.followups.by_id.get(name) if self.bank.followups else None
        if found is None:
            raise UserError(f"the follow-up {name!r} was planned but is not in the bank any more")
        return found.query


def turns_of(row: Mapping[str, Any]) -> list[Turn]:
    """The turns of a row's dialogue up to its own, from its plan."""
    turns = [
        Turn(item["followup"], _ordered(item["cues"]), _ordered(item["contrast"]), item["intensity"])
        for item in json.loads(row["plan.earlier"])
    ]
    cues, contrast = _ordered(requested_cues(row)), _ordered(json.loads(row["plan.contrast"]))
    return [*turns, Turn(row["plan.followup"], cues, contrast, round(row["plan.intensity"], 4))]


def _ordered(cues: Mapping[str, str]) -> dict[str, str]:
    """Cues in one order, so that a turn is asked for in the same words by its own row and by those of later turns."""
    return {family: cues[family] for family in CUES if family in cues}


def _heard(row: Mapping[str, Any], turn: Turn) -> dict[str, str]:
    """The labels that a think text must not contradict: of a synthetic voice also that nothing else is there."""
    silent = {} if row["plan.source"] == SOURCE else {"emotion": "neutral", "event": NONE}
    return {**silent, **turn.cues}


def _history(written: Sequence[Written]) -> list[dict[str, str]]:
    return [{"query": quoted(item.query), "reply": quoted(item.reply)} for item in written]


def _read(form: type[F], answer: Answer, check: Callable[[F], None] | None) -> F:
    read = read_answer(form, answer.text, answer.finish)
    if check is not None:
        check(read)
    return read


async def _all(*coroutines: Any) -> list[Any]:
    """The results; when some fail, the others come to their end first, and what stops the run goes before a row."""
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    for error in sorted(errors, key=lambda error: isinstance(error, BadAnswerError | ServerError)):
        raise error
    return results
