"""How fast a server may be asked: requests and tokens a minute, and pauses that it asks for."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

LONGEST_PAUSE_S = 300.0
"""A server that asks for a longer pause stops the run."""


class Meter:
    """A rate that is never exceeded over any minute by more than what one second allows.

    Amounts are taken on credit: who comes when the credit is used up waits until it is made up for.
    """

    def __init__(self, per_minute: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = per_minute / 60 if per_minute else math.inf
        self.clock = clock
        self.most = max(1.0, self.rate)
        self.credit, self.since = self.most, clock()
        self._turn = asyncio.Lock()

    async def take(self, amount: float) -> None:
        """Wait for one's turn, and take an amount."""
        if math.isinf(self.rate):
            return
        async with self._turn:  # first come, first served
            while (missing := min(1.0, amount) - self._now()) > 1e-9:
                await asyncio.sleep(missing / self.rate)
            self.credit -= amount

    def correct(self, amount: float) -> None:
        """Take some more, or give back what was not needed (below 0)."""
        if not math.isinf(self.rate):
            self.credit = min(self.most, self._now() - amount)

    def _now(self) -> float:
        now = self.clock()
        self.credit = min(self.most, self.credit + (now - self.since) * self.rate)
        self.since = now
        return self.credit


def retry_after(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """Seconds that a server asks to wait, from its headers; None where it says nothing that makes sense."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) / unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - now()
            except (ValueError, TypeError, OverflowError):
                continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None
