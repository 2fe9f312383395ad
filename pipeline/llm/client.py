"""Asks a server of the chat-completions protocol: many requests at once, each with retries, a deadline and a limit.

What goes wrong with one request is an error of the row that asked. A server that is gone, or gives nothing but errors,
stops the run instead: `WorkFailedError`, for rows that nobody could have answered must not be quarantined. Wrong keys
and unknown models are the user's: `UserError`.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NoReturn

from manifests.errors import UserError, WorkFailedError
from pipeline.llm.cache import Answer, Cache, Request
from pipeline.llm.limits import LONGEST_PAUSE_S, Meter, retry_after
from pipeline.llm.server import RefusedError, Server, ServerError, TooLongError, connect, read_response

_LONGEST_BACKOFF_S = 30.0
_MAX_IN_A_ROW = 8  # requests given up one after the other, without an answer in between, before the run is stopped
_RETRIED = {408, 409, 425, 429}
_REFUSED = {400, 403, 413, 414, 422, 451}  # of what one request says, such as by a filter of content
_HARMLESS = ({"role": "user", "content": 'Answer with this JSON object and nothing else: {"ready": true}'},)
"""Words that no filter of content refuses: what is refused with them is no matter of words."""


@dataclass
class Account:
    """What was asked and spent.

    Attributes:
        asked: Answers that the server gave and that are paid.
        cached: Answers that were there already, or that two rows share.
        retries: Requests sent again, after an error.
        repairs: Answers that did not fit their form, and were asked for once more.
        unmetered: Paid answers whose server did not say how many tokens they took.
        cached_tokens: Tokens of the cached answers, prompt and completion.
    """

    asked: int = 0
    cached: int = 0
    retries: int = 0
    repairs: int = 0
    unmetered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    def take(self) -> dict[str, int]:
        """The counts since last time."""
        counts = {item.name: getattr(self, item.name) for item in fields(self)}
        for name in counts:
            setattr(self, name, 0)
        return counts


class Client:
    """Answers requests from the cache, or else from the server."""

    def __init__(self, server: Server, cache: Cache) -> None:
        self.server, self.cache, self.account = server, cache, Account()
        self._openai = connect(server)
        import httpx2  # of the client: a response as it came

        self._raw = httpx2.Response
        self._free = asyncio.Semaphore(server.concurrency)
        self._requests, self._tokens = Meter(server.requests_per_minute), Meter(server.tokens_per_minute)
        self._flying: dict[str, asyncio.Task[Answer]] = {}
        self._pause_until = 0.0
        self._given_up = 0
        self._refused: Counter[tuple[str, float]] = Counter()  # by model and temperature: in a row
        self._heard: set[tuple[str, float]] = set()  # of which an answer came
        self._testing = asyncio.Lock()
        self._jitter = random.Random()  # of waiting times alone, which decide no result

    async def ask(self, request: Request) -> Answer:
        """The answer to a request; equal requests that are on their way get one answer.

        Raises:
            ServerError: This request cannot be answered.
            WorkFailedError: The server is gone, or gives nothing but errors.
            UserError: It refuses the key, knows no such model, or the cache cannot be written.
        """
        task = self._flying.get(request.key)
        if task is None:
            task = asyncio.create_task(self._ask(request))
            self._flying[request.key] = task
            task.add_done_callback(lambda _: self._flying.pop(request.key, None))
            return await asyncio.shield(task)
        answer = await asyncio.shield(task)
        self._count_cached(answer)
        return answer

    def repaired(self) -> None:
        """Count an answer that did not fit its form."""
        self.account.repairs += 1

    def reject(self, requests: Sequence[tuple[Request, Answer]], reason: str) -> str:
        """Set answers that no row can use aside; returns where they are, for people."""
        return f"rejected/{self.cache.reject(requests, reason).name} of the cache"

    async def stop(self) -> None:
        """Drop what is on its way."""
        tasks = list(self._flying.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Give the connections back."""
        await self.stop()
        await self._openai.close()

    def _count_cached(self, answer: Answer) -> None:
        self.account.cached += 1
        self.account.cached_tokens += answer.prompt_tokens + answer.completion_tokens

    async def _ask(self, request: Request) -> Answer:
        # Files are read and written in threads: a slow disk must not keep other requests waiting.
        found = await asyncio.to_thread(self.cache.get, request.key)
        if found is not None:
            self._count_cached(found)
            return found
        async with self._free:
            try:
                answer = await self._tries(request)
            except RefusedError as error:
                await self._check_refusal(request, error)
                raise
        self._count_paid(request, answer)
        return await asyncio.to_thread(self.cache.put, request.key, answer)

    def _count_paid(self, request: Request, answer: Answer) -> None:
        way = _way(request)
        self._heard.add(way)
        self._given_up = self._refused[way] = 0
        self.account.asked += 1
        self.account.unmetered += not answer.metered
        self.account.prompt_tokens += answer.prompt_tokens
        self.account.completion_tokens += answer.completion_tokens

    async def _check_refusal(self, request: Request, error: RefusedError) -> None:
        """Find out whether a refusal is the fault of what the request says, by asking with harmless words.

        Done before the first answer, and when many refusals come in a row.

        Raises:
            UserError: Harmless words are refused as well, so every row would be.
            WorkFailedError: The server gives nothing but errors.
        """
        way = _way(request)
        self._refused[way] += 1
        async with self._testing:
            if way in self._heard and self._refused[way] < _MAX_IN_A_ROW:
                return
            harmless = replace(request, what="harmless", messages=_HARMLESS, seed=0)
            try:
                answer = await self._metered(harmless)
            except Exception as found:
                if _status(found) in _REFUSED | {401}:
                    self._refuse_all(request, _status(found), self._words(found))
                self._count_given_up(error.words)  # it cannot be told now
                return
            self._count_paid(harmless, answer)

    def _refuse_all(self, request: Request, status: int, words: str) -> NoReturn:
        where, key = self.server.where, self.server.key_of
        if status in (401, 403):
            raise UserError(f"{where} refuses the key ({words}): set {key('key_env')} to the variable that holds yours")
        raise UserError(
            f"{where} refuses every request to {request.model!r}, whatever it says ({words}): check {key('model')},"
            f" max_tokens, temperature, json_mode, send_seed and extra_body, and run {self.server.command} again"
        )

    async def _tries(self, request: Request) -> Answer:
        """Ask until there is an answer or no try is left."""
        for attempt in range(self.server.retries + 1):
            last = attempt == self.server.retries
            await self._wait_for_pause()
            try:
                return await self._metered(request)
            except (TimeoutError, ServerError) as error:
                reason, wait, gone = self._words(error), None, isinstance(error, TimeoutError)
            except Exception as error:
                reason, wait, gone = self._judge(error, request)
            if last:
                await self._give_up(reason, gone)
            self.account.retries += 1
            backoff = min(_LONGEST_BACKOFF_S, self.server.backoff_s * 2**attempt)
            await asyncio.sleep(wait if wait is not None else backoff * self._jitter.uniform(0.5, 1.0))
        raise AssertionError("the last try returns or raises")

    async def _metered(self, request: Request) -> Answer:
        guess = sum(len(message["content"]) for message in request.messages) / 4 + request.parameters["max_tokens"] / 2
        await self._requests.take(1)
        await self._tokens.take(guess)
        answer = await self._once(request)
        self._tokens.correct(answer.prompt_tokens + answer.completion_tokens - guess if answer.metered else 0.0)
        return answer

    async def _once(self, request: Request) -> Answer:
        """One attempt, all of it within the deadline, however slowly bytes may drip."""
        parameters = dict(request.parameters)
        parameters |= parameters.pop("extra_body", {})
        if parameters.pop("send_seed"):
            parameters["seed"] = request.seed
        if parameters.pop("json_mode"):
            parameters["response_format"] = {"type": "json_object"}
        body = {**parameters, "model": request.model, "messages": request.messages}
        async with asyncio.timeout(self.server.timeout_s):
            # As it is: a method of its own for completions checks the body and the response for milliseconds.
            response = await self._openai.post("/chat/completions", body=body, cast_to=self._raw)
        return read_response(response.content)

    def _judge(self, error: Exception, request: Request) -> tuple[str, float | None, bool]:
        """Of an error of the client: its words, the time to wait if the server says so, and whether it may be gone.

        Raises:
            ServerError: Trying again would not help.
            UserError: It is the user's to mend.
            WorkFailedError: The server wants to be left alone for long.
        """
        import aiohttp
        import openai

        if isinstance(error, openai.APIConnectionError):  # also a connection that broke half-way
            return self._words(error.__cause__ or error), None, True
        if isinstance(error, aiohttp.ClientError):  # what the client does not know as one of its own
            return self._words(error), None, True
        if not isinstance(error, openai.APIStatusError):
            raise error
        status, words = error.status_code, self._words(error)
        where, key = self.server.where, self.server.key_of
        if status == 401:
            self._refuse_all(request, status, words)
        if status in (404, 405) or 300 <= status < 400:
            raise UserError(
                f"{where} knows no model {request.model!r}, or no such path ({words}): check {key('model')}"
            )
        if status in (400, 422) and "response_format" in words:
            raise UserError(f"{where} takes no response_format ({words}): set {key('json_mode')}: false")
        if status < 500 and status not in _RETRIED:
            if status not in _REFUSED:
                self._count_given_up(words)
                raise ServerError(f"the server refuses the request: {words}")
            raise RefusedError(words)
        wait = retry_after(error.response.headers)
        if wait is not None and wait > LONGEST_PAUSE_S:
            raise WorkFailedError(
                f"{where} asks to wait for {wait:,.0f} s ({words}); run {self.server.command} again after that"
            )
        if wait is not None and status in (429, 503):
            now = asyncio.get_running_loop().time()
            self._pause_until = max(self._pause_until, now + wait)
        return words, wait, status >= 500

    def _words(self, error: BaseException) -> str:
        if isinstance(error, TimeoutError):
            return f"no whole answer within {self.server.timeout_s:g} s"
        words = " ".join(f"{type(error).__name__} {error}".split())[:300]
        return words.replace(self.server.secret, "***") if self.server.secret else words

    async def _wait_for_pause(self) -> None:
        """A server that asked one request to wait is left alone by all of them."""
        left = self._pause_until - asyncio.get_running_loop().time()
        if left > 0:
            await asyncio.sleep(left)

    async def _give_up(self, reason: str, gone: bool) -> NoReturn:
        if gone and not await self._is_there():
            raise WorkFailedError(f"{self.server.where} does not answer ({reason}); {self.server.sentence}")
        self._count_given_up(reason)
        raise ServerError(f"no usable response in {self.server.retries + 1} tries: {reason}")

    def _count_given_up(self, reason: str) -> None:
        self._given_up += 1
        if self._given_up >= _MAX_IN_A_ROW:
            raise WorkFailedError(
                f"{self.server.where} gives nothing but errors (last: {reason});"
                f" mend it and run {self.server.command} again, nothing that was answered is asked again"
            )

    async def _is_there(self) -> bool:
        """Whether anybody is there who can answer: a connection that breaks may be the fault of one request."""
        import openai

        try:
            async with asyncio.timeout(min(10.0, self.server.timeout_s)):
                await self._openai.models.list()
        except (TimeoutError, openai.APIConnectionError):
            return False
        except openai.APIStatusError as error:
            return error.status_code < 500  # a gateway may stand before a server that is gone
        except (openai.APIResponseValidationError, ValueError, AttributeError, TypeError, TooLongError):
            pass  # no list of models, but an answer
        return True


def _way(request: Request) -> tuple[str, float]:
    """What a server may refuse for good whatever the words are: a model, or how it is asked."""
    return request.model, request.parameters["temperature"]


def _status(error: Exception) -> int:
    """The status of a response, or 0 for an error that is none."""
    return getattr(error, "status_code", 0)
