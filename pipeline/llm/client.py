"""Asks a server of the chat-completions protocol: many requests at once, each with retries, a deadline and a limit.

What goes wrong with one request is an error of the row that asked. A server that is gone, or gives nothing but errors,
stops the run instead: `WorkFailedError`, for rows that nobody could have answered must not be quarantined. Wrong keys
and unknown models are the user's: `UserError`.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NoReturn

from manifests.errors import UserError, WorkFailedError
from pipeline.llm.cache import Answer, Cache, Request
from pipeline.llm.limits import LONGEST_PAUSE_S, Meter, retry_after

MAX_BYTES = 256 * 1024
"""Longest response, in bytes; what is longer is no answer to these requests, and is not parsed."""
_LONGEST_BACKOFF_S = 30.0
_MAX_IN_A_ROW = 8  # requests given up one after the other, without an answer in between, before the run is stopped
_RETRIED = {408, 409, 425, 429}
_REFUSED = {400, 403, 413, 414, 422, 451}  # of what one request says, such as by a filter of content
_SECRET_CHARS = 12  # keys that open anything are longer, and are no words
PIP = 'pip install "openai>=2"'


class ServerError(RuntimeError):
    """A server gave no usable response to one request, however often it was asked."""


class TooLongError(ServerError):
    """A response of more than `MAX_BYTES`."""


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


@dataclass(frozen=True)
class Server:
    """Where to ask, and how hard.

    Attributes:
        key: Secret; never in a message, a cache or a log.
        timeout_s: For one attempt, from the first byte sent to the last one read.
        section: Where the user has named the server: of a manifest, or a file.
        command: What to run again when it is mended.
    """

    base_url: str
    key: str
    concurrency: int
    timeout_s: float
    retries: int
    backoff_s: float
    requests_per_minute: float | None
    tokens_per_minute: float | None
    section: str = "script"
    command: str = "build"

    @property
    def secret(self) -> str:
        """What to blot out of all texts: the key, unless it is one such as `1` or `token` that words may hold."""
        return self.key if len(self.key) >= _SECRET_CHARS else ""

    @property
    def sentence(self) -> str:
        """What to do when it is gone."""
        return f"start it and run {self.command} again, nothing that was answered is asked again"

    @property
    def where(self) -> str:
        """Which server, for errors."""
        return f"{self.section}: the server at {self.base_url}"

    def key_of(self, name: str) -> str:
        """A key of the section, for errors."""
        return f"{self.section}{'.' if self.section == 'script' else ': '}{name}"


class Client:
    """Answers requests from the cache, or else from the server."""

    def __init__(self, server: Server, cache: Cache) -> None:
        self.server, self.cache, self.account = server, cache, Account()
        self._openai = _open(server)
        self._free = asyncio.Semaphore(server.concurrency)
        self._requests, self._tokens = Meter(server.requests_per_minute), Meter(server.tokens_per_minute)
        self._flying: dict[str, asyncio.Task[Answer]] = {}
        self._pause_until = 0.0
        self._given_up = 0
        self._answered = False
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
        found = self.cache.get(request.key)
        if found is not None:
            self._count_cached(found)
            return found
        async with self._free:
            answer = await self._tries(request)
        self._given_up, self._answered = 0, True
        self.account.asked += 1
        self.account.unmetered += not answer.metered
        self.account.prompt_tokens += answer.prompt_tokens
        self.account.completion_tokens += answer.completion_tokens
        return self.cache.put(request.key, answer)

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
        create = self._openai.chat.completions.with_raw_response.create
        async with asyncio.timeout(self.server.timeout_s):
            # What is in the extra body is sent as it is; the client takes 3 ms to check it otherwise.
            body = {**parameters, "messages": request.messages}
            response = await create(model=request.model, messages=[], extra_body=body)
        return read_response(response.http_response.content)

    def _judge(self, error: Exception, request: Request) -> tuple[str, float | None, bool]:
        """Of an error of the client: its words, the time to wait if the server says so, and whether it may be gone.

        Raises:
            ServerError: Trying again would not help.
            UserError: It is the user's to mend.
            WorkFailedError: The server wants to be left alone for long.
        """
        import openai

        if isinstance(error, openai.APIConnectionError):  # also a connection that broke half-way
            return self._words(error.__cause__ or error), None, True
        if not isinstance(error, openai.APIStatusError):
            raise error
        status, words = error.status_code, self._words(error)
        where, key = self.server.where, self.server.key_of
        # A key that was good is not what a filter of content refuses.
        if status == 401 or (status == 403 and not self._answered):
            raise UserError(f"{where} refuses the key ({words}): set {key('key_env')} to the variable that holds yours")
        if status in (404, 405) or 300 <= status < 400:
            raise UserError(
                f"{where} knows no model {request.model!r}, or no such path ({words}): check {key('model')}"
            )
        if status in (400, 422) and "response_format" in words:
            raise UserError(f"{where} takes no response_format ({words}): set {key('json_mode')}: false")
        if status < 500 and status not in _RETRIED:
            if status not in _REFUSED:  # a server that reads what it refuses is there, however often it does
                self._count_given_up(words)
            raise ServerError(f"the server refuses the request: {words}")
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


def read_response(body: bytes) -> Answer:
    """The answer in a response of the protocol.

    Raises:
        ServerError: It is none.
    """
    try:
        document = json.loads(body)
        choice = document["choices"][0]
        message = choice["message"]
        text = message.get("content")
        usage = document.get("usage") or {}
        told = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        counts = [count for count in told if isinstance(count, int) and 0 <= count < 2**40]
        names = [document.get(name) for name in ("model", "system_fingerprint")]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ServerError(f"the response is no chat completion ({type(error).__name__})") from error
    if text is not None and not isinstance(text, str):
        raise ServerError("the response is no chat completion (its content is no text)")
    text = (text or "").encode("utf-8", "backslashreplace").decode()  # half a character cannot be kept
    model = " ".join(_plain(name) for name in names if isinstance(name, str) and name)
    metered = len(counts) == 2
    prompt, completion = counts if metered else (0, 0)
    finish = _plain(str(choice.get("finish_reason") or ""))
    return Answer(text, finish, model, prompt, completion, metered)


def _plain(text: str) -> str:
    """A short name in printable ASCII, of what a server calls something."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text[:80])


def _open(server: Server) -> Any:
    """The OpenAI client, without its own retries, and behind a limit on the length of responses."""
    try:
        import openai
    except ImportError as error:
        raise UserError(f"script: the engine openai needs the package openai; {PIP}") from error

    http = _bounded(openai.DefaultAsyncHttpxClient, server.secret)
    return openai.AsyncOpenAI(
        base_url=server.base_url,
        api_key=server.key or "none",
        max_retries=0,
        timeout=2 * server.timeout_s,  # ours comes first, and counts to the last byte
        # Certificates take a third of a second to load, which plain HTTP has no use for.
        http_client=http(follow_redirects=False, verify=server.base_url.startswith("https:")),
    )


def _bounded(base: Any, secret: str) -> Callable[..., Any]:
    """An HTTP client that reads responses whole but never more than `MAX_BYTES`, and blots out an echoed key."""

    class Bounded(base):
        async def send(self, request: Any, *, stream: bool = False, **kwargs: Any) -> Any:
            response = await super().send(request, stream=True, **kwargs)
            body = bytearray()
            try:
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        raise TooLongError(f"a response of more than {MAX_BYTES:,} bytes was refused")
            finally:
                await response.aclose()
            kept = [(name, value) for name, value in response.headers.items() if name not in _OF_THE_WIRE]
            data = bytes(body).replace(secret.encode(), b"***") if secret else bytes(body)
            return type(response)(response.status_code, headers=kept, content=data, request=request)

    return Bounded


_OF_THE_WIRE = {"content-encoding", "content-length", "transfer-encoding"}
