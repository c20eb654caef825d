"""The pacer: finds the hidden limit of a token bucket and holds it. Arithmetic only: no clock, no randomness.

The server holds a bucket of B tokens that refills at R a second and tells neither. A call takes a token or is
throttled (429). One observation carries everything: **at a 429 the bucket is empty.** Between two of them the tokens
that were accepted are the tokens that came in, so accepted / elapsed *is* R, to within one token, unless the bucket
overflowed in between. The error shrinks with the number of accepts, not with its square root: after 100 accepts R is
known to one percent.

So the pacer keeps a model of the bucket and three habits:

- START: begin at the rate that it is told (or remembers) and double until the first 429 empties the bucket.
- HOLD: measure R at every 429 that opens an *epoch*; pause until the bucket has a few tokens to spare, which absorb the
  jitter of the network; then run a touch above R, so that those few tokens last until the next measurement is due. What
  is saved is spent later, so nothing is lost. Measurements are due after 3 times as many accepts as R rests on, and at
  last every few hundred: the calls wasted on them are a few thousandths.
- SURGE: no 429 long after one was due means that the limit rose: speed up step by step until one comes.

A 429 of a call that was sent before the pacer reacted belongs to the same epoch: one cut per epoch, never one per 429.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from math import sqrt

import msgspec

ADVICE_LIMIT_S = 5.0
"""Longest wait that the server may ask for: a longer one is a mistake or an outage, and both are better probed."""
CATCH_UP_S = 0.02
"""How late a turn may be taken without losing its place: about twice the worst timer lateness of an event loop."""
MEMORY_S = 7 * 86400.0
"""A remembered rate that is older is no better than the initial rate."""
KEPT_STARTS = 4096
"""Starts whose order is remembered at least: more than can be in flight."""
STEP_ACCEPTS = 4
"""Accepts that a pace has to show before the next step up."""
FEW = 40
"""Accepts below which a measurement is too coarse to spare more than one token."""
FLOOR = 0.2
"""Slowest pace, starts a second: the price of noticing within seconds that a storm is over."""


class Policy(msgspec.Struct, frozen=True):
    """What the user sets. Rates are starts a second.

    Attributes:
        initial_rate: pace at which a target begins about which nothing is remembered.
        max_rate: never start faster; 0 is no bound.
        share: fraction of the learned limit to use, in (0, 1].
    """

    initial_rate: float = 5.0
    max_rate: float = 0.0
    share: float = 1.0


class Learned(msgspec.Struct, frozen=True):
    """What one run leaves to the next, kept in the ledger.

    Attributes:
        rate: tokens a second that the limit was measured to give.
        learned_at: wall-clock time of the measurement, epoch seconds.
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


class _Mark(msgspec.Struct, frozen=True):
    """A moment at which the bucket was empty."""

    at: float
    admitted: int


class Pacer:
    """Says when the next call may start, and learns from how calls end.

    All times are seconds on one monotonic clock, except ``wall_now``. Every start ends in exactly one of
    :meth:`accepted`, :meth:`throttled`, :meth:`dropped` and :meth:`cancelled`.

    Args:
        policy: what the user set.
        now: the time of birth.
        learned: what an earlier run left, or None.
        wall_now: wall-clock time, epoch seconds; only compared with the times in ``learned``.
    """

    def __init__(self, policy: Policy, now: float, learned: Learned | None = None, wall_now: float = 0.0) -> None:
        self._policy = policy
        self._first = now
        self._rate = policy.initial_rate
        self._limit = 0.0
        self._weight = 0
        self._burst = 0.0
        self._phase = "start"
        self._turn = now - 1.0e6
        self._frozen_until = now
        self._starts: list[float] = []
        self._forgotten = 0
        self._throttled = 0
        self._accepted = 0
        self._epochs = 0
        self._cut = 0
        self._marks: deque[_Mark] = deque(maxlen=8)
        self._run = 0
        self._step_run = 0
        self._step_at = now
        self._step_index = 0
        self._round_trip = 0.1
        self._recent: deque[bool] = deque(maxlen=20)
        if learned is not None and max(0.0, wall_now - learned.learned_at) < MEMORY_S:
            self._remember(learned)

    def _remember(self, learned: Learned) -> None:
        self._rate = learned.rate
        self._limit = learned.rate
        self._weight = min(learned.accepts, 500)
        self._burst = learned.burst

    @property
    def rate(self) -> float:
        """Starts a second, now."""
        rate = self._rate
        if self._policy.share < 1.0 and self._phase != "start" and self._limit:
            rate = min(rate, self._policy.share * self._limit)
        if self._policy.max_rate:
            rate = min(rate, self._policy.max_rate)
        return rate

    @property
    def round_trip(self) -> float:
        """Smoothed time from the start of an accepted call to its end, seconds."""
        return self._round_trip

    def peek(self, now: float) -> float:
        """The earliest time at which the next call may start; not after ``now`` when it is due."""
        del now
        return max(self._turn + 1.0 / self.rate, self._frozen_until)

    def start(self, now: float) -> None:
        """Take the turn: a call starts now."""
        self._turn = max(self.peek(now), now - CATCH_UP_S)
        self._starts.append(now)
        if len(self._starts) > 2 * KEPT_STARTS:
            del self._starts[:KEPT_STARTS]
            self._forgotten += KEPT_STARTS

    def cancelled(self, started_at: float) -> None:
        """Give the turn back: the call did not start after all."""
        index = bisect_left(self._starts, started_at)
        if index < len(self._starts):
            del self._starts[index]
            self._turn -= 1.0 / self.rate

    def accepted(self, started_at: float, now: float) -> None:
        """The call that started then was accepted: it took a token."""
        self._accepted += 1
        self._run += 1
        self._recent.append(True)
        self._round_trip += 0.1 * (now - started_at - self._round_trip)
        if started_at < self._step_at:
            return
        self._step_run += 1
        if self._phase == "hold":
            self._drift()
            return
        growth = 2.0 if self._phase == "start" else 1.1
        if self._step_run >= STEP_ACCEPTS and now - self._step_at >= max(0.3, self._round_trip):
            self._rate *= growth
            self._step(now)

    def throttled(self, started_at: float, now: float, advice_s: float | None = None) -> None:
        """The call that started then was throttled: the bucket was empty. ``advice_s``: seconds to wait, as told."""
        self._throttled += 1
        self._recent.append(False)
        if advice_s is not None:
            self._frozen_until = max(self._frozen_until, now + min(max(advice_s, 0.0), ADVICE_LIMIT_S))
        index = self._forgotten + bisect_left(self._starts, started_at)
        if index >= self._cut:
            self._epoch(_Mark(started_at, index - (self._throttled - 1)), now)

    def dropped(self, started_at: float, now: float) -> None:
        """The call ended without telling whether it took a token (5xx, time-out, reset)."""

    def _epoch(self, mark: _Mark, now: float) -> None:
        self._epochs += 1
        self._cut = self._forgotten + len(self._starts)
        if self._phase == "start":
            measured = 0.0
            lived = max(mark.at - self._first, 1.0e-3)
            most = max(1, mark.admitted) / lived
            guess = self._limit or min(max(self._policy.initial_rate, 0.4 * most), 0.8 * most)
        else:
            measured = self._measure(mark)
            guess = measured or self._rate * 0.7
        self._limit = guess
        self._phase = "hold"
        self._marks.append(mark)
        spare = 3.0 if self._weight > FEW else 1.0
        self._frozen_until = max(self._frozen_until, now + min(spare / guess, 2.0))
        self._run = 0
        self._drift()
        self._step(now)

    def _measure(self, mark: _Mark) -> float:
        """The rate since the oldest mark that agrees with the newest; 0 where too little was seen."""
        best = 0.0
        for old in reversed(self._marks):
            elapsed = mark.at - old.at
            count = mark.admitted - old.admitted
            if elapsed <= 0.0 or count < 1:
                continue
            rate = count / elapsed
            if best and abs(best * elapsed - count) > 3.0 + 0.5 * sqrt(count):
                break
            best = rate
            self._weight = count
        return best

    def _drift(self) -> None:
        """Set the pace a touch above the limit, and more than a touch when a 429 is overdue."""
        due = min(max(3 * self._weight, 6), 500)
        over = max(1.0, self._run / due)
        spare = 3.0 if self._weight > FEW else 1.0
        self._rate = max(FLOOR, self._limit * (1.0 + spare / due * over * over))

    def _step(self, now: float) -> None:
        self._step_at = now
        self._step_run = 0

    def learned(self, wall_now: float) -> Learned | None:
        """What the next run should know, or None before anything was measured."""
        if not self._limit:
            return None
        return Learned(self._limit, wall_now, self._weight, self._burst, 0.0, wall_now)

    def statistics(self) -> dict[str, float | int | str]:
        """The state, for logs and people."""
        return {
            "phase": self._phase,
            "rate": self.rate,
            "limit": self._limit,
            "accepts": self._weight,
            "accepted": self._accepted,
            "throttled": self._throttled,
            "epochs": self._epochs,
        }

    def __repr__(self) -> str:
        return f"Pacer({', '.join(f'{key}={value}' for key, value in self.statistics().items())})"
