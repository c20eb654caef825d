"""An asyncio loop whose clock stands still while code runs and jumps while everybody sleeps.

An hour of sleep costs nothing and every run is the same. While anyio runs a function in a thread, the clock stands
still as well. Other threads and sockets the loop cannot see: where one is in flight it would jump too early, so give it
in-memory fakes only and use the real loop elsewhere.

    @virtual_time
    async def test_something() -> None:
        await asyncio.sleep(3600)
        assert asyncio.get_running_loop().time() == 3600
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from anyio import CapacityLimiter

T = TypeVar("T")


class DeadlockError(Exception):
    """Raised by the loop when every task waits and no timer is left to wake one of them."""

    def __init__(self) -> None:
        super().__init__("every task waits, and no timer is left to wake one of them")


class _JumpingSelector(selectors.SelectSelector):
    """Blocks only for a thread: else it reports the time that the loop wanted to sleep to ``advance``.

    Args:
        advance: gets that time.
        busy: whether a thread is at work, which wakes the loop when it is done.
    """

    def __init__(self, advance: Callable[[float | None], None], busy: Callable[[], bool]) -> None:
        super().__init__()
        self._advance = advance
        self._busy = busy

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        waits = timeout != 0 and self._busy()
        ready = super().select(None if waits else 0)
        if not (ready or waits) and timeout != 0:
            self._advance(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop that starts at second 0 and advances by the select time-out when nothing is ready."""

    def __init__(self) -> None:
        self._now = 0.0
        self.threads: CapacityLimiter | None = None
        super().__init__(_JumpingSelector(self._advance, self._is_busy))

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._now

    def _is_busy(self) -> bool:
        return self.threads is not None and self.threads.borrowed_tokens > 0

    def _advance(self, timeout: float | None) -> None:
        if timeout is None:
            raise DeadlockError
        self._now += timeout


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end in virtual time and return what it returns."""

    async def watched() -> T:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop.threads = anyio.to_thread.current_default_thread_limiter()
        return await main

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(watched())


def virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make an ordinary test of an async one: its body runs in virtual time."""

    @functools.wraps(test)
    def ordinary(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    return ordinary
