"""The gate: the waiting that the pacer's arithmetic asks for, and the cap on what is in flight.

One gate stands before one family of operations of one target. A caller takes a slot, then a turn, makes its call, and
reports how it ended:

    async with gate.slot() as slot:
        started_at = await gate.turn()
        ...
        gate.accepted(started_at)        # or throttled, dropped, timed_out: exactly one of them
        slot.leave()                     # before the end, where the call is over and its result is still to be recorded

A call that records an intent before it is sent says so with ``gate.started()``, so that no more turns are taken than
intents can be made durable; see :mod:`provisioner.pacing.starts`.

Turns are granted first come, first served, and retries of throttled calls go before new calls: theirs are the oldest
definitions and they hold slots, so finishing them first keeps the number of half-done definitions small and never lets
new work starve the old. One timer exists at a time, for the head of the queue; it grants every turn that is due when it
fires, so timers may be coarse while the pace is exact. Gates with a slow pace share theirs
(:mod:`provisioner.pacing.beats`).

A gate belongs to one event loop and may be used from that loop's thread only.
"""

from __future__ import annotations

import asyncio
import time
from math import ceil, inf
from typing import TYPE_CHECKING, Self

from provisioner.errors import ProvisionerError, Reason
from provisioner.pacing.beats import Beats, next_beat
from provisioner.pacing.starts import Starts

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from provisioner.pacing.beats import Wait
    from provisioner.pacing.pacer import Pacer

TICK_S = 0.0005
"""A turn this close is due: uvloop's timers have a grain of 1 ms and round to the nearest."""
LATENCY_RISE = 0.5
LATENCY_FALL = 0.02
"""Gains of the smoothed latency that the cap follows: up within a few calls, so that a slow server does not idle the
pace; down over some fifty, so that one quick reply does not cut the cap."""
CAP_MARGIN = 2.0
CAP_SPARE = 4
"""The cap is pace x latency x margin + spare: twice what Little's law asks for, and enough for a slow reply or two at
the slowest pace."""
CAP_RECOVERY = 0.25
"""By how much each accepted call raises a cap that time-outs have halved."""


class GateClosedError(ProvisionerError):
    """Raised to callers that wait for a slot or a turn, or ask for one, once the gate is closed: nothing was sent."""

    reason = Reason.UNFINISHED

    def __init__(self) -> None:
        super().__init__("the run is stopping: nothing new is sent", hint="run again: what is left is still planned")


class _Queue:
    """Waiting callers, first come, first served; those that were cancelled are skipped."""

    def __init__(self) -> None:
        # A list, not a deque: an empty deque takes 700 bytes, every target has a dozen queues, and few ever wait.
        self.futures: list[asyncio.Future[float]] = []
        # get_running_loop() makes a system call (getpid), so it is not called for each turn.
        self._loop = asyncio.get_running_loop()

    def join(self) -> asyncio.Future[float]:
        future: asyncio.Future[float] = self._loop.create_future()
        self.futures.append(future)
        return future

    def head(self) -> asyncio.Future[float] | None:
        """The first that still waits, or None."""
        while self.futures:
            if not self.futures[0].done():
                return self.futures[0]
            del self.futures[0]
        return None

    def refuse(self) -> None:
        """Raise GateClosedError to every waiting caller."""
        while (future := self.head()) is not None:
            future.set_exception(GateClosedError())

    def __len__(self) -> int:
        return sum(not future.done() for future in self.futures)


class _Slots:
    """A counting semaphore, first come, first served, whose limit may change while slots are taken."""

    def __init__(self, limit: int) -> None:
        self.used = 0
        self.holders = 0
        self.closed = False
        self.waiting = _Queue()
        self._limit = limit

    @property
    def limit(self) -> int:
        return self._limit

    @limit.setter
    def limit(self, value: int) -> None:
        self._limit = value
        self._grant()

    async def take(self) -> None:
        if self.closed:
            raise GateClosedError
        if self.used < self._limit and not (self.waiting.futures and self.waiting.head()):
            self.used += 1
            return
        future = self.waiting.join()
        try:
            await future
        except asyncio.CancelledError:
            if _granted(future):
                self.give_back()
            raise

    def give_back(self) -> None:
        self.used -= 1
        if self.waiting.futures:
            self._grant()

    def _grant(self) -> None:
        while self.used < self._limit and (future := self.waiting.head()) is not None:
            self.used += 1
            future.set_result(0.0)


class Slot:
    """One of the calls that may be in flight, as an async context manager."""

    __slots__ = ("_held", "_slots")

    def __init__(self, slots: _Slots) -> None:
        self._slots = slots
        self._held = False

    async def __aenter__(self) -> Self:
        await self._slots.take()
        self._slots.holders += 1
        self._held = True
        return self

    def leave(self) -> None:
        """The call is over: another one may take the slot. May be called twice."""
        if self._held:
            self._held = False
            self._slots.give_back()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._slots.holders -= 1
        self.leave()


class Gate:
    """Waits for the pacer's turns and caps what is in flight.

    Every turn that was taken ends in exactly one of :meth:`accepted`, :meth:`throttled`, :meth:`dropped`,
    :meth:`timed_out` and :meth:`unused`. A caller that is cancelled while it waits keeps neither slot nor turn; one
    that is cancelled after its turn came, and before its call was sent, calls :meth:`unused`.

    Args:
        pacer: decides when turns are due; the gate is its only user.
        max_in_flight: upper bound of the cap, calls.
        clock: monotonic seconds, the clock that the pacer's times are of.
        starts: a turn takes a place of these until :meth:`started`; None where calls have no intent.
        beats: at which turns of a slow pace are taken, with those of the other gates that have the same.

    Attributes:
        on_turn: is called whenever a call has its turn: another one may begin to wait for the next.
    """

    def __init__(
        self,
        pacer: Pacer,
        *,
        max_in_flight: int,
        clock: Callable[[], float] = time.monotonic,
        starts: Starts | None = None,
        beats: Beats | None = None,
    ) -> None:
        self._pacer = pacer
        self._clock = clock
        self._starts = starts or Starts(inf)
        self._beats = beats or Beats()
        self._max_in_flight = max_in_flight
        self._ceiling = float(max_in_flight)
        self._halved_at = float("-inf")
        self._latency = pacer.round_trip
        self._slots = _Slots(max_in_flight)
        self._retries = _Queue()
        self._fresh = _Queue()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | Wait | None = None
        self._due = 0.0
        self._timed_outs = 0
        self.on_turn: Callable[[], None] = _nothing
        self._fit()

    def slot(self) -> Slot:
        """One of the calls that may be in flight; entering it waits while the cap is reached.

        Raises:
            GateClosedError: the gate is closed, or was while waiting.
        """
        return Slot(self._slots)

    async def turn(self, *, again: bool = False) -> float:
        """Wait for the pacer's next turn and take it: the call must start now.

        Args:
            again: the call was throttled before, and goes before all calls that have not started yet.

        Returns:
            The start time, monotonic seconds, which identifies the call when its end is reported.

        Raises:
            GateClosedError: the gate is closed, or was while waiting.
        """
        started_at = await self._wait(self._retries if again else self._fresh)
        self.on_turn()
        return started_at

    def next_turn_in_s(self) -> float:
        """Estimate the seconds until a call that asks now for another turn would get it: behind its like, no others.

        An estimate only, since a reply that arrives meanwhile may change the pace: sleep no longer than this, then
        ask for the turn itself with ``turn(again=True)``.
        """
        now = self._clock()
        return max(0.0, self._pacer.peek(now) - now) + len(self._retries) / self._pacer.rate

    def expect(self, calls: int) -> None:
        """About so many calls are to be made in all, as far as is known now; may be called again with a better figure.

        A short job need not find its limit quickly, and is throttled less; see :mod:`provisioner.pacing.climb`.
        """
        self._pacer.expect(calls)

    def use(self, share: float) -> None:
        """Use this fraction of the learned limit from now on."""
        self._pacer.use(share, self._clock())
        self._fit()
        self._schedule()

    def started(self) -> None:
        """The intent of a call that took a turn is durable, or it was not sent: exactly once for each turn."""
        self._starts.give_back()

    def unused(self, started_at: float) -> None:
        """Give back a turn whose call was not sent."""
        self._pacer.cancelled(started_at)
        self._give()

    def accepted(self, started_at: float) -> None:
        """The call that started then took a token: any reply other than a 429 or a 5xx."""
        now = self._clock()
        self._pacer.accepted(started_at, now)
        sample = now - started_at
        self._latency += (LATENCY_RISE if sample > self._latency else LATENCY_FALL) * (sample - self._latency)
        self._ceiling = min(self._max_in_flight, self._ceiling + CAP_RECOVERY)
        self._fit()
        self._schedule()

    def throttled(self, started_at: float, advice_s: float | None = None) -> None:
        """The call that started then was throttled; ``advice_s`` is how long the server asked to wait."""
        self._pacer.throttled(started_at, self._clock(), advice_s)
        self._schedule()

    def dropped(self, started_at: float) -> None:
        """The call that started then says nothing about the limit: 5xx, reset."""
        self._pacer.dropped(started_at, self._clock())
        self._schedule()

    def timed_out(self, started_at: float) -> None:
        """The call that started then had no reply in time: halves the cap, once for all calls that were in flight."""
        now = self._clock()
        self._pacer.dropped(started_at, now)
        self._timed_outs += 1
        if started_at > self._halved_at:
            self._halved_at = now
            self._ceiling = max(1.0, min(self._ceiling, self._slots.limit) / 2.0)
            self._fit()
        self._schedule()

    def close(self) -> None:
        """Refuse waiting callers and new ones; calls in flight go on. May be called twice."""
        self._slots.closed = True
        self._slots.waiting.refuse()
        self._retries.refuse()
        self._fresh.refuse()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def in_flight(self) -> int:
        """Calls that hold a slot."""
        return self._slots.used

    @property
    def holders(self) -> int:
        """Callers that hold a slot, or have left theirs and record what came of the call."""
        return self._slots.holders

    @property
    def waits(self) -> bool:
        """Whether a call waits for its turn."""
        return self._head() is not None

    @property
    def rate(self) -> float:
        """The pace, turns a second."""
        return self._pacer.rate

    @property
    def cap(self) -> int:
        """Calls that may hold one."""
        return self._slots.limit

    @property
    def epochs(self) -> int:
        """Congestion epochs so far: how often the pacer met its limit."""
        return self._pacer.epochs

    def statistics(self) -> dict[str, float | int | str]:
        """The state of the gate and of its pacer, for logs and people."""
        return {
            **self._pacer.statistics(),
            "in_flight": self._slots.used,
            "cap": self._slots.limit,
            "latency_s": round(self._latency, 4),
            "waiting": len(self._fresh),
            "waiting_again": len(self._retries),
            "timed_out": self._timed_outs,
        }

    def __repr__(self) -> str:
        return f"Gate({', '.join(f'{key}={value}' for key, value in self.statistics().items())})"

    def _fit(self) -> None:
        """Set the cap to what the pace needs at the present latency."""
        needed = ceil(CAP_MARGIN * self._pacer.rate * self._latency) + CAP_SPARE
        limit = max(1, min(needed, int(self._ceiling)))
        if limit != self._slots.limit:
            self._slots.limit = limit

    async def _wait(self, queue: _Queue) -> float:
        if self._slots.closed:
            raise GateClosedError
        if self._head() is None and self._pacer.peek(now := self._clock()) <= now + TICK_S and self._may_start():
            self._pacer.start(now)
            return now
        future = queue.join()
        if self._timer is None:
            self._give()
        try:
            return await future
        except asyncio.CancelledError:
            if _granted(future):
                self.started()
                self.unused(future.result())
            raise

    def _may_start(self) -> bool:
        """Take a place for a turn that is due; without a free one, :meth:`_place_came` is called."""
        return self._starts.take(self._place_came)

    def _place_came(self) -> None:
        """Take one turn, and wait behind the other gates for a place for the next."""
        now = self._clock()
        if (future := self._head()) is not None and self._pacer.peek(now) <= now + TICK_S:
            self._starts.take_next()
            self._pacer.start(now)
            future.set_result(now)
        self._give()

    def _head(self) -> asyncio.Future[float] | None:
        return (self._retries.futures and self._retries.head()) or (self._fresh.futures and self._fresh.head()) or None

    def _give(self) -> None:
        """Grant every turn that is due, then set the timer for the next."""
        now = self._clock()
        while (future := self._head()) is not None and self._pacer.peek(now) <= now + TICK_S:
            if not self._may_start():
                return
            self._pacer.start(now)
            future.set_result(now)
        self._schedule()

    def _schedule(self) -> None:
        """Have the timer fire no later than the turn of the queue's head; one that fires too early is set again."""
        if not (self._retries.futures or self._fresh.futures):
            return
        pacer, now = self._pacer, self._clock()
        due = max(now, pacer.peek(now))
        beat = next_beat(due, pacer.rate, tight=pacer.tight)
        at = due if beat is None else beat
        if self._timer is not None:
            if self._due <= at + TICK_S:
                return
            self._timer.cancel()
        self._due = at
        if beat is None:
            self._timer = self._loop.call_later(due - now, self._fire)
        else:
            self._timer = self._beats.call_at(beat, now, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._give()


def _nothing() -> None:
    """Nobody wants to know."""


def _granted(future: asyncio.Future[float]) -> bool:
    """Whether the future holds a grant that its cancelled caller never received."""
    return future.done() and not future.cancelled() and future.exception() is None
