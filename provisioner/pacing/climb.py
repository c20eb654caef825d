"""The climb: how the pace grows while the limit is not known, or has risen.

Until the bucket is empty nothing tells a pace below the limit from one above it. When it is empty, the calls of one
round trip are on their way, and (pace - R) x round trip of them are throttled: that is the cost of an overshoot, and
the more calls are in flight, the slower the pace grows. A step counts only when its turns were taken: a pace that no
caller uses proves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioner.pacing.estimate import Estimate, Stretch
    from provisioner.pacing.observed import Calls, Trip
    from provisioner.pacing.tuning import Tuning


class Climb:
    """Steps of the pace, each begun once the one before was used and answered."""

    def __init__(self, tuning: Tuning, calls: Calls, trip: Trip, estimate: Estimate) -> None:
        self._tuning = tuning
        self._calls = calls
        self._trip = trip
        self._estimate = estimate
        self._step_at = 0.0
        self._step_accepted = 0
        self._step_from = 0
        self._surge = tuning.surge_least

    def begin(self, now: float) -> None:
        """The first call starts: the first climb begins."""
        self._step(now)

    def begin_surge(self, now: float) -> None:
        """More was accepted than the limit allows: climb again, in larger steps the less the limit rests on."""
        tuning, estimate = self._tuning, self._estimate
        least = tuning.crowded_least if estimate.crowded else tuning.surge_least
        self._surge = min(tuning.surge_most, max(least, 3.0 / max(1, estimate.evidence)))
        self._step(now)

    def rest(self, now: float) -> None:
        """Begin the step again at the same pace."""
        self._step_at = now
        self._step_accepted = 0
        self._step_from = self._calls.started

    def accepted(self, started_at: float, now: float, stretch: Stretch, rate: float) -> float:
        """A call was accepted; returns the pace from now on, given that it is ``rate``."""
        if started_at < self._step_at:
            return rate  # of an earlier step: it says nothing about this one
        self._step_accepted += 1
        waited = now - self._step_at
        trip = self._trip.mean
        if waited >= trip and self._calls.started - self._step_from < self._tuning.used * rate * waited - 1.0:
            self.rest(now)
            return rate
        if self._estimate.limit:
            return self._surge_step(now, waited, stretch, rate)
        return self._first_step(now, waited, rate)

    def _first_step(self, now: float, waited: float, rate: float) -> float:
        """Double while an overshoot is cheap, then more slowly with the calls in flight."""
        tuning, trip = self._tuning, self._trip.mean
        gentle = self._calls.accepted < tuning.gentle_accepts
        if waited < (max(tuning.step_s, trip) if gentle else trip):
            return rate
        flight = rate * trip
        if flight >= tuning.flight:
            doubling = min(tuning.doubling_most_s, tuning.doubling_s * (flight / tuning.flight) ** tuning.caution)
            rate *= 2.0 ** (waited / doubling)
        else:
            rate *= tuning.leap if not gentle and flight < tuning.flight / tuning.leap else 2.0
        self._step(now)
        return rate

    def _surge_step(self, now: float, waited: float, stretch: Stretch, rate: float) -> float:
        """A step of a round trip, each larger than the last."""
        tuning, estimate, trip = self._tuning, self._estimate, self._trip.mean
        if self._step_accepted < tuning.few - 1 or waited < trip:
            return rate
        if rate * trip < tuning.flight:
            raised = rate * (1.0 + self._surge)
            beyond = stretch.accepted - estimate.limit * (now - stretch.since)
            # Until the surge took more than the bucket holds, a firm limit may still be right: stay near it.
            if estimate.evidence > tuning.firm and beyond < estimate.burst + 5.0:
                cap = tuning.crowded_cap if estimate.crowded else tuning.surge_cap
                raised = min(raised, cap * estimate.limit)
            rate = max(rate, raised)
            self._surge = min(0.5, tuning.surge_growth * self._surge)
        else:
            rate *= 1.1
        self._step(now)
        return rate

    def _step(self, now: float) -> None:
        if not self._estimate.limit:
            self._estimate.step(now)
        self.rest(now)
