"""A server of the chat-completions protocol for throughput: answers after a fixed time, and costs next to nothing.

It shares the cores with the client that is measured, so it is a bare `asyncio` protocol in a process of its own: 0.3 to
0.5 ms of processor time a request. Answers are those of the tests' server. At SIGTERM it prints as
JSON what it served, the most requests that were in hand at once, and the processor time that it took.

    python benchmarks/stub_server.py --latency 0.2      prints its base URL
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from chat_server import good_answer

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"


class Counts:
    """What the server did."""

    def __init__(self) -> None:
        self.served = self.now = self.most = 0


class Connection(asyncio.Protocol):
    """One connection; requests on it come one after the other."""

    def __init__(self, latency: float, counts: Counts) -> None:
        self.latency, self.counts = latency, counts
        self.data = bytearray()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.data[:end]).lower()
            _, found, length = head.partition(b"content-length:")
            stop = end + 4 + (int(length.split(b"\r\n", 1)[0]) if found else 0)
            if len(self.data) < stop:
                return
            body = bytes(self.data[end + 4 : stop])
            del self.data[:stop]
            self.counts.now += 1
            self.counts.most = max(self.counts.most, self.counts.now)
            asyncio.get_running_loop().call_later(self.latency, self.answer, body)

    def answer(self, body: bytes) -> None:
        """Send the completion of a request."""
        self.counts.now -= 1
        self.counts.served += 1
        content = json.dumps(good_answer(json.loads(body)))
        usage = {"prompt_tokens": 100, "completion_tokens": len(content), "total_tokens": 100 + len(content)}
        message = {"role": "assistant", "content": content}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        document = {"id": "x", "object": "chat.completion", "model": "stub", "choices": [choice], "usage": usage}
        data = json.dumps(document).encode()
        self.transport.write(_HEAD % (len(data), data))


async def serve(latency: float) -> None:
    """Serve until SIGTERM."""
    loop, counts, done = asyncio.get_running_loop(), Counts(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, done.set)
    server = await loop.create_server(lambda: Connection(latency, counts), "127.0.0.1", 0, backlog=256)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    started = resource.getrusage(resource.RUSAGE_SELF)
    await done.wait()
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = used.ru_utime + used.ru_stime - started.ru_utime - started.ru_stime
    print(json.dumps({"served": counts.served, "most_at_once": counts.most, "cpu_s": round(spent, 2)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.2)
    asyncio.run(serve(parser.parse_args().latency))


if __name__ == "__main__":
    main()
