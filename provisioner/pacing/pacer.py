"""The pacer: a client-side rate limiter that finds the hidden limit of a token bucket and holds it.

Arithmetic only: no clock, no randomness, no waiting; :mod:`provisioner.pacing.gate` waits.

The server holds a bucket of B tokens that refills at R a second. It is shared with other callers, and neither R nor B
is published. A call takes a token or is throttled (429). One observation carries nearly everything: **at a 429 the
bucket is empty.** Between two of them the accepted calls are the tokens that came in, so accepted / elapsed *is* R, to
within a token, unless the bucket overflowed in between (then it is a lower bound). The error shrinks with the number of
accepts, not with its square root: after 100 accepts R is known to a percent, after 1,000 to a thousandth. So:

- CLIMB (:mod:`provisioner.pacing.climb`). Begin at the initial rate and speed up until a 429 opens the first
  *congestion epoch*. Send nothing until the calls in flight have ended (MEASURE): how many of them are accepted gives a
  first guess of R (:mod:`provisioner.pacing.guess`). Climb gently from there to the 429 that measures it.
- HOLD (:mod:`provisioner.pacing.hold`). At each epoch measure R (:mod:`provisioner.pacing.estimate`), pause until the
  bucket has a few tokens to spare, and run at R and a very little more, so that those tokens are spent when the next
  measurement is due: after 3.5 times as many accepts as the last one rests on, in the end every few hundred. A job of
  1,000 calls has four or five epochs in all.
- Back to CLIMB (a *surge*) when more was accepted than the bucket can have held: the limit rose.

A 429 of a call that had started before the pacer reacted belongs to the same epoch: one cut for each epoch, never one
for each 429, which is why botocore's adaptive mode collapses. A first call after a pause that is throttled again is
*barren*: it measures nothing, doubles the pause, and makes the next call a probe that goes alone; so a storm of 429s
costs a few calls and leaves the estimate as it is. An epoch long before it was due means that others use the bucket: a
small extra cut then lets shares even out. Latency sets no pace, because a 429 is quick. A limiter that counts by the
second is recognised by its phase: after a 429 the pacer waits for the next second, and counts what the last one took.

What the user bounds holds the pace below the limit. Then what is accepted measures the bound, so it is no measurement:
once the bucket may have overflowed, the next 429 only begins one.

The constants stand in :mod:`provisioner.pacing.tuning`.
"""

from __future__ import annotations

from enum import StrEnum
from math import inf, nextafter

import msgspec

from provisioner.pacing.climb import Climb
from provisioner.pacing.estimate import Estimate, Stretch
from provisioner.pacing.hold import Hold
from provisioner.pacing.observed import Calls, Checkpoint, Learned, Seconds, Trip
from provisioner.pacing.tuning import TUNING
from provisioner.pacing.turns import Turns


class PaceBounds(msgspec.Struct, frozen=True, kw_only=True):
    """What the user sets, see :class:`provisioner.config.settings.PaceSettings`. Rates are starts a second.

    Attributes:
        initial_rate: pace at which a target begins whose limit is not known.
        max_rate: never start faster; 0 is no bound.
        share: fraction of the learned limit to use, in (0, 1], until :meth:`Pacer.use` says another.
    """

    initial_rate: float
    max_rate: float
    share: float


class Phase(StrEnum):
    """What the pacer is doing."""

    CLIMB = "climb"
    MEASURE = "measure"
    HOLD = "hold"


class Pacer:
    """Decides when the next call may start, and learns from how calls end.

    All times are seconds on one monotonic clock, except ``wall_now``. Every start ends in exactly one of
    :meth:`accepted`, :meth:`throttled`, :meth:`dropped` and :meth:`cancelled`, which name it by its start time.

    Starts are never denser than paced: in any window of w seconds at most rate x (w + catch-up) + 1 of them; see
    :meth:`provisioner.pacing.tuning.Tuning.catch_up`.

    Args:
        bounds: what the user set.
        now: the current time.
        learned: what an earlier run left, or None.
        wall_now: wall-clock time, epoch seconds; only compared with the times in ``learned``.

    Attributes:
        epochs: congestion epochs so far.
    """

    def __init__(self, bounds: PaceBounds, now: float, learned: Learned | None = None, wall_now: float = 0.0) -> None:
        self._bounds = bounds
        self._share = bounds.share
        self._max_rate = bounds.max_rate or inf
        self._tuning = tuning = TUNING
        self._phase = Phase.CLIMB
        self._rate = bounds.initial_rate
        self._calls = Calls()
        self._trip = Trip(tuning.trip_gain)
        self._seconds = Seconds(tuning)
        self._estimate = Estimate(tuning, self._calls, self._trip)
        self._climb = Climb(tuning, self._calls, self._trip, self._estimate)
        self._hold = Hold(tuning, self._calls, self._trip, self._estimate)
        self._stretch = Stretch(now, tuning.shortest_due)
        self._turns = Turns(tuning, now)
        self._began = now
        self._seen = now  # the latest time that any method was given
        self.epochs = 0
        self._cut = 0  # index of the first call after the last reaction: a 429 of an earlier one is no new epoch
        self._barren = 0
        self._empty_at = now
        self._advised_until = now
        if learned is not None and max(0.0, wall_now - learned.learned_at) < tuning.memory_s:
            self._remember(learned, max(0.0, wall_now - learned.last_start))

    def _remember(self, learned: Learned, idle_s: float) -> None:
        """Begin where the last run ended; the bucket has been filling since its last start."""
        self._estimate.recall(learned)
        tokens = min(learned.burst, learned.tokens + idle_s * learned.rate)
        self._enter_hold(self._hold.begin_warm(tokens, self._began))

    def expect(self, calls: int) -> None:
        """About so many calls are to be made in all: a long job may climb faster."""
        self._calls.expected = calls

    @property
    def rate(self) -> float:
        """Starts a second, now."""
        rate = min(self._rate, self._max_rate)
        if self._share < 1.0 and self._estimate.best:
            return min(rate, self._share * self._estimate.best)
        return rate

    def use(self, share: float, now: float) -> None:
        """Use this fraction of the learned limit from now on."""
        if share == self._share:
            return
        before, self._share = self.rate, share
        if before >= self._rate:
            return
        # What was held down goes on from the limit: a pace that was not used proves nothing, and the bucket filled.
        if self._phase is Phase.CLIMB:
            self._rate = before
            self._climb.rest(now)
        elif self._phase is Phase.HOLD:
            self._refilled(now)

    @property
    def limit(self) -> float:
        """The limit that was measured, starts a second; 0 while it is unknown."""
        return self._estimate.limit

    @property
    def round_trip(self) -> float:
        """The round-trip estimate, seconds; 0 before the first accepted call."""
        return self._trip.mean

    @property
    def tight(self) -> bool:
        """Whether the bucket holds little more than a token: a call that comes late makes the next one too early."""
        return 0.0 < self._estimate.burst < self._tuning.tight_burst

    def peek(self, now: float) -> float:
        """The earliest time at which the next call may start; not after ``now`` when it is due."""
        if not self._calls.started:
            return min(now, self._began)
        return self._turns.next(self.rate)

    def start(self, now: float) -> None:
        """Take the turn: a call starts now."""
        if self._calls.started:
            self._take(now)
        else:
            self._began = self._stretch.since = now
            self._turns.begin(now)
            self._climb.begin(now)
        self._calls.start(now)
        self._seen = now

    def _take(self, now: float) -> None:
        if self._phase is Phase.MEASURE:
            self._conclude(now)
        rate = self.rate
        late = self._turns.take(now, rate)
        if self._barren:
            self._turns.probe(now + self._tuning.probe_trips * self._trip.mean)
        if late * rate > 1.0:
            self._lapse(late, now)
        if rate < self._rate and self._phase is Phase.HOLD:
            self._held_down(1.0 / rate - 1.0 / self._rate)

    def _lapse(self, late: float, now: float) -> None:
        """Turns went by untaken: a pace that is not used proves nothing, and the bucket may have overflowed."""
        self._stretch.unused_s += late
        if self._phase is Phase.CLIMB:
            self._climb.rest(nextafter(now, inf))  # the late call itself does not count for the step
        elif self._overflows():
            self._refilled(now)

    def _held_down(self, seconds: float) -> None:
        """A bound of the user makes turns later: what is accepted measures the bound, not the limit."""
        self._stretch.unused_s += seconds
        if self._overflows():
            self._estimate.forget_checkpoints()

    def _overflows(self) -> bool:
        """Whether so many turns were not used in this stretch that the bucket may have overflowed."""
        estimate = self._estimate
        room = max(2.0, self._tuning.burst_share * estimate.burst)
        return self._stretch.unused_s * estimate.limit > room

    def _refilled(self, now: float) -> None:
        """Hold anew: the bucket has been filling."""
        estimate = self._estimate
        estimate.forget_checkpoints()
        filled = self._tuning.burst_share * estimate.burst
        self._enter_hold(self._hold.begin(max(estimate.to_spare(), filled), now))

    def cancelled(self, started_at: float) -> None:
        """Give the turn back: the call did not start after all."""
        if self._calls.cancel(started_at):
            self._turns.give_back(self.rate)
            self._ended(self._seen)

    def accepted(self, started_at: float, now: float) -> None:
        """The call that started then was accepted: it took a token."""
        self._calls.accepted += 1
        self._calls.in_flight -= 1
        self._trip.record(now - started_at)
        if self._phase is Phase.MEASURE:
            self._estimate.sampled(started_at)
        elif started_at >= self._stretch.since:
            self._accepted(started_at, now)
        self._ended(now)

    def _accepted(self, started_at: float, now: float) -> None:
        stretch = self._stretch
        stretch.accepted += 1
        if stretch.accepted == 1 and self.epochs:
            self._seconds.saw(self._empty_at, started_at, self._trip.deviation)
        if self._barren:
            self._barren = 0
            self._turns.probe(now)
        if self._phase is Phase.CLIMB:
            self._rate = self._climb.accepted(started_at, now, stretch, self._rate)
            return
        self._rate = self._hold.pace(stretch)
        if self._hold.risen(stretch, now):
            self._phase = Phase.CLIMB
            stretch.surging = True
            self._climb.begin_surge(now)

    def throttled(self, started_at: float, now: float, advice_s: float | None = None) -> None:
        """The call that started then was throttled: the bucket was empty.

        Args:
            started_at: when it started.
            now: the current time.
            advice_s: how long the server asks to wait.
        """
        self._calls.throttled += 1
        self._calls.in_flight -= 1
        self._empty_at = max(self._empty_at, started_at)
        self._estimate.late_throttle(started_at)
        if self._calls.index(started_at) >= self._cut:
            self._epoch(self._calls.checkpoint(started_at), now)
        if advice_s is not None:
            self._advised_until = now + min(max(advice_s, 0.0), self._tuning.advice_limit_s)
            self._turns.freeze(self._advised_until)
        self._ended(now)

    def dropped(self, started_at: float, now: float) -> None:
        """The call ended, and whether it took a token is not known (5xx, time-out, reset)."""
        del started_at
        self._calls.in_flight -= 1
        self._ended(now)

    def _ended(self, now: float) -> None:
        self._seen = max(self._seen, now)
        if self._phase is Phase.MEASURE and not self._calls.in_flight:
            self._conclude(now)

    def _epoch(self, epoch: Checkpoint, now: float) -> None:
        """The first 429 since the last reaction: measure, pause, go on."""
        self.epochs += 1
        self._cut = self._calls.started
        estimate, stretch = self._estimate, self._stretch
        limit, evidence = estimate.limit, estimate.evidence
        if self.epochs > 1 and not stretch.accepted:
            self._barren += 1
            if self._barren > 1:
                self._seconds.forget()
        elif self._seconds.boundary is not None:
            estimate.count_second(epoch, self._seconds.after(epoch.at) - 1.0, stretch, self._rate)
        elif self._phase is Phase.CLIMB and self._rate > 1.5 * estimate.limit:
            if self._peak(epoch, now):
                return
        else:
            estimate.measure(epoch, stretch, self._rate)
        if evidence > self._tuning.firm:
            estimate.compare(limit)
        spare = estimate.to_spare()
        self._turns.probe(now)
        by_seconds = self._seconds.boundary is not None and not self._barren
        saving = self._hold.pause(spare, self._barren)
        pause = self._seconds.pause(epoch.at, self._trip.deviation, now) if by_seconds else saving
        self._turns.freeze(now + pause)
        self._enter_hold(self._hold.begin(spare, self._turns.frozen_until))

    def _peak(self, epoch: Checkpoint, now: float) -> bool:
        """The end of a climb; True if the pacer waits for the calls in flight, since they measure R."""
        estimate = self._estimate
        if estimate.limit:
            estimate.end_surge(epoch, self._stretch, self._rate)
        else:
            estimate.end_climb(epoch, self._rate)
        if not estimate.sample(epoch, self._cut):
            return False
        self._phase = Phase.MEASURE
        self._turns.freeze(now + 3.0 * self._trip.mean)
        return True

    def _conclude(self, now: float) -> None:
        """MEASURE ends: take what the calls in flight say, and go on without the rest of the pause."""
        estimate, calls = self._estimate, self._calls
        empty = calls.checkpoint(self._empty_at)
        self._turns.thaw(max(now, self._advised_until))
        if estimate.guess(self._cut, self._bounds.initial_rate, self._rate, empty):
            self._search(now)
            return
        estimate.conclude(self._cut, self._rate)
        self._enter_hold(self._hold.begin(self._saved(now), max(now, self._advised_until)))

    def _saved(self, now: float) -> float:
        """Tokens that the bucket saved since the last throttled call arrived."""
        estimate = self._estimate
        saved = estimate.limit * (now - self._empty_at - 0.5 * self._trip.mean)
        return min(saved, max(1.0, self._tuning.burst_share * estimate.burst))

    def _search(self, now: float) -> None:
        """R is guessed: pause until some tokens are saved, then climb gently until a 429 measures it.

        The more tokens, the more calls there are to measure by, however wrong the guess.
        """
        tuning, estimate, saved = self._tuning, self._estimate, self._saved(now)
        least = min(tuning.search_spare, tuning.search_pause_s * estimate.limit, tuning.burst_share * estimate.burst)
        self._turns.freeze(now + max(0.0, least - saved) / estimate.limit)
        begins = max(now, self._turns.frozen_until)
        self._enter_hold(self._hold.begin(max(saved, least), begins))
        self._phase = Phase.CLIMB
        self._stretch.surging = True
        self._climb.begin_search(begins)

    def _enter_hold(self, stretch: Stretch) -> None:
        self._phase = Phase.HOLD
        self._stretch = stretch
        self._rate = self._hold.pace(stretch)
        estimate = self._estimate
        if estimate.evidence >= self._tuning.firm:
            # Below the whole limit, a lower one may be what others leave: the share stays one of the highest.
            estimate.best = estimate.limit if self._share == 1.0 else max(estimate.best, estimate.limit)

    def learned(self, wall_now: float) -> Learned | None:
        """What the next run should know, or None before anything was measured."""
        estimate, stretch = self._estimate, self._stretch
        if not estimate.limit:
            return None
        last = self._calls.started_at[-1] if self._calls.started_at else self._seen
        tokens = self._hold.tokens(stretch, last) if self._phase is Phase.HOLD else 0.0
        return Learned(
            rate=estimate.limit,
            learned_at=wall_now,
            accepts=estimate.evidence,
            burst=estimate.burst,
            tokens=max(0.0, min(tokens, estimate.burst)),
            last_start=wall_now - (self._seen - last),
        )

    def statistics(self) -> dict[str, float | int | str]:
        """The state, for logs and people."""
        return {
            "phase": self._phase.value,
            "rate": round(self.rate, 4),
            **self._estimate.statistics(),
            "expected": self._calls.expected,
            "accepted": self._calls.accepted,
            "throttled": self._calls.throttled,
            "epochs": self.epochs,
        }

    def __repr__(self) -> str:
        return f"Pacer({', '.join(f'{key}={value}' for key, value in self.statistics().items())})"
