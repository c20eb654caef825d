"""A time-out that counts only while this machine's event loop is responsive, and a clock that never stands still."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TICKS = 50
"""How often the time that passed is counted. A stall counts as two ticks, so an operation gets at least 25 passes of
the event loop: name look-up, connection and TLS handshake need about ten."""

now_s = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
"""Seconds on a clock that goes on while the process is stopped or the machine suspended, and is never set."""


@asynccontextmanager
async def responsive_timeout(seconds: float) -> AsyncIterator[None]:
    """Like ``asyncio.timeout``, but a stall of the event loop, however long, costs two ticks.

    An ordinary timer expires while the loop is busy, and when the loop comes round the timer runs before the sockets
    are looked at: a healthy peer that answered long ago is then reported as one that never did.

    Raises:
        TimeoutError: the loop was responsive for ``seconds``, and the body has not finished.
    """
    async with asyncio.timeout(None) as timeout:
        ticker = _Ticker(timeout, seconds)
        try:
            yield
        finally:
            ticker.stop()


class _Ticker:
    """Counts the responsive time, and makes ``timeout`` expire when ``seconds`` of it have passed."""

    def __init__(self, timeout: asyncio.Timeout, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._left_s = seconds
        self._tick_s = seconds / TICKS
        self._counted_at = self._loop.time()
        self._timer = self._loop.call_later(self._tick_s, self._count)

    def stop(self) -> None:
        self._timer.cancel()

    def _count(self) -> None:
        now = self._loop.time()
        # A timer is always a little late on a busy machine; only what is later than a whole tick is a stall.
        self._left_s -= min(now - self._counted_at, 2 * self._tick_s)
        self._counted_at = now
        if self._left_s > 0:
            self._timer = self._loop.call_later(min(self._tick_s, self._left_s), self._count)
        else:
            self._timeout.reschedule(now)
