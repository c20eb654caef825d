"""The estimate of the bucket: its rate R and its burst B, from what was accepted between two 429s.

A 429 proves one thing: at that moment the bucket was empty. Between two such moments the accepted calls are the tokens
that came in, so accepted / elapsed is R to within one token, unless the bucket was full in between and overflowed; then
it is a lower bound. An epoch is a run of 429s that belong together (calls that had started before the pacer reacted);
its first one is a *checkpoint*. The older the checkpoint that a measurement starts at, the smaller its error: one token
over the number of accepts in between, which is the *evidence*.
"""

from __future__ import annotations

from math import inf, sqrt
from typing import TYPE_CHECKING

import msgspec

from provisioner.pacing.guess import Flight, likely
from provisioner.pacing.observed import Checkpoint

if TYPE_CHECKING:
    from provisioner.pacing.observed import Calls, Learned, Trip
    from provisioner.pacing.tuning import Tuning

GUESS = 2
"""Evidence of a limit that was guessed, not measured."""
BURSTS = 24
"""Steps between the smallest bucket and the largest that a guess weighs: 15 % apart."""
CHECKPOINTS = 8
"""Checkpoints that are kept: spans grow by Tuning.growth, so the oldest ones add nothing."""


class Stretch(msgspec.Struct):
    """The time since the last epoch.

    Attributes:
        since: when it began; calls that started before do not count.
        due: accepts after which the next measurement is due.
        spare: tokens that were saved before it began.
        accepted: calls that were accepted in it.
        unused_s: seconds of turns that no caller took.
        surging: the pace climbs in it, since more was accepted than the limit allows.
    """

    since: float
    due: float
    spare: float = 0.0
    accepted: int = 0
    unused_s: float = 0.0
    surging: bool = False


class Estimate:
    """What is known of the bucket.

    Attributes:
        limit: R, tokens a second; 0 before the first epoch.
        evidence: accepts that it rests on.
        best: the limit that ``PaceBounds.share`` is a share of: the last firm one, the highest while held below it.
        burst: tokens that a full bucket was seen to hold at least; 0 where never seen.
        crowded: whether others seem to use the bucket too.
    """

    def __init__(self, tuning: Tuning, calls: Calls, trip: Trip) -> None:
        self._tuning = tuning
        self._calls = calls
        self._trip = trip
        self.limit = 0.0
        self.evidence = 0
        self.best = 0.0
        self.burst = 0.0
        self.crowded = False
        self._unrest = 0.0
        self._rises = 0  # epochs in a row, each of which ended a surge
        self._checkpoints: list[Checkpoint] = []  # the last CHECKPOINTS
        self._climbed: list[Checkpoint] = []  # the steps of the first climb, and its end: they give the burst
        self._top: Checkpoint | None = None
        self._unguessed: Checkpoint | None = None  # the end of the first climb, until the calls in flight have ended
        self._lowest = 0.0  # what R is at least if the bucket is no larger than those that are reckoned with
        self._accepted: list[float] = []  # starts of the calls that were accepted while measuring in flight
        self._first_in_flight = 0

    def recall(self, learned: Learned) -> None:
        """Begin with what an earlier run learned."""
        self.limit = self.best = max(self._tuning.floor, learned.rate)
        self.evidence = learned.accepts
        self.burst = learned.burst

    def statistics(self) -> dict[str, float | int]:
        """The estimate, for logs and people."""
        return {"limit": round(self.limit, 4), "evidence": self.evidence, "burst": round(self.burst, 2)}

    # ---- The first climb

    def step(self, now: float) -> None:
        """A step of the first climb begins."""
        self._climbed.append(Checkpoint(now, self._calls.started))

    def end_climb(self, top: Checkpoint, rate: float) -> None:
        """The first 429 ends the climb. Until what is in flight has ended, take it that the bucket held a second."""
        self._top = top
        self._unguessed = top
        self._lowest = self.if_empty(top, self._tuning.longest_burst_s)
        self.limit = min(max(self._tuning.floor, self.if_empty(top, 1.0)), rate)
        self.evidence = GUESS
        self._fit_burst()
        self._restart_at(top)

    def if_empty(self, top: Checkpoint, burst_s: float) -> float:
        """R, if the first climb emptied the bucket at ``top``, and a full one holds so many seconds of R.

        The bucket was full until some step of the climb. Which one is not known: the one that gives most, for with a
        lower R the bucket would have been empty before.
        """
        return max((top.admitted - step.admitted) / (burst_s + top.at - step.at) for step in self._climbed)

    def end_surge(self, top: Checkpoint, stretch: Stretch, rate: float) -> None:
        """A 429 ends a climb to a limit that had risen. The bucket overflowed before: what was accepted is a bound."""
        old = self._checkpoints[-1] if self._checkpoints else Checkpoint(stretch.since, top.admitted - stretch.accepted)
        accepted = top.admitted - old.admitted
        self._rises += 1
        measured = accepted / max(top.at - old.at, 1.0e-6)
        self.limit = min(max(self.limit, measured, self._overdrawn(measured, stretch, top.at, rate)), rate)
        self.evidence = min(max(accepted, GUESS), self._tuning.newly_risen)
        self._restart_at(top)

    def _restart_at(self, top: Checkpoint) -> None:
        self._checkpoints.clear()
        self._checkpoints.append(top)

    def _fit_burst(self) -> None:
        """Tokens that the first climb took beyond what came in: at least what a full bucket holds.

        The bucket was full until some step of the climb, and which one is not known: the step that gives most.
        """
        if self._top is not None:
            top, limit = self._top, self.limit
            taken = max(top.admitted - step.admitted - limit * (top.at - step.at) for step in self._climbed)
            self.burst = max(1.0, 0.5 + taken)

    # ---- Measuring by what is in flight

    def sample(self, top: Checkpoint, cut: int) -> bool:
        """Prepare to measure by the calls in flight at the end of a climb; False where they are too few.

        After a first climb any are enough: there is nothing else to guess by.
        """
        self._first_in_flight = self._calls.index(top.at)
        if self._unguessed is None and cut - self._first_in_flight <= self._tuning.sample_flight:
            return False
        self._accepted.clear()
        return True

    def sampled(self, started_at: float) -> None:
        """The call that started then was accepted while the pacer waits for what is in flight."""
        self._accepted.append(started_at)

    def guess(self, cut: int, initial_rate: float, rate: float, empty: Checkpoint) -> bool:
        """What was in flight at the end of the first climb has ended: guess R; False after any other climb."""
        top, self._unguessed = self._unguessed, None
        if top is None:
            return False
        tuning, accepted = self._tuning, sum(at > top.at for at in self._accepted)
        flight = Flight(
            sent=cut - self._first_in_flight - 1,
            accepted=accepted,
            span=self._calls.start_of(cut - 1) - top.at,
            displaced=rate * self._trip.deviation,
        )
        least, ratio = tuning.least_guess * initial_rate, tuning.longest_burst_s / tuning.shortest_burst_s
        bursts_s = (tuning.shortest_burst_s * ratio ** (step / BURSTS) for step in range(BURSTS + 1))
        candidates = (min(max(self.if_empty(top, burst_s), least), rate) for burst_s in bursts_s)
        self.limit = likely(tuning, candidates, flight, initial_rate)
        self._fit_burst()
        self._restart_at(empty)
        return True

    def conclude(self, cut: int, rate: float) -> None:
        """What was in flight at the end of a surge has ended. The bucket was empty: the accepted part of it gives R."""
        begin, end = self._calls.start_of(self._first_in_flight), self._calls.start_of(cut - 1)
        # Calls that started just after the first throttled one may have arrived before it: leave them out.
        begin = min(begin + 2.0 * self._trip.deviation, 0.5 * (begin + end))
        count = sum(at >= begin for at in self._accepted)
        if end > begin and count >= self._tuning.few:
            measured = min(count / (end - begin), rate)
            # The limit has some evidence: only what lies outside the noise of the count replaces it.
            if measured > self.limit * (1.5 + 3.0 / sqrt(count)):
                self.limit, self.evidence = measured, count
        self._fit_burst()

    def at_least(self, now: float) -> float:
        """R is at least this, since the last checkpoint found the bucket empty; anything where there is none."""
        if not self._checkpoints:
            return inf
        empty = self._checkpoints[-1]
        return (self._calls.started - self._calls.throttled - empty.admitted) / max(now - empty.at, 1.0e-6)

    # ---- Measuring from epoch to epoch

    def measure(self, epoch: Checkpoint, stretch: Stretch, rate: float) -> None:
        """R from accepted / elapsed since the oldest checkpoint that agrees with the newest ones."""
        self._rises = self._rises + 1 if stretch.surging else 0
        if self._checkpoints:
            count, elapsed = self._longest_agreeing(epoch)
            self._take(count, elapsed, stretch, epoch.at, rate)
        self._checkpoints.append(epoch)
        del self._checkpoints[:-CHECKPOINTS]

    def count_second(self, epoch: Checkpoint, second_began: float, stretch: Stretch, rate: float) -> None:
        """A limiter that counts by the second: R is what it accepted in one, less what jitter moves across its ends."""
        accepted = self._calls.index(epoch.at) - self._calls.index(second_began)
        counted = min(accepted - 0.5 - self.noise(), rate)
        self.measure(epoch, stretch, rate)
        # No token can be saved across seconds, just as if others took them.
        self.crowded = True
        if counted > self.limit:
            self.limit, self.evidence = counted, self._tuning.window_evidence

    def late_throttle(self, started_at: float) -> None:
        """A call from before the last checkpoint was throttled after all: the checkpoint counted it as admitted."""
        if self._checkpoints and started_at < self._checkpoints[-1].at:
            last = self._checkpoints[-1]
            self._checkpoints[-1] = Checkpoint(last.at, last.admitted - 1)

    def forget_checkpoints(self) -> None:
        """The bucket may have overflowed: what came in since the last checkpoint is not known."""
        self._checkpoints.clear()

    def compare(self, before: float) -> None:
        """A firm limit of ``before`` was measured again: what changed may change again, so measure more often."""
        changed = abs(self.limit / before - 1.0) > self._tuning.change
        self._unrest = 1.0 if changed else self._tuning.calm * self._unrest

    def _longest_agreeing(self, epoch: Checkpoint) -> tuple[int, float]:
        """Accepts and seconds back from ``epoch`` to the oldest checkpoint before which the limit was another."""
        tuning = self._tuning
        count, elapsed, newer = 0, 0.0, epoch
        slack = tuning.surge_slack + 1.5 * tuning.surge_jitter * self.noise()
        for old in reversed(self._checkpoints):
            more, span = newer.admitted - old.admitted, newer.at - old.at
            if span <= 0.0:
                continue
            # Each end of a span is uncertain by the slack, so its rate is by slack / span.
            if elapsed > tuning.horizon_s and abs(count / elapsed - more / span) > slack * (1.0 / elapsed + 1.0 / span):
                break
            count, elapsed, newer = count + more, elapsed + span, old
            if count > self.longest_due():
                break
        return max(0, count), elapsed

    def _take(self, count: int, elapsed: float, stretch: Stretch, at: float, rate: float) -> None:
        """Take the measurement of ``count`` accepts in ``elapsed`` seconds, as far as it can be trusted."""
        tuning = self._tuning
        measured = count / elapsed if elapsed else 0.0
        bold = self._overdrawn(measured, stretch, at, rate)
        if elapsed <= tuning.horizon_s or count < tuning.few:
            guessed = self._lowest > 0.0 and self.evidence <= tuning.weak
            measured = max(measured, min(self._lowest, self.limit) if guessed else tuning.soft * self.limit)
        risen = measured > self.limit * (1.03 if stretch.surging else 1.25)
        # The round trip's worth of calls at the end of a rise was accepted at the old limit.
        firm = max(tuning.newly_risen, int(measured * self._trip.mean))
        self.evidence = max(GUESS, min(count, firm) if risen else count)
        self.crowded = stretch.accepted < tuning.early * stretch.due
        if self.crowded and count > tuning.concession_accepts:
            measured *= 1.0 - tuning.concession
        measured = max(measured, bold)
        # A 429 never raises the pace, whatever was measured.
        self.limit = max(tuning.floor, min(measured, rate))
        self._fit_burst()

    def _overdrawn(self, measured: float, stretch: Stretch, at: float, rate: float) -> float:
        """A bolder guess than ``measured`` where a surge took more than the bucket holds: it had overflowed before."""
        if not stretch.surging or not self.burst:
            return 0.0
        tuning, guessed = self._tuning, self.evidence <= GUESS
        if guessed:
            full = measured  # what a guess says of the bucket is worth no more than the guess: count on one second
        elif self._rises > 1:
            full = tuning.overdrawn  # it rises again and again: the bucket was fitted to a limit that was too low
        else:
            full = tuning.overdrawn + tuning.overdrawn_bursts * self.burst
        beyond = stretch.accepted - stretch.spare - self.limit * (at - stretch.since)
        if beyond <= full:
            return 0.0
        bold = sqrt(max(measured, self.limit) * rate)
        return min(bold, tuning.guess_cap * measured) if guessed else bold

    # ---- What follows from it

    def noise(self) -> float:
        """Standard deviation of the number of calls that jitter moves into or out of a span."""
        return sqrt(self.limit * self._trip.deviation)

    def to_spare(self) -> float:
        """Tokens that a pause should save against jitter."""
        tuning = self._tuning
        spare = tuning.tokens_to_spare + tuning.jitter_spare * self.noise()
        if self.crowded:
            spare *= tuning.crowded_spare
        return min(spare, max(0.3, tuning.burst_share * (self.burst - 1.0))) if self.burst else spare

    def longest_due(self) -> float:
        """Accepts between two measurements in the end."""
        tuning = self._tuning
        longest = tuning.longest_due * sqrt(max(1.0, self.limit / tuning.longest_due_at))
        return longest / (1.0 + tuning.unrest * self._unrest)
