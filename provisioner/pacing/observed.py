"""What the pacer observes: calls in the order of their starts, round trips, limiters that count by the second.

Arithmetic without a clock. Also the record that one run leaves to the next.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from provisioner.pacing.tuning import Tuning

KEPT_STARTS = 4096
"""Starts whose order is kept at least: more than can be in flight."""


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
    """The order in which calls started, and how they ended.

    Attributes:
        expected: calls that are to be made in all, about; 0 while that is not known.
    """

    def __init__(self) -> None:
        self.expected = 0
        self.started_at = array("d")  # a quarter of a list's memory
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
        """Take back the call of that start, which never left; False where it is not known."""
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

    def start_of(self, index: int) -> float:
        """When the call with that index started; of those that are kept the nearest."""
        kept = min(len(self.started_at) - 1, index - self.forgotten)
        return self.started_at[max(0, kept)]

    def checkpoint(self, started_at: float) -> Checkpoint:
        """A checkpoint at that call, which was throttled and is counted as throttled already."""
        return Checkpoint(started_at, self.index(started_at) + 1 - self.throttled)


class Trip:
    """The round-trip estimate: smoothed time of accepted calls and its mean deviation, seconds (RFC 6298)."""

    def __init__(self, gain: float) -> None:
        self._gain = gain
        self.mean = 0.0
        self.deviation = 0.0

    def record(self, sample: float) -> None:
        """One more round trip, seconds."""
        if not self.mean:
            self.mean, self.deviation = sample, 0.25 * sample
        self.deviation += self._gain * (abs(sample - self.mean) - self.deviation)
        self.mean += self._gain * (sample - self.mean)


class Seconds:
    """Detects a limiter that counts by the second: wherever it throttles, it accepts again at the same phase.

    Times are starts of calls; the way to the server shifts all of them alike.
    """

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self._gaps: list[tuple[float, float]] = []  # the last of them
        self.boundary: float | None = None
        self.doubt = 0.0

    def saw(self, throttled_at: float, accepted_at: float, jitter: float) -> None:
        """Between these two starts the server began to accept again."""
        gap = accepted_at - throttled_at
        if 0.0 < gap < self._tuning.window_gap_s:
            self._gaps.append((throttled_at, gap))
            del self._gaps[: -self._tuning.window_memory]
            self._fit(self._tuning.window_jitter_s + jitter)

    def _fit(self, jitter: float) -> None:
        """Find a phase that lies in every gap, and believe it if that is unlikely by chance.

        Each gap is an interval on the circle of one second, widened by the jitter. Random gaps all contain a given
        phase with the product of their widths; the shortest one defines the phase, so its own width does not count.
        """
        base, width = min(self._gaps, key=lambda end: end[1])
        low, high, chance = -jitter, width + jitter, 1.0 / min(1.0, width + 2.0 * jitter)
        for begin, gap in self._gaps:
            shift = (begin - base + 0.5) % 1.0 - 0.5
            low, high = max(low, shift - jitter), min(high, shift + gap + jitter)
            chance *= min(1.0, gap + 2.0 * jitter)
        believed = low < high and chance < self._tuning.window_chance
        self.boundary = base + 0.5 * (low + high) if believed else None
        self.doubt = max(0.0, 0.5 * (high - low))

    def forget(self) -> None:
        """Drop a boundary that proved wrong: the server throttled right after it."""
        if self.boundary is not None:
            self._gaps.clear()
            self.boundary = None

    def pause(self, throttled_at: float, jitter: float, now: float) -> float:
        """Seconds until the second that follows a throttled start has surely begun."""
        return max(0.0, self.after(throttled_at) + self.doubt + jitter - now)

    def after(self, now: float) -> float:
        """The next boundary after ``now``; ``now`` itself where none is known."""
        return now if self.boundary is None else now + (self.boundary - now) % 1.0
