"""A server of the chat-completions protocol: where it is, the client that talks to it, and what its responses hold."""

from __future__ import annotations

import ipaddress
import json
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from manifests.errors import UserError
from pipeline.llm.cache import Answer

MAX_BYTES = 256 * 1024
"""Longest response, in bytes; what is longer is no answer to these requests, and is not parsed."""
_SECRET_CHARS = 12  # keys that open anything are longer, and are no words
_OF_THE_WIRE = {"content-encoding", "content-length", "transfer-encoding"}
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16")))
"""Where clouds put the same service outside of the link-local ranges: AWS over IPv6, Alibaba, Oracle, Azure."""
PIP = 'pip install "openai[aiohttp]>=3"'


class ServerError(RuntimeError):
    """A server gave no usable response to one request, however often it was asked."""


class TooLongError(ServerError):
    """A response of more than `MAX_BYTES`."""


class RefusedError(ServerError):
    """A server will not answer a request for what it says."""

    def __init__(self, words: str) -> None:
        super().__init__(f"the server refuses the request: {words}")
        self.words = words


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


def connect(server: Server) -> Any:
    """The OpenAI client, without its own retries, and behind a limit on the length of responses.

    It speaks HTTP through aiohttp, which takes half the processor time of the client's default.
    """
    try:
        import aiohttp  # noqa: F401
        import openai
    except ImportError as error:
        raise UserError(f"script: the engine openai needs the packages openai and aiohttp; {PIP}") from error

    refuse_metadata(server)
    http = _bounded(openai.DefaultAioHttpClient, server.secret)
    return openai.AsyncOpenAI(
        base_url=server.base_url,
        api_key=server.key or "none",
        max_retries=0,
        timeout=2 * server.timeout_s,  # ours comes first, and counts to the last byte
        # Certificates take a third of a second to load, which plain HTTP has no use for.
        http_client=http(follow_redirects=False, verify=server.base_url.startswith("https:")),
    )


def refuse_metadata(server: Server) -> None:
    """Refuse link-local addresses, at which clouds hand out the credentials of a machine to whoever asks.

    Raises:
        UserError: The host of the server is such an address, however it is written, or a name that stands for one.
    """
    host = urlsplit(server.base_url).hostname or ""
    try:
        found = {str(item[4][0]) for item in socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)}
    except (OSError, UnicodeError):
        return  # whoever connects will say so
    for text in sorted(found):
        address = ipaddress.ip_address(text.partition("%")[0])
        plain = getattr(address, "ipv4_mapped", None) or address
        if plain.is_link_local or plain in _METADATA:
            raise UserError(
                f"{server.where} is at {plain}, an address for the machine's own credentials; name another server in"
                f" {server.key_of('base_url')}"
            )


def _bounded(base: Any, secret: str) -> Any:
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
