"""Where a process spends its time, by kind: always counted, for it costs microseconds a call."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

ENGINE, CODEC, STORAGE = "engine", "codec", "storage"
KINDS: tuple[str, ...] = (ENGINE, CODEC, STORAGE)
"""An engine's own work; FLAC; reading, writing, syncing and hashing of files. What is left is Python around them."""


class Clock(threading.local):
    """Wall seconds of this thread by kind; what is inside another kind counts for the inner one alone."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = dict.fromkeys(KINDS, 0.0)
        self._kinds: list[str] = []
        self._since = 0.0

    @contextmanager
    def __call__(self, kind: str) -> Iterator[None]:
        """Count the time of a block."""
        self._turn()
        self._kinds.append(kind)
        try:
            yield
        finally:
            self._turn()
            self._kinds.pop()

    def _turn(self) -> None:
        now = time.perf_counter()
        if self._kinds:
            self.spent[self._kinds[-1]] += now - self._since
        self._since = now

    def take(self) -> dict[str, float]:
        """Seconds of each kind since this was last called."""
        spent = {kind: round(seconds, 4) for kind, seconds in self.spent.items()}
        self.spent = dict.fromkeys(KINDS, 0.0)
        return spent


clock = Clock()
