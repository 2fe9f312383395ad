"""A server of the chat-completions protocol for tests: a real one over HTTP, with faults to order.

What it answers follows from the request alone, so runs with and without faults can be compared. It can also be run by
itself: `python tests/support/chat_server.py --latency 0.2 --port 0` prints its URL.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = Callable[["Handler", dict[str, Any], str], bool]
"""Handles a request in place of an answer, if it returns True; given the handler, the request and its prompt's name."""

PROMPT_TOKENS = 100
_ASKED = {
    '{"query"': "query", '{"reply"': "reply", '{"think"': "think", "one tell from the words": "neutral",
    "really say these words": "plausible", "also what the voice carries?": "relevant",
}  # fmt: skip


def prompt_of(request: dict[str, Any]) -> str:
    """Which prompt a request was made with, seen from its text."""
    text = "\n".join(message["content"] for message in request["messages"])
    if "the very same words" in text:
        return "contrast"
    return next((name for mark, name in _ASKED.items() if mark in text), "unknown")


def good_answer(request: dict[str, Any]) -> dict[str, Any]:
    """A sensible answer that follows from the request: other words for another request."""
    digest = hashlib.sha256(json.dumps([request["messages"][-1], request.get("seed")]).encode()).hexdigest()
    word = "".join(chr(ord("a") + int(digit, 16)) for digit in digest[:8])
    what = prompt_of(request)
    if what == "query":
        return {"query": f"They moved the {word} meeting to Friday."}
    if what in ("reply", "contrast"):
        return {"reply": f"Thank you for telling me about {word}. Take your time.", "reply_emotion": "comforting"}
    if what == "think":
        return {"think": f"It is about {word}. The answer should meet the voice as well."}
    return {"score": int(digest[0], 16) % 5 + 1, "reason": word}


def completed(content: str | None) -> dict[str, Any]:
    """A whole response of the protocol."""
    prompt, completion = PROMPT_TOKENS, len(content or "")
    return {
        "id": "x", "object": "chat.completion", "created": 0, "model": "stub-1", "system_fingerprint": "fp",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: ChatServer
    request_document: dict[str, Any]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionError, TimeoutError):
            super().handle()

    def do_GET(self) -> None:
        self.send(200, {"object": "list", "data": [{"id": "stub", "object": "model"}]})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        what, server, self.request_document = prompt_of(request), self.server, request
        with server.lock:
            server.requests.append(request)
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            server.now += 1
            server.most = max(server.most, server.now)
        try:
            if server.latency:
                time.sleep(server.latency)
            if server.fault is None or not server.fault(self, request, what):
                self.answer(json.dumps(server.answer(request)))
        finally:
            with server.lock:
                server.now -= 1

    def answer(self, content: str | None, **more: Any) -> None:
        """Answer with a completion, and count it."""
        prompt, completion = PROMPT_TOKENS, len(content or "")
        document = completed(content) | more
        with self.server.lock:
            self.server.answered += 1
            self.server.prompt_tokens += prompt
            self.server.completion_tokens += completion
        self.send(200, document)

    def send(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        """Send JSON."""
        self.send_raw(status, json.dumps(document).encode(), headers)

    def send_raw(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Send bytes."""
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def reset(self) -> None:
        """Break the connection off, as a crashing server does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


class ChatServer(ThreadingHTTPServer):
    """Counts what it was asked and what it answered."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, port: int = 0, latency: float = 0.0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.latency = latency
        self.fault: Fault | None = None
        self.answer: Callable[[dict[str, Any]], Any] = good_answer
        self.lock = threading.Lock()
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answered = self.prompt_tokens = self.completion_tokens = self.now = self.most = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # connections that tests break

    @property
    def port(self) -> int:
        return self.server_address[1]

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    def asked(self) -> Counter[str]:
        """How many requests came with each prompt."""
        return Counter(map(prompt_of, self.requests))

    def stop(self) -> None:
        """Stop listening; connections that are open are dropped."""
        self.shutdown()
        self.server_close()


@contextmanager
def serving(port: int = 0, latency: float = 0.0) -> Iterator[ChatServer]:
    """A server in a thread."""
    server = ChatServer(port, latency)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(5)


def first_times(number: int, act: Callable[[Handler], None]) -> Fault:
    """A fault of the first so many tries of every request."""
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    def fault(handler: Handler, request: dict[str, Any], what: str) -> bool:
        key = json.dumps([request["messages"], request.get("seed")])
        with lock:
            seen[key] += 1
            if seen[key] > number:
                return False
        act(handler)
        return True

    return fault


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    options = parser.parse_args()
    server = ChatServer(options.port, options.latency)
    sys.stdout.write(server.url + "\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
