"""Servers with a hidden limit: each decides whether a call that arrives now is accepted.

Time only goes forward. The events of a run change the limit in steps of (second, factor).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import random


class Limiter(Protocol):
    """Decides about calls in the order of their arrival."""

    def admit(self, now: float) -> bool:
        """Whether the call that arrives at ``now`` is accepted."""
        ...

    def finished(self) -> None:
        """An accepted call has left the server."""
        ...


class Schedule:
    """A rate that changes in steps: ``rate x factor`` from each step's second on.

    Args:
        rate: tokens a second.
        steps: (second, factor), by second; the factor before the first is 1.
    """

    def __init__(self, rate: float, steps: tuple[tuple[float, float], ...] = ()) -> None:
        self.rate = rate
        self._edges = [(0.0, rate), *((second, rate * factor) for second, factor in steps)]

    def at(self, now: float) -> float:
        """Tokens a second at ``now``."""
        current = self.rate
        for second, rate in self._edges:
            if second > now:
                break
            current = rate
        return current

    def tokens(self, start: float, end: float) -> float:
        """Tokens that come in between ``start`` and ``end``."""
        if len(self._edges) == 1:
            return (end - start) * self.rate
        total = 0.0
        for index, (second, rate) in enumerate(self._edges):
            until = self._edges[index + 1][0] if index + 1 < len(self._edges) else end
            total += max(0.0, min(end, until) - max(start, second)) * rate
        return total

    def ideal_s(self, calls: float) -> float:
        """Seconds until ``calls`` tokens have come in, from second 0."""
        for index, (second, rate) in enumerate(self._edges):
            if index + 1 < len(self._edges):
                until = self._edges[index + 1][0]
                if (until - second) * rate >= calls:
                    return second + calls / rate
                calls -= (until - second) * rate
            else:
                return second + calls / rate
        return 0.0


class Bucket:
    """The ordinary token bucket: refills continuously, starts full."""

    def __init__(self, schedule: Schedule, burst: float, tokens: float | None = None) -> None:
        self._schedule = schedule
        self._burst = burst
        self._tokens = burst if tokens is None else tokens
        self._last = 0.0

    def admit(self, now: float) -> bool:
        """One token, if there is one; in a storm (a factor of 0) there is none."""
        tokens = min(self._burst, self._tokens + self._schedule.tokens(self._last, now))
        self._last = now
        accepted = tokens >= 1.0 and self._schedule.at(now) > 0.0
        self._tokens = tokens - 1.0 if accepted else tokens
        return accepted

    def finished(self) -> None:
        """Nothing: a token is spent when the call arrives."""


class Lumps(Bucket):
    """A bucket that gets a whole second's tokens at once, at its own phase. A burst of R is a fixed window."""

    def __init__(self, schedule: Schedule, burst: float, phase: float) -> None:
        super().__init__(schedule, burst)
        self._phase = phase
        self._window = 0

    def admit(self, now: float) -> bool:
        """One token, if there is one."""
        window = int(now + self._phase)
        if window > self._window:
            lump = self._schedule.at(now) * (window - self._window)
            self._tokens = min(self._burst, self._tokens + lump)
            self._window = window
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class SlidingLog:
    """At most R calls in any second that has just passed."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._log: deque[float] = deque()

    def admit(self, now: float) -> bool:
        """Whether the last second has room."""
        log = self._log
        while log and log[0] <= now - 1.0:
            log.popleft()
        if len(log) >= self._schedule.at(now):
            return False
        log.append(now)
        return True

    def finished(self) -> None:
        """Nothing: entries leave the log by age."""


class Shards:
    """Four buckets of a quarter each; a call meets one of them at random."""

    def __init__(self, schedule: Schedule, burst: float, rng: random.Random) -> None:
        quarter = tuple((second, rate / schedule.rate) for second, rate in schedule._edges[1:])  # noqa: SLF001 - a sibling
        self._rng = rng
        self._buckets = [Bucket(Schedule(schedule.rate / 4.0, quarter), max(1.0, burst / 4.0)) for _ in range(4)]

    def admit(self, now: float) -> bool:
        """One token of the shard that the call happens to meet."""
        return self._buckets[int(self._rng.random() * 4.0)].admit(now)

    def finished(self) -> None:
        """Nothing: a token is spent when the call arrives."""


class Concurrency:
    """At most C calls in the server at once, however many a second that makes."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._inside = 0

    def admit(self, now: float) -> bool:
        """Whether a place is free."""
        del now
        if self._inside >= self._cap:
            return False
        self._inside += 1
        return True

    def finished(self) -> None:
        """A place is free again."""
        self._inside -= 1
