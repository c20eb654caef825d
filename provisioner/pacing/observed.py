"""What a pacer has seen: its calls in order, how long they took, and whether the limiter counts by the second. Pure.

And what it leaves to the next run.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

import msgspec

KEPT_STARTS = 4096
"""Starts whose order is remembered at least: more than can be in flight."""
WINDOW_MEMORY = 8
WINDOW_GAP_S = 0.4
WINDOW_JITTER_S = 0.02
WINDOW_CHANCE = 1.0e-3
WINDOW_EVIDENCE = 400
"""A limiter that counts by the second is believed when the last gaps between a refused and an accepted call, none
longer than WINDOW_GAP_S, have a phase in common, and would by chance with WINDOW_CHANCE only. A count of one second is
worth as much as WINDOW_EVIDENCE accepts."""


class Checkpoint(msgspec.Struct, frozen=True):
    """A moment, and how many calls that started before it took a token."""

    at: float
    admitted: int


class Learned(msgspec.Struct, frozen=True):
    """What one run leaves to the next, kept in the ledger.

    Attributes:
        rate: tokens a second that the limit was measured to give.
        learned_at: wall-clock time of this record, epoch seconds.
        accepts: accepted calls that the measurement rests on.
        burst: tokens that a full bucket was seen to hold; 0 where never seen.
        tokens: tokens that were left, by the model, after the last start.
        last_start: wall-clock time of the last start, epoch seconds.
    """

    rate: float
    learned_at: float
    accepts: int
    burst: float = 0.0
    tokens: float = 0.0
    last_start: float = 0.0


class Calls:
    """The order in which calls started, and how many of them were throttled."""

    def __init__(self) -> None:
        self.started_at: list[float] = []
        self.started = 0
        self.forgotten = 0
        self.in_flight = 0
        self.accepted = 0
        self.throttled = 0

    def start(self, now: float) -> None:
        """A call starts at ``now``."""
        self.started_at.append(now)
        self.started += 1
        self.in_flight += 1
        if len(self.started_at) > 2 * KEPT_STARTS:
            del self.started_at[:KEPT_STARTS]
            self.forgotten += KEPT_STARTS

    def cancel(self, started_at: float) -> bool:
        """The call of that start never left; whether it is known."""
        place = bisect_left(self.started_at, started_at)
        if place == len(self.started_at):
            return False
        del self.started_at[place]
        self.started -= 1
        self.in_flight -= 1
        return True

    def index(self, started_at: float) -> int:
        """How many calls started before that one."""
        return self.forgotten + bisect_left(self.started_at, started_at)

    def mark(self, started_at: float) -> Checkpoint:
        """A mark at that call, which was throttled and is counted as such already."""
        return Checkpoint(started_at, self.index(started_at) + 1 - self.throttled)


class Trip:
    """Smoothed round trip of accepted calls and its mean deviation, seconds."""

    GAIN = 0.05

    def __init__(self) -> None:
        self.mean = 0.0
        self.deviation = 0.0

    def record(self, sample: float) -> None:
        """One more round trip, seconds."""
        if not self.mean:
            self.mean, self.deviation = sample, 0.25 * sample
        self.deviation += self.GAIN * (abs(sample - self.mean) - self.deviation)
        self.mean += self.GAIN * (sample - self.mean)


class Seconds:
    """Notices a limiter that counts by the second: wherever it refuses, it accepts again at the same phase.

    Times are starts of calls; the way to the server shifts all of them alike.
    """

    def __init__(self) -> None:
        self._ends: deque[tuple[float, float]] = deque(maxlen=WINDOW_MEMORY)
        self.boundary: float | None = None
        self.doubt = 0.0

    def saw(self, refused_at: float, accepted_at: float, jitter: float) -> None:
        """Between these two starts the server began to accept again."""
        gap = accepted_at - refused_at
        if 0.0 < gap < WINDOW_GAP_S:
            self._ends.append((refused_at, gap))
            self._fit(WINDOW_JITTER_S + jitter)

    def _fit(self, jitter: float) -> None:
        """A boundary that every gap contains, if it is unlikely that they have one in common by chance."""
        base, width = min(self._ends, key=lambda end: end[1])
        low, high, chance = -jitter, width + jitter, 1.0 / min(1.0, width + 2.0 * jitter)
        for begin, gap in self._ends:
            shift = (begin - base + 0.5) % 1.0 - 0.5
            low, high = max(low, shift - jitter), min(high, shift + gap + jitter)
            chance *= min(1.0, gap + 2.0 * jitter)
        self.boundary = base + 0.5 * (low + high) if low < high and chance < WINDOW_CHANCE else None
        self.doubt = max(0.0, 0.5 * (high - low))

    def forget(self) -> None:
        """The boundary was no boundary."""
        self._ends.clear()
        self.boundary = None

    def after(self, now: float) -> float:
        """The next boundary after ``now``; ``now`` itself where none is known."""
        return now if self.boundary is None else now + (self.boundary - now) % 1.0
