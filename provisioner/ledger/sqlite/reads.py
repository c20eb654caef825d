"""The reader thread: what is asked for at the same time is read in one go.

Waking a thread and being woken by it takes some 0.1 ms of CPU, three times as much as most reads. A target that begins
asks a dozen things one after another, and where a thousand begin, those of many are asked at once. So while much is
asked, as only many targets do, reads wait a few milliseconds for others.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

T = TypeVar("T")
TOGETHER = 32
"""Reads at a time: those that are done wait for the rest."""
WAIT_S = 0.005
"""While much is asked, reads wait so long for others: a dozen of them delay a target by 0.06 s."""
LOOK_S = 0.05
"""Reads are counted over this time."""
MUCH = 32
"""So many in :data:`LOOK_S` are much: more than a target asks when it begins, or in a run at full speed."""


class Reads:
    """Reads in a thread of its own, first come, first served. It belongs to one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "ledger-reader")
        self._asked: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._passed_on = False
        self._since = self._loop.time()
        self._count = 0
        self._much = False

    async def read(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, or raises, in the thread; it is done even if the caller is cancelled."""
        answer: asyncio.Future[T] = self._loop.create_future()
        self._asked.append((work, answer))
        self._look()
        if not self._passed_on:
            self._pass_on_later()
        return await answer

    def last(self, work: Callable[[], None]) -> asyncio.Future[None]:
        """Do ``work`` after everything that was asked for, and end the thread."""
        while self._asked:
            self._submit()
        ended = self._loop.run_in_executor(self._thread, work)
        self._thread.shutdown(wait=False)
        return ended

    def _look(self) -> None:
        """Count a read, and see whether much was asked right before."""
        now = self._loop.time()
        if now - self._since >= LOOK_S:
            self._much = self._count >= MUCH and now - self._since < 2 * LOOK_S
            self._since, self._count = now, 0
        self._count += 1

    def _pass_on_later(self) -> None:
        self._passed_on = True
        if self._much:
            self._loop.call_later(WAIT_S, self._pass_on)
        else:
            # At the end of this iteration of the loop, with what others ask until then.
            self._loop.call_soon(self._pass_on)

    def _pass_on(self) -> None:
        if self._asked:
            self._submit()
        else:
            self._passed_on = False

    def _submit(self) -> None:
        some, self._asked = self._asked[:TOGETHER], self._asked[TOGETHER:]
        self._thread.submit(self._run, some)

    def _run(self, asked: Sequence[tuple[Callable[[], Any], asyncio.Future[Any]]]) -> None:
        """In the thread."""
        done: list[tuple[asyncio.Future[Any], Any, BaseException | None]] = []
        for work, answer in asked:
            try:
                done.append((answer, work(), None))
            except BaseException as error:  # noqa: BLE001  whoever asked gets it
                done.append((answer, None, error))
        self._loop.call_soon_threadsafe(self._answer, done)

    def _answer(self, done: Sequence[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
        for answer, found, error in done:
            if answer.cancelled():
                continue
            if error is None:
                answer.set_result(found)
            else:
                answer.set_exception(error)
        self._passed_on = False
        if self._asked:
            self._pass_on_later()
