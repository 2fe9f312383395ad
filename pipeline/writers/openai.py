"""`openai`: texts by a language model behind any server of OpenAI's chat-completions protocol."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from manifests.engine import Problem, unkeyed
from manifests.errors import UserError, WorkFailedError
from manifests.prompts import Prompts, load_prompts
from pipeline.llm.author import Author, Style
from pipeline.llm.cache import Cache
from pipeline.llm.client import Client
from pipeline.llm.price import Pricer
from pipeline.llm.server import PIP, Server
from pipeline.writers.base import Asks, ScriptConfig

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS = ("model", "messages", "temperature", "max_tokens", "seed", "response_format", "stream", "n", "tools")
_VERSION = 3
"""Of the way rows are asked for; a raised one makes them anew."""
_BATCH_ROWS = 1024  # rows of a cell written side by side; each batch waits for its last rows


class OpenAIConfig(ScriptConfig):
    """Asks a language model for query, reply, think text and judgements; see docs/llm.md."""

    licence = "Apache-2.0 (client); the texts are under the terms of the model"

    engine: Literal["openai"] = "openai"
    base_url: str = unkeyed("", "Where the server is, up to and with /v1.")
    model: str = ""
    """Name of the model, as the server knows it."""
    model_revision: str = Field(default="", max_length=80, pattern=r"^[ -~]*$")
    """Of the weights, where the model's name does not tell; a changed one asks anew."""
    judge_model: str = ""
    """Model that judges; empty: the one that writes."""
    key_env: str = unkeyed("", "Name of the environment variable that holds the key; empty: none is needed.")
    temperature: float = Field(default=0.8, ge=0, le=2)
    max_tokens: int = Field(default=500, ge=16, le=32_768)
    """Of one answer, thoughts of a reasoning model included."""
    json_mode: bool = True
    """Ask with `response_format: {type: json_object}`; off for servers that do not know it."""
    send_seed: bool = True
    """Send the row's seed; off for servers that refuse it."""
    extra_body: dict[str, Any] = Field(default={})
    """More parameters of the request, such as `{chat_template_kwargs: {enable_thinking: false}}`."""
    contrastive: bool = True
    """Ask for the replies of a contrastive pair with the other voice in view."""
    natural_think: bool = True
    """Ask for the think text; off: composed from the shipped sentences."""
    judges: bool = True
    """Ask three judges; off: their columns are null."""
    prompts: Path | None = unkeyed(None, "Folder of prompts of your own; its content is in the revision.")
    concurrency: int = unkeyed(16, "Requests at once, of one worker.", ge=1, le=1024)
    timeout_s: float = unkeyed(120.0, "For one attempt, until the last byte.", gt=0, le=3600)
    retries: int = unkeyed(5, "Tries after the first.", ge=0, le=20)
    backoff_s: float = unkeyed(0.5, "Wait before the first retry; doubled each time, up to 30 s.", ge=0, le=30)
    requests_per_minute: float | None = unkeyed(None, "Of one worker.", gt=0)
    tokens_per_minute: float | None = unkeyed(None, "Of one worker, prompts and answers.", gt=0)
    price_in: float = unkeyed(0.0, "Price of a million prompt tokens.", ge=0)
    price_out: float = unkeyed(0.0, "Price of a million tokens of answers.", ge=0)
    cache: Path | None = unkeyed(None, "Folder of the answers; the run's own (cache/llm) by default.")

    @model_validator(mode="after")
    def _sense(self) -> OpenAIConfig:
        for name in ("base_url", "model"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} is missing: name the server's URL and the model in script")
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
            raise ValueError("base_url is no URL such as http://localhost:8000/v1")
        if url.username or url.password:
            raise ValueError("base_url holds a name or password: put the key into a variable, and name it in key_env")
        if self.key_env and not _NAME.fullmatch(self.key_env):
            # Not shown: it may be the key itself.
            raise ValueError("key_env is not the name of an environment variable (never the key itself)")
        ours = [name for name in self.extra_body if name in _OURS]
        if ours:
            raise ValueError(f"extra_body.{ours[0]} is set by the engine: use its own keys, or leave it out")
        odd = next((name for name, value in self.extra_body.items() if not _is_json(value)), None)
        if odd is not None:
            raise ValueError(f"extra_body.{odd} is nothing that JSON can say, such as a number that is not finite")
        return self

    @property
    def batch_rows(self) -> int:
        return _BATCH_ROWS

    @cached_property
    def templates(self) -> Prompts:
        """The prompts, read once."""
        return load_prompts(self.language, self.prompts)

    @property
    def style(self) -> Style:
        """How rows are asked for."""
        names = ("temperature", "max_tokens", "json_mode", "send_seed")
        parameters = {name: getattr(self, name) for name in names}
        if self.extra_body:
            parameters["extra_body"] = self.extra_body
        return Style(
            self.model, self.model_revision, self.judge_model or self.model, parameters,
            self.contrastive, self.natural_think, self.judges,
        )  # fmt: skip

    def revision(self) -> str:
        named = f"{self.model}{f'@{self.model_revision}' if self.model_revision else ''}"
        return f"openai/{named}+asking/{_VERSION}+prompts/{self.templates.revision}+bank/{self.bank.content_hash()}"

    def problems(self) -> list[Problem]:
        found = []
        for package in ("openai", "aiohttp"):
            if importlib.util.find_spec(package) is None:
                found.append(Problem(f"the package {package} is missing", PIP))
        key = self.key()
        if self.key_env and not key:
            found.append(Problem(f"the environment variable {self.key_env} is not set", "put the server's key into it"))
        if not all("!" <= char <= "~" for char in key):  # the client would show it, as a header that it cannot send
            what = f"the environment variable {self.key_env} holds blanks or characters other than printable ASCII"
            found.append(Problem(what, "put the server's key alone into it"))
        return found

    def key(self) -> str:
        """The server's key, without the line break that files and shells leave at its end."""
        return os.environ.get(self.key_env, "").strip() if self.key_env else ""

    def price(self, samples: Iterable[tuple[float, Sequence[Mapping[str, Any]]]]) -> Asks:
        pricer = Pricer(self.language)
        author = Author(pricer, self.templates, self.bank, self.style)
        for weight, rows in samples:
            pricer.weight = weight
            for row in rows:
                asyncio.run(author.texts(row))
        return Asks(
            pricer.requests, pricer.prompt_tokens, pricer.completion_tokens,
            self.cost(pricer.prompt_tokens, pricer.completion_tokens),
        )  # fmt: skip

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Money for so many tokens, in whatever currency the prices are."""
        return (prompt_tokens * self.price_in + completion_tokens * self.price_out) / 1e6

    def require(self) -> None:
        """Raise UserError where it cannot ask."""
        for problem in self.problems():
            raise UserError(f"script: openai: {problem.what}; {problem.fix}")

    def open(self) -> OpenAIWriter:
        self.require()
        return OpenAIWriter(self)


def _is_json(value: Any) -> bool:
    """Whether a value can be sent."""
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return False
    return True


class OpenAIWriter:
    """Writes rows side by side; the answers to each row are its own."""

    def __init__(self, config: OpenAIConfig) -> None:
        self.config = config
        self._runner = asyncio.Runner()
        self._client: Client | None = None

    def write(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | Exception]:
        """See `Writer.write`.

        Raises:
            WorkFailedError: The server is gone; what was answered is in the cache.
            UserError: It refuses the key, knows no such model, or the cache cannot be written.
        """
        return self._runner.run(self._write(rows))

    def take_metrics(self) -> dict[str, Any]:
        """What was asked and spent since last time."""
        if self._client is None:
            return {}
        counts = self._client.account.take()
        cost = self.config.cost(counts["prompt_tokens"], counts["completion_tokens"])
        return {"llm": {**counts, "cost": round(cost, 6)}}

    def close(self) -> None:
        """Give the connections back."""
        if self._client is not None:
            self._runner.run(self._client.close())
        self._runner.close()

    async def _write(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | Exception]:
        client = self._client = self._client or self._connect()
        author = Author(client, self.config.templates, self.config.bank, self.config.style)
        # Twice as many rows as requests, so that no request waits for a row that is being checked.
        free = asyncio.Semaphore(2 * self.config.concurrency)

        async def one(row: Mapping[str, Any]) -> dict[str, Any] | Exception:
            async with free:
                try:
                    return await author.texts(row)
                except (UserError, WorkFailedError):
                    raise
                except Exception as error:  # its own, such as a BadAnswerError or a ServerError
                    return error

        tasks = [asyncio.create_task(one(row)) for row in rows]
        try:
            return await asyncio.gather(*tasks)
        except (UserError, WorkFailedError):
            for task in tasks:
                task.cancel()
            await client.stop()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    def _connect(self) -> Client:
        config = self.config
        config.require()
        server = Server(
            config.base_url, config.key(), config.concurrency, config.timeout_s, config.retries, config.backoff_s,
            config.requests_per_minute, config.tokens_per_minute,
        )  # fmt: skip
        return Client(server, Cache(config.cache or (config.home or Path.cwd()) / "cache" / "llm"))
