"""The pacer: finds the hidden limit of a token bucket and holds it. Arithmetic only: no clock, no randomness.

The server holds a bucket of B tokens that refills at R a second, shared with others, and tells neither. A call takes a
token or is throttled (429). One observation carries nearly everything: **at a 429 the bucket is empty.** Between two
of them the tokens that were accepted are the tokens that came in, so accepted / elapsed *is* R, to within a token,
unless the bucket overflowed in between (then it is a lower bound). The error shrinks with the number of accepts, not
with its square root: after 100 accepts R is known to a percent, after 1,000 to a thousandth. The pacer lives on that:

- CLIMB. Begin at the rate it is told and speed up until a 429 opens the first *epoch*. Doubling is quick while little
  is in flight, slower once an overshoot would cost many calls: their number is (pace - R) x round trip. Where many were
  in flight, pause until they have ended (MEASURE): the part of them that was accepted tells R at once.
- HOLD. At each epoch, measure: accepted / elapsed since the oldest epoch that still agrees with the newest. Pause until
  the bucket has a few tokens to spare, which absorb the jitter of the network. Then start at R and speed up by so
  little that those tokens are spent when the next measurement is *due*: after 2.5 times as many accepts as the last one
  rests on, in the end every few hundred. Saved tokens are spent later, so nothing is lost, and a job of 1,000 calls
  meets five or six 429s in all.
- Back to CLIMB when more was accepted than the model has tokens for: the limit rose.

A 429 of a call that had started before the pacer reacted belongs to the same epoch: one cut for each epoch, never one
for each 429. A first call after a pause that is throttled again is *barren*: it tells nothing new, doubles the pause,
and lets one call at a time feel its way; so a storm of 429s costs a few calls and leaves the measurement alone. An
epoch long before it was due means that others drink from the bucket: a small extra cut then lets shares even out, since
whoever runs faster meets more 429s. Latency sets no pace: a 429 is quick. A limiter that counts by the second is known
by its phase: after a 429 the pacer waits for the next second, and counts what the last one accepted.

Constants without another source were tuned on the grid of benchmarks/pace, which prints what they achieve.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from math import inf, nextafter, sqrt

import msgspec

from provisioner.pacing.observed import WINDOW_EVIDENCE, Calls, Checkpoint, Learned, Seconds, Trip

ADVICE_LIMIT_S = 5.0
"""Longest wait that the server may ask for: a longer one is a mistake or an outage, and both are better probed."""
CATCH_UP_S = 0.02
"""How late a turn may be taken without losing its place: some ten ticks of an event loop's timers."""
MEMORY_S = 7 * 86400.0
"""A remembered rate that is older is no better than the initial rate."""
FLOOR = 0.2
"""Slowest pace, starts a second, and the reciprocal of the longest silence."""
PAUSE_LIMIT_S = 4.0
"""Longest pause after a barren call: how late the end of a storm may be noticed."""
PROBE_TRIPS = 3.0
"""After a barren call one call goes alone, for this many round trips or until its reply."""

GENTLE_ACCEPTS = 30
"""Accepts of a cold start up to which the pace only doubles: the common limit of about 5/s is met within them."""
STEP_S = 0.25
"""Least time between two doublings while gentle; afterwards a round trip is enough."""
LEAP = 4.0
"""Growth a step, once not gentle, while fewer than FLIGHT / LEAP calls are in flight."""
FLIGHT = 24.0
"""Calls in flight above which an overshoot gets dear: from here the pace doubles every DOUBLING_S only, and that time
grows with the calls in flight to the power of CAUTION, up to DOUBLING_MOST_S."""
DOUBLING_S = 0.8
DOUBLING_MOST_S = 4.5
CAUTION = 1.5
USED = 0.5
"""Share of a step's turns that have to be taken before the next step is faster."""
PROBE_FLIGHT = 6
"""Calls in flight at a first 429 that are enough to measure R by what becomes of them."""
PRIOR_BAND = 1.4
"""A first guess within this factor of the initial rate is taken to be it: services publish round limits."""

TOKENS_TO_SPARE = 0.7
JITTER_SPARE = 2.0
"""Tokens that a pause saves: a constant, and as many deviations of the number of arrivals that jitter displaces."""
BURST_SHARE = 0.5
"""Never save more than this share of what the bucket is known to hold: the rest is room for jitter the other way."""
GROWTH = 2.5
"""A measurement is due after this many times the accepts that the last one rests on."""
SHORTEST_DUE = 6.0
LONGEST_DUE = 500.0
"""Accepts between measurements in the end, at LONGEST_DUE_AT; grows with the square root of the rate, so that of two
pacers on one bucket the faster asks for more less often. The wasted share is about 1 / due."""
LONGEST_DUE_AT = 20.0
CHANGE = 0.2
UNREST = 4.0
CALM = 0.8
"""A firm limit that is off by more than CHANGE at an epoch makes the longest due 1 + UNREST times shorter: what changed
may change again. Each epoch without a change multiplies that by CALM."""
WARM_DUE = 4.0
WARM_DUE_LEAST = 20.0
"""A warm start spends the tokens that it expects within this many accepts for each of them."""

HORIZON_S = 0.5
"""Epochs closer than this are never held against older ones: limiters that refill in lumps look empty that long."""
FEW = 4
"""Accepts below which a short window may only soften the limit, to SOFT of what it was."""
SOFT = 0.7
NEWLY_RISEN = 16
"""Accepts that a measurement after a rise counts for at most: the bucket may have overflowed before it."""
EARLY = 0.3
"""An epoch before this share of its due came early: somebody else drinks too."""
YIELD = 0.02
"""The extra cut at an early epoch, once YIELD_ACCEPTS were counted."""
YIELD_ACCEPTS = 50

SURGE_SLACK = 1.5
SURGE_JITTER = 2.0
"""Tokens beyond the model's that have to be accepted before the limit is taken to have risen; jitter as above."""
SURGE_LEAST = 0.05
SURGE_MOST = 0.4
SURGE_GROWTH = 1.3
"""First step of a surge (by how little the measurement rests on) and how the steps grow."""
SURGE_CAP = 1.45
"""A surge from a firm measurement stays under this factor until it has emptied what the bucket may hold."""
CROWDED_LEAST = 0.01
CROWDED_CAP = 1.1
CROWDED_SPARE = 0.5
"""The same while others drink from the bucket: what they leave for a moment is not ours to grab. What we save they may
drink, too: so save less."""
OVERDRAWN = 2.0
OVERDRAWN_BURSTS = 1.5
"""A surge that took more than this beyond the model, tokens and bursts, was no full bucket that ran dry."""
FIRM = 50


class PaceBounds(msgspec.Struct, frozen=True):
    """What the user sets. Rates are starts a second.

    Attributes:
        initial_rate: pace at which a target begins about which nothing is remembered.
        max_rate: never start faster; 0 is no bound.
        share: fraction of the learned limit to use, in (0, 1].
    """

    initial_rate: float = 5.0
    max_rate: float = 0.0
    share: float = 1.0


class Phase(StrEnum):
    """What the pacer is doing."""

    CLIMB = "climb"
    MEASURE = "measure"
    HOLD = "hold"


class Pacer:
    """Says when the next call may start, and learns from how calls end.

    All times are seconds on one monotonic clock, except ``wall_now``. Every start ends in exactly one of
    :meth:`accepted`, :meth:`throttled`, :meth:`dropped` and :meth:`cancelled`, which name it by its start time.

    Starts are never denser than paced: in any window of w seconds at most rate x (w + CATCH_UP_S) + 1 of them.

    Args:
        bounds: what the user set.
        now: the time of birth.
        learned: what an earlier run left, or None.
        wall_now: wall-clock time, epoch seconds; only compared with the times in ``learned``.
    """

    def __init__(self, bounds: PaceBounds, now: float, learned: Learned | None = None, wall_now: float = 0.0) -> None:
        self._initial_rate = bounds.initial_rate
        self._max_rate = bounds.max_rate or inf
        self._share = bounds.share
        self._phase = Phase.CLIMB
        self._rate = bounds.initial_rate
        self._limit = 0.0  # the measured R; 0 before the first epoch
        self._evidence = 0  # accepts that it rests on
        self._best = 0.0  # the highest firm measurement: what `share` is a share of
        self._burst = 0.0
        self._calls = Calls()
        self._trip = Trip()
        self._seen = now
        # Turns.
        self._turn = now
        self._frozen_until = now
        self._slip = 0.0  # seconds of turns that nobody took since the last epoch
        # Epochs.
        self._epochs = 0
        self._cut = 0  # calls before this index belong to the last epoch
        self._marks: deque[Checkpoint] = deque(maxlen=8)
        self._barren = 0
        self._seconds = Seconds()
        self._probed_until = now
        self._empty_at = now
        # Since the last epoch.
        self._since = now
        self._run = 0
        self._spare = 0.0
        self._due = SHORTEST_DUE
        self._unrest = 0.0
        self._crowded = False
        # Climbing.
        self._born = now
        self._step_at = now
        self._step_run = 0
        self._step_from = 0
        self._surge = SURGE_LEAST
        self._steps: list[Checkpoint] = []  # of the first climb: they tell the burst
        self._top: Checkpoint | None = None
        self._sample: list[float] = []  # starts of the calls that were accepted while measuring
        self._sample_from = 0
        if learned is not None and max(0.0, wall_now - learned.learned_at) < MEMORY_S:
            self._remember(learned, max(0.0, wall_now - learned.last_start))

    def _remember(self, learned: Learned, idle_s: float) -> None:
        """Begin where the last run ended; the bucket has been filling since its last start."""
        self._limit = self._best = max(FLOOR, learned.rate)
        self._evidence = learned.accepts
        self._burst = learned.burst
        self._hold(min(learned.burst, learned.tokens + idle_s * learned.rate), self._born)
        if self._spare > 1.0:
            self._due = max(WARM_DUE_LEAST, WARM_DUE * self._spare)
            self._drift()

    # ---- Turns

    @property
    def rate(self) -> float:
        """Starts a second, now."""
        rate = min(self._rate, self._max_rate)
        if self._share < 1.0 and self._best:
            return min(rate, self._share * self._best)
        return rate

    @property
    def round_trip(self) -> float:
        """Smoothed time from the start of an accepted call to its end, seconds; 0 before the first."""
        return self._trip.mean

    def peek(self, now: float) -> float:
        """The earliest time at which the next call may start; not after ``now`` when it is due."""
        if not self._calls.started:
            return min(now, self._born)
        return max(self._turn + 1.0 / self.rate, self._frozen_until, self._probed_until)

    def start(self, now: float) -> None:
        """Take the turn: a call starts now."""
        if self._calls.started:
            self._take(now)
        else:
            self._turn = self._born = self._since = now
            self._step(now)
        self._calls.start(now)
        self._seen = now

    def _take(self, now: float) -> None:
        if self._phase is Phase.MEASURE:
            self._conclude(now)
        turn = self.peek(now)
        late = now - CATCH_UP_S - turn
        self._turn = max(turn, now - CATCH_UP_S)
        if self._barren:
            self._probed_until = now + PROBE_TRIPS * self._trip.mean
        if late * self.rate > 1.0:
            self._slip += late
            self._lapse(now)

    def _lapse(self, now: float) -> None:
        """Turns went by untaken: a pace that is not used proves nothing, and the bucket may have overflowed."""
        if self._phase is Phase.CLIMB:
            self._rest(nextafter(now, inf))  # the late call itself does not count for the step
        elif self._slip * self._limit > max(2.0, BURST_SHARE * self._burst):
            self._marks.clear()
            self._hold(max(self._to_spare(), BURST_SHARE * self._burst), now)

    def cancelled(self, started_at: float) -> None:
        """Give the turn back: the call did not start after all."""
        if self._calls.cancel(started_at):
            self._turn -= 1.0 / self.rate
            self._ended(self._seen)

    # ---- Endings

    def accepted(self, started_at: float, now: float) -> None:
        """The call that started then was accepted: it took a token."""
        self._calls.accepted += 1
        self._calls.in_flight -= 1
        self._trip.record(now - started_at)
        if self._phase is Phase.MEASURE:
            self._sample.append(started_at)
        elif started_at >= self._since:
            self._run += 1
            if self._run == 1 and self._epochs:
                self._seconds.saw(self._empty_at, started_at, self._trip.deviation)
            if self._barren:
                self._barren = 0
                self._probed_until = now
            if self._phase is Phase.CLIMB:
                self._climb(started_at, now)
            else:
                self._drift()
                self._watch(now)
        self._ended(now)

    def throttled(self, started_at: float, now: float, advice_s: float | None = None) -> None:
        """The call that started then was throttled: the bucket was empty. ``advice_s``: seconds to wait, as told."""
        self._calls.throttled += 1
        self._calls.in_flight -= 1
        self._empty_at = max(self._empty_at, started_at)
        if self._marks and started_at < self._marks[-1].at:
            # The mark counted this call as admitted while nobody knew.
            self._marks[-1] = Checkpoint(self._marks[-1].at, self._marks[-1].admitted - 1)
        if self._calls.index(started_at) >= self._cut:
            self._epoch(self._calls.mark(started_at), now)
        if advice_s is not None:
            self._frozen_until = max(self._frozen_until, now + min(max(advice_s, 0.0), ADVICE_LIMIT_S))
        self._ended(now)

    def dropped(self, started_at: float, now: float) -> None:
        """The call ended without telling whether it took a token (5xx, time-out, reset)."""
        del started_at
        self._calls.in_flight -= 1
        self._ended(now)

    def _ended(self, now: float) -> None:
        self._seen = max(self._seen, now)
        if self._phase is Phase.MEASURE and not self._calls.in_flight:
            self._conclude(now)

    # ---- Epochs

    def _epoch(self, mark: Checkpoint, now: float) -> None:
        """The first 429 since the last reaction: measure, pause, go on."""
        self._epochs += 1
        self._cut = self._calls.started
        limit, evidence = self._limit, self._evidence
        if self._epochs > 1 and not self._run:
            self._barren += 1
            if self._barren > 1 and self._seconds.boundary is not None:
                self._seconds.forget()
        elif self._seconds.boundary is not None:
            self._window(mark)
        elif self._phase is Phase.CLIMB and self._rate > 1.5 * self._limit:
            if self._peak(mark, now):
                return
        else:
            self._measure(mark)
        if evidence > FIRM:
            changed = abs(self._limit / limit - 1.0) > CHANGE
            self._unrest = 1.0 if changed else CALM * self._unrest
        spare = self._to_spare()
        self._probed_until = now
        self._frozen_until = max(self._frozen_until, now + self._pause(spare, mark, now))
        self._hold(spare, self._frozen_until)

    def _pause(self, spare: float, mark: Checkpoint, now: float) -> float:
        """Seconds until ``spare`` tokens are saved; or until the next second, for a limiter that counts by it."""
        if self._seconds.boundary is not None and not self._barren:
            return max(0.0, self._seconds.after(mark.at) + self._seconds.doubt + self._trip.deviation - now)
        return min(PAUSE_LIMIT_S, spare / self._limit * 2.0 ** min(self._barren, 32))

    def _peak(self, mark: Checkpoint, now: float) -> bool:
        """The end of a climb: a guess at R, and True if what is in flight will soon tell better."""
        if self._limit:
            old = self._marks[-1] if self._marks else Checkpoint(self._since, mark.admitted - self._run)
            self._evidence = min(max(mark.admitted - old.admitted, 2), NEWLY_RISEN)
            measured = (mark.admitted - old.admitted) / max(mark.at - old.at, 1.0e-6)
            self._limit = min(max(self._limit, measured, self._overdrawn(measured, mark)), self._rate)
        else:
            self._top = mark
            self._limit = self._first_guess(mark)
            self._evidence = 2
            self._fit_burst()
        self._marks.clear()
        self._marks.append(mark)
        self._sample_from = self._calls.index(mark.at)
        if self._cut - self._sample_from <= PROBE_FLIGHT:
            return False
        self._phase = Phase.MEASURE
        self._sample.clear()
        self._frozen_until = max(self._frozen_until, now + 3.0 * self._trip.mean)
        return True

    def _first_guess(self, mark: Checkpoint) -> float:
        """R, were the bucket to hold one second of it; or the initial rate, which was published, if that is near."""
        told = self._initial_rate
        guess = max(mark.admitted / (1.0 + mark.at - self._born), 0.4 * told)
        return min(told if told / PRIOR_BAND < guess < told * PRIOR_BAND else guess, self._rate)

    def _conclude(self, now: float) -> None:
        """What was in flight at the peak has ended: the part of it that was accepted tells R."""
        starts = self._calls.started_at
        begin = starts[max(0, self._sample_from - self._calls.forgotten)]
        end = starts[min(len(starts), self._cut - self._calls.forgotten) - 1]
        # Calls that started just after the first throttled one may have arrived before it: leave them out.
        begin = min(begin + 2.0 * self._trip.deviation, 0.5 * (begin + end))
        count = sum(at >= begin for at in self._sample)
        guessed = self._evidence <= 2  # noqa: PLR2004 - what a guess counts for
        if end > begin and count >= FEW:
            measured = min(count / (end - begin), self._rate)
            if guessed or measured > self._limit * (1.5 + 3.0 / sqrt(count)):
                self._limit, self._evidence = measured, count
        elif end > begin and guessed:
            self._limit = max(FLOOR, min(self._limit, (count + 2.0) / (end - begin)))
        self._fit_burst()
        self._frozen_until = min(self._frozen_until, now)
        saved = self._limit * (now - self._empty_at - 0.5 * self._trip.mean)
        self._hold(min(saved, max(1.0, BURST_SHARE * self._burst)), now)

    def _measure(self, mark: Checkpoint) -> None:
        """R from accepted / elapsed since the oldest mark that agrees with the newest."""
        count, elapsed, newer = 0, 0.0, mark
        slack = SURGE_SLACK + 1.5 * SURGE_JITTER * self._noise()
        for old in reversed(self._marks):
            more, span = newer.admitted - old.admitted, newer.at - old.at
            if span <= 0.0:
                continue
            if elapsed > HORIZON_S and abs(count / elapsed - more / span) > slack * (1.0 / elapsed + 1.0 / span):
                break
            count, elapsed, newer = count + more, elapsed + span, old
            if count > self._longest_due():
                break
        if self._marks:
            self._settle(max(0, count), elapsed, mark)
        self._marks.append(mark)

    def _window(self, mark: Checkpoint) -> None:
        """A second was used up: R is what was accepted since it began, less what jitter moves across its boundary."""
        accepted = self._calls.index(mark.at) - self._calls.index(self._seconds.after(mark.at) - 1.0)
        counted = min(accepted - 0.5 - self._noise(), self._rate)
        self._measure(mark)
        self._crowded = True
        if counted > self._limit:
            self._limit, self._evidence = counted, WINDOW_EVIDENCE

    def _settle(self, count: int, elapsed: float, mark: Checkpoint) -> None:
        """Take the measurement of ``count`` accepts in ``elapsed`` seconds, as far as it can be trusted."""
        measured = count / elapsed if elapsed else 0.0
        if elapsed <= HORIZON_S or count < FEW:
            measured = max(measured, SOFT * self._limit)
        risen = measured > self._limit * (1.03 if self._phase is Phase.CLIMB else 1.25)
        firm = max(NEWLY_RISEN, int(measured * self._trip.mean))
        self._evidence = max(2, min(count, firm) if risen else count)
        self._crowded = self._run < EARLY * self._due
        if self._crowded and count > YIELD_ACCEPTS:
            measured *= 1.0 - YIELD
        measured = max(measured, self._overdrawn(measured, mark))
        # A 429 never raises the pace.
        self._limit = max(FLOOR, min(measured, self._rate))
        self._fit_burst()

    def _overdrawn(self, measured: float, mark: Checkpoint) -> float:
        """A bolder guess than ``measured`` where a surge took more than the bucket holds: it had overflowed before."""
        if self._phase is not Phase.CLIMB or not self._burst:
            return 0.0
        beyond = self._run - self._spare - self._limit * (mark.at - self._since)
        if beyond <= OVERDRAWN + OVERDRAWN_BURSTS * self._burst:
            return 0.0
        return sqrt(max(measured, self._limit) * self._rate)

    def _fit_burst(self) -> None:
        """Tokens that the first climb took beyond what came in: at least what a full bucket holds."""
        if self._top is not None:
            top, limit = self._top, self._limit
            taken = max(top.admitted - step.admitted - limit * (top.at - step.at) for step in self._steps)
            self._burst = max(1.0, 0.5 + taken)

    # ---- Holding

    def _hold(self, spare: float, since: float) -> None:
        """Run at the limit from ``since`` on, with ``spare`` tokens saved by then."""
        self._phase = Phase.HOLD
        self._spare = spare
        self._since = since
        self._run = 0
        self._slip = 0.0
        if self._evidence >= FIRM:
            self._best = max(self._best, self._limit)
        flight = self._limit * self._trip.mean
        due = min(max(GROWTH * self._evidence, SHORTEST_DUE), self._longest_due())
        self._due = max(due, max(3.0, spare) * flight)
        self._drift()

    def _drift(self) -> None:
        """Speed up so that what was spared is spent when the next measurement is due."""
        over = 2.0 * max(1.0, self._spare) * self._run / (self._due * self._due)
        self._rate = max(FLOOR, self._limit * (1.0 + over))

    def _watch(self, now: float) -> None:
        """Begin a surge when more was accepted than the model's bucket can have held."""
        elapsed = now - self._since
        if elapsed <= 2.0 * self._trip.mean:
            return
        tokens = self._spare + self._limit * (elapsed - self._trip.mean) - self._run
        if tokens >= -SURGE_SLACK:
            return
        doubt = min(3.0, self._run / max(1, self._evidence))
        if tokens < -(SURGE_SLACK + SURGE_JITTER * self._noise() + doubt):
            self._phase = Phase.CLIMB
            least = CROWDED_LEAST if self._crowded else SURGE_LEAST
            self._surge = min(SURGE_MOST, max(least, 3.0 / max(1, self._evidence)))
            self._step(now)

    def _longest_due(self) -> float:
        longest = LONGEST_DUE * sqrt(max(1.0, self._limit / LONGEST_DUE_AT))
        return longest / (1.0 + UNREST * self._unrest)

    def _to_spare(self) -> float:
        spare = TOKENS_TO_SPARE + JITTER_SPARE * self._noise()
        if self._crowded:
            spare *= CROWDED_SPARE
        return min(spare, max(0.3, BURST_SHARE * (self._burst - 1.0))) if self._burst else spare

    def _noise(self) -> float:
        """Deviation of the number of calls that jitter moves into or out of a window."""
        return sqrt(self._limit * self._trip.deviation)

    # ---- Climbing

    def _climb(self, started_at: float, now: float) -> None:
        if started_at < self._step_at:
            return
        self._step_run += 1
        waited = now - self._step_at
        if waited >= self._trip.mean and self._calls.started - self._step_from < USED * self._rate * waited - 1.0:
            self._rest(now)
        elif self._limit:
            self._climb_again(now, waited)
        elif waited >= (max(STEP_S, self._trip.mean) if self._calls.accepted < GENTLE_ACCEPTS else self._trip.mean):
            flight = self._rate * self._trip.mean
            if flight >= FLIGHT:
                doubling = min(DOUBLING_MOST_S, DOUBLING_S * (flight / FLIGHT) ** CAUTION)
                self._rate *= 2.0 ** (waited / doubling)
            else:
                leap = self._calls.accepted >= GENTLE_ACCEPTS and flight < FLIGHT / LEAP
                self._rate *= LEAP if leap else 2.0
            self._step(now)

    def _climb_again(self, now: float, waited: float) -> None:
        """A surge: steps of a round trip, each longer than the last."""
        if self._step_run < FEW - 1 or waited < self._trip.mean:
            return
        if self._rate * self._trip.mean < FLIGHT:
            rate = self._rate * (1.0 + self._surge)
            beyond = self._run - self._limit * (now - self._since)
            if self._evidence > FIRM and beyond < self._burst + 5.0:
                rate = min(rate, (CROWDED_CAP if self._crowded else SURGE_CAP) * self._limit)
            self._rate = max(self._rate, rate)
            self._surge = min(0.5, SURGE_GROWTH * self._surge)
        else:
            self._rate *= 1.1
        self._step(now)

    def _step(self, now: float) -> None:
        if not self._limit:
            self._steps.append(Checkpoint(now, self._calls.started))
        self._rest(now)

    def _rest(self, now: float) -> None:
        """Begin a step at the same pace: what is not used proves nothing, and a faster one would not be used either."""
        self._step_at = now
        self._step_run = 0
        self._step_from = self._calls.started

    # ---- What it knows

    def learned(self, wall_now: float) -> Learned | None:
        """What the next run should know, or None before anything was measured."""
        if not self._limit:
            return None
        last = self._calls.started_at[-1] if self._calls.started_at else self._seen
        tokens = self._spare + self._limit * (last - self._since) - self._run if self._phase is Phase.HOLD else 0.0
        return Learned(
            rate=self._limit,
            learned_at=wall_now,
            accepts=self._evidence,
            burst=self._burst,
            tokens=max(0.0, min(tokens, self._burst)),
            last_start=wall_now - (self._seen - last),
        )

    def statistics(self) -> dict[str, float | int | str]:
        """The state, for logs and people."""
        return {
            "phase": self._phase.value,
            "rate": round(self.rate, 4),
            "limit": round(self._limit, 4),
            "evidence": self._evidence,
            "burst": round(self._burst, 2),
            "accepted": self._calls.accepted,
            "throttled": self._calls.throttled,
            "epochs": self._epochs,
        }

    def __repr__(self) -> str:
        return f"Pacer({', '.join(f'{key}={value}' for key, value in self.statistics().items())})"
