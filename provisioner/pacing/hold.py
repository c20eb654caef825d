"""Hold: run at the limit, with a few tokens to spare, and spend them by the time the next measurement is due.

After an epoch the pace starts at R, so the tokens that the pause saved stay in the bucket and absorb jitter. Then it
rises so slowly that they are spent when the next measurement is *due*: after growth times as many accepts as the last
one rests on. No token is lost by that, what is saved now is spent later; and each 429 comes when it is worth one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.pacing.estimate import Estimate, Stretch

if TYPE_CHECKING:
    from provisioner.pacing.observed import Calls, Trip
    from provisioner.pacing.tuning import Tuning


class Hold:
    """The pace between two epochs, and the signs that the limit has risen."""

    def __init__(self, tuning: Tuning, calls: Calls, trip: Trip, estimate: Estimate) -> None:
        self._tuning = tuning
        self._calls = calls
        self._trip = trip
        self._estimate = estimate

    def begin(self, spare: float, since: float) -> Stretch:
        """Run at the limit from ``since`` on, with ``spare`` tokens saved by then."""
        tuning, estimate = self._tuning, self._estimate
        flight = estimate.limit * self._trip.mean
        due = min(max(tuning.growth * estimate.evidence, tuning.shortest_due), estimate.longest_due())
        left = self._calls.expected - self._calls.accepted
        if left > 0:
            due = min(due, tuning.end_due * left)
        # What is in flight reacts a round trip late: spend a token over no fewer accepts than that.
        return Stretch(since, max(due, max(3.0, spare) * flight), spare)

    def begin_warm(self, tokens: float, since: float) -> Stretch:
        """Run at a remembered limit; the bucket is expected to hold ``tokens`` from before, which are to be spent."""
        stretch = self.begin(tokens, since)
        if tokens > 1.0:
            stretch.due = max(self._tuning.warm_due_least, self._tuning.warm_due * tokens)
        return stretch

    def pace(self, stretch: Stretch) -> float:
        """The pace after so many accepts: it rises in a straight line, whose integral up to due is what was spared."""
        over = 2.0 * max(1.0, stretch.spare) * stretch.accepted / (stretch.due * stretch.due)
        return max(self._tuning.floor, self._estimate.limit * (1.0 + over))

    def risen(self, stretch: Stretch, now: float) -> bool:
        """Whether more was accepted than the bucket can have held: the limit has risen."""
        tuning, trip = self._tuning, self._trip.mean
        elapsed = now - stretch.since
        if elapsed <= 2.0 * trip:
            return False
        # Replies report what the bucket did a round trip ago.
        tokens = stretch.spare + self._estimate.limit * (elapsed - trip) - stretch.accepted
        if tokens >= -tuning.surge_slack:
            return False
        # The limit itself is uncertain by one token per span that it was measured in.
        doubt = min(3.0, stretch.accepted / max(1, self._estimate.evidence))
        return tokens < -(tuning.surge_slack + tuning.surge_jitter * self._estimate.noise() + doubt)

    def pause(self, spare: float, barren: int) -> float:
        """Seconds in which the bucket saves ``spare`` tokens, doubled by each barren probe."""
        doubled = spare / self._estimate.limit * 2.0 ** min(barren, 32)  # no overflow in a storm of a day
        return min(self._tuning.pause_limit_s, doubled)

    def tokens(self, stretch: Stretch, at: float) -> float:
        """Tokens that the bucket holds by the model, counting what was accepted so far."""
        return stretch.spare + self._estimate.limit * (at - stretch.since) - stretch.accepted
