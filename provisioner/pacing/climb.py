"""The climb: how the pace grows while the limit is not known, or has risen.

Until the bucket is empty nothing distinguishes a pace below the limit from one above it. When it is empty, the calls of
one round trip are on their way, and (pace - R) x round trip of them are throttled: that is the cost of an overshoot.

How fast may a first climb be, then? After t seconds and S accepted calls, a bucket of at most b seconds of tokens has
given no more than R (b + t), so R is at least S / (b + t): a lower limit would have throttled by now. Any higher one,
from there up to S / (1 + t), may be out of tokens at this very moment. So the pace

    S / (b + t) + allowance / round trip

costs no more than *allowance* throttled calls, whatever R is and whatever the bucket holds, and every faster pace costs
more for some of them. The allowance is a few calls for the jobs that people have, and grows with the number of calls
that are still to come, since a job of many thousands loses more by a slow climb than by some more throttled calls.

A step counts only when its turns were taken: a pace that no caller uses proves nothing.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from provisioner.pacing.observed import Checkpoint

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

    def begin_search(self, now: float) -> None:
        """The first climb left a guess of the limit: climb from there to the 429 that measures it."""
        self._surge = self._tuning.search_step
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
        faster = rate
        if flight >= tuning.flight:
            doubling = min(tuning.doubling_most_s, tuning.doubling_s * (flight / tuning.flight) ** tuning.caution)
            faster *= 2.0 ** (waited / doubling)
        else:
            faster *= 2.0
        self._step(now)
        return max(rate, min(faster, self._safe(now)))

    def _safe(self, now: float) -> float:
        """The fastest pace that costs no more than the allowance, whatever the limit is."""
        tuning, calls = self._tuning, self._calls
        least = self._estimate.if_empty(Checkpoint(now, calls.started), tuning.longest_burst_s)
        if least > tuning.highest_limit:
            return inf  # the service is of another size than those that publish a limit
        return least + self._allowance() / self._trip.mean

    def _allowance(self) -> float:
        """Throttled calls that a climb may cost."""
        tuning, calls = self._tuning, self._calls
        # A job of unknown length is expected to go on for as long as it has gone on.
        expected = max(calls.expected, 2 * calls.started)
        allowance = tuning.allowance + tuning.allowance_share * max(0, expected - tuning.many)
        return min(allowance, tuning.allowance_most)

    def _surge_step(self, now: float, waited: float, stretch: Stretch, rate: float) -> float:
        """A step of a round trip, each larger than the last."""
        tuning, estimate, trip = self._tuning, self._estimate, self._trip.mean
        if self._step_accepted < tuning.few - 1 or waited < trip:
            return rate
        if rate * trip < tuning.flight:
            raised = rate * (1.0 + self._surge)
            beyond = stretch.accepted - estimate.limit * (now - stretch.since)
            # Until the surge took more than the bucket holds, the limit may still be right: stay near it.
            if beyond < estimate.burst + 5.0:
                raised = min(raised, self._near(now))
            rate = max(rate, raised)
            self._surge = min(0.5, tuning.surge_growth * self._surge)
        else:
            rate *= 1.1
        self._step(now)
        return rate

    def _near(self, now: float) -> float:
        """The fastest pace near the limit: a factor of a firm one, otherwise by what an overshoot may cost.

        Since the last epoch found the bucket empty, the limit is at least accepted / elapsed, and a pace so much above
        that is throttled as much at most. (The first climb cannot know this: its bucket was full.)
        """
        tuning, estimate = self._tuning, self._estimate
        if estimate.evidence > tuning.firm:
            return estimate.limit * (tuning.crowded_cap if estimate.crowded else tuning.surge_cap)
        return estimate.at_least(now) + tuning.search_share * self._allowance() / self._trip.mean

    def _step(self, now: float) -> None:
        if not self._estimate.limit:
            self._estimate.step(now)
        self.rest(now)
