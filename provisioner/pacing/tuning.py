"""The constants of the pacer's arithmetic, each with its source.

Constants without another source were tuned by hand on ``python -m benchmarks.pace``. Where a docstring names a table of
that bench (goals, first minute, grid) or a row of it, change the constant and compare the figures there. None of them
is a setting: what a user may want to bound stands in :class:`provisioner.pacing.pacer.PaceBounds`.
"""

from __future__ import annotations

import msgspec


class Tuning(msgspec.Struct, frozen=True):
    """Times are seconds, rates are starts a second, amounts are calls (a call takes one token)."""

    # ---- Turns

    catch_up_s: float = 0.02
    catch_up_calls: float = 0.4
    catch_up_most_s: float = 0.08
    """How late a turn may be taken without losing its place: some ten ticks of an event loop's timers (grid, lumps), or
    so many intervals, up to a bound: twice as late as it is for a beat, see :mod:`provisioner.pacing.beats`."""
    tight_burst: float = 1.7
    """A bucket that was seen to hold less than this is taken for one of a single token: measured are 1.0 to 1.4 then,
    and 1.75 or more with two. Beats of 40 ms would cost it a tenth of its limit."""
    advice_limit_s: float = 5.0
    """Longest wait that the server may ask for. A longer one is a mistake or an outage, and a probe ends both
    sooner."""
    floor: float = 0.2
    """Slowest pace, so that a probe goes out every five seconds however deep a measurement fell."""
    memory_s: float = 7 * 86400.0
    """Age at which a remembered limit is dropped. A quota that was raised or lowered takes effect within days."""

    # ---- Storms: throttled again right after a pause

    pause_limit_s: float = 4.0
    """Longest pause after a barren probe: how late the end of a storm may be noticed. Grid, storm cells."""
    probe_trips: float = 3.0
    """After a barren probe one call goes alone, for this many round trips or until its reply: a lognormal reply with
    sigma 0.3 is later than that once in 10,000."""

    # ---- Round-trip estimate

    trip_gain: float = 0.05
    """Gain of the smoothed round trip and of its mean deviation. TCP's (RFC 6298) are 1/8 and 1/4; ours follow some
    twenty calls, as one sample of a lognormal is worth little."""

    # ---- Climb

    gentle_accepts: int = 30
    """Accepts of a cold start up to which the pace only doubles: the common limit of 5/s is met within them."""
    step_s: float = 0.25
    """Least time between two doublings while gentle; afterwards a round trip is enough. Goals, small job."""
    flight: float = 24.0
    """Calls in flight above which an overshoot is expensive: from here on the pace doubles every doubling_s. Grid, R
    1,000."""
    doubling_s: float = 0.8
    doubling_most_s: float = 4.5
    caution: float = 1.5
    """The time of a doubling grows with (calls in flight / flight) to this power, up to doubling_most_s. Grid,
    R 1,000."""
    longest_burst_s: float = 10.0
    """The largest bucket that is reckoned with, in seconds of its own limit. EC2 publishes buckets of 100 tokens at 20
    a second."""
    highest_limit: float = 200.0
    """A limit that is surely higher is searched without an allowance: published limits are mostly small."""
    allowance: float = 2.5
    """Throttled calls that a first climb may cost; jitter makes it up to half as many more. Table "first minute": with
    3, three times as many jobs cost more than eight calls in all; with 2, 500 definitions at 60/s take two seconds
    longer."""
    many: int = 1000
    allowance_share: float = 0.0015
    allowance_most: float = 100.0
    """For each call beyond many that is still to come the allowance grows by this share. Goals, 20,000 calls: at R
    200 an allowance of 8 uses 91 %, 14 uses 97.8 %, 20 uses 98.5 %."""
    used: float = 0.5
    """Share of a step's turns that have to be taken before the next step is faster: an unused pace proves nothing."""
    sample_flight: int = 6
    """Calls in flight at the end of a surge that are enough to measure R by how many of them are accepted."""

    # ---- Search: the limit is guessed

    shortest_burst_s: float = 0.25
    least_guess: float = 0.4
    """A guess reckons with buckets from so many seconds of their limit to longest_burst_s, and is no lower than this
    share of the initial rate: the first calls say little. Table "first minute", R 2."""
    initial_weight: float = 4.0
    initial_band: float = 0.17
    """Limits so near the initial rate, as a logarithm, weigh so much more: published limits are round. Goals, common
    and small job."""
    flight_variance: float = 0.4
    flight_jitter: float = 2.0
    """Variance of the number of calls in flight that an empty bucket accepts: a constant, and a factor of the number
    that jitter moves past the first throttled one."""
    search_spare: float = 6.0
    search_pause_s: float = 0.7
    """Tokens that the pause before a search saves, in no more than this time: a bucket of one second does not overflow
    if the guess is not much too low."""
    search_step: float = 0.1
    """First step of a search; the steps grow as a surge's do. Table "first minute": with 0.2, twice as many jobs cost
    more than eight calls."""
    search_share: float = 0.3
    """Share of a climb's allowance that the end of a search may cost, in throttled calls."""

    # ---- Estimate

    horizon_s: float = 0.5
    """A span this short is never held against older ones: limiters that refill in lumps look empty that long."""
    few: int = 4
    """Accepts below which a short span may only lower the limit to soft of what it was: one call more or less would
    be a quarter."""
    soft: float = 0.7
    weak: int = 3
    """On so few accepts the limit is a guess, and the cut is bounded by the largest bucket that is reckoned with. Table
    "first minute", bursts of 10 s."""
    newly_risen: int = 16
    """Accepts that a measurement after a rise counts for at most: the bucket may have overflowed before it."""
    early: float = 0.3
    """An epoch before this share of its due is early: somebody else uses the bucket too. Grid, 2 to 4 copies."""
    concession: float = 0.02
    """Extra cut at an early epoch that rests on more than concession_accepts, so that shares even out: whoever is
    faster meets more epochs (Chiu and Jain, 1989). Goals, 4 copies."""
    concession_accepts: int = 50
    overdrawn: float = 2.0
    overdrawn_bursts: float = 1.5
    """A surge that was accepted this much beyond the model, tokens and bursts, was no full bucket that ran dry: the
    limit itself is higher; from the second surge in a row on, the burst is not counted, since it was fitted to a limit
    that was too low. Goals, limit triples; grid, B 1 and B R/2 without jitter."""
    guess_cap: float = 1.3
    """The same after a search, whose model is a guess: within this factor of what was measured. Grid, B R/2."""
    firm: int = 50
    """Accepts from which on a measurement is firm: R is known to 2 %."""
    change: float = 0.2
    unrest: float = 4.0
    calm: float = 0.8
    """A firm limit that is off by more than change at an epoch divides the longest due by 1 + unrest: what changed may
    change again. Each epoch without a change multiplies that by calm. Grid, neighbour."""

    # ---- Hold

    tokens_to_spare: float = 0.7
    jitter_spare: float = 2.0
    """Tokens that the pause after an epoch saves: a constant, and so many standard deviations of the number of
    arrivals that jitter displaces (Poisson: the square root of rate x deviation). Goals, common job."""
    burst_share: float = 0.5
    """Never save more than this share of what the bucket is known to hold: the rest is room for jitter the other
    way."""
    growth: float = 3.5
    """A measurement is due after this many times the accepts that the last one rests on. With 2.5, a job costs one call
    more; with 5, a wrong measurement is kept too long. Goals, common and small job."""
    shortest_due: float = 6.0
    longest_due: float = 500.0
    longest_due_at: float = 20.0
    """Accepts between measurements in the end, at a limit of longest_due_at; grows with the square root of the limit,
    so that of two pacers on one bucket the faster has more epochs. About 1 / due is throttled. Goals, long runs."""
    end_due: float = 1.2
    """Near the end of a job: the tokens are spent within so many times the calls that are left. Goals, small job."""
    warm_due: float = 4.0
    warm_due_least: float = 20.0
    """A warm start spends the tokens that it expects within so many accepts for each of them. Goals, warm."""

    # ---- Surge: the limit rose

    surge_slack: float = 1.5
    surge_jitter: float = 2.0
    """Tokens beyond the model's that have to be accepted before the limit is taken to have risen: a constant, and
    standard deviations as above. Grid, limit x2 and neighbour."""
    surge_least: float = 0.05
    surge_most: float = 0.4
    surge_growth: float = 1.3
    """First step of a surge, larger the fewer accepts the limit rests on, and by how much the steps grow. Goals,
    limit triples."""
    surge_cap: float = 1.45
    """A surge from a firm measurement stays under this factor until it has emptied what the bucket may hold."""
    crowded_least: float = 0.01
    crowded_cap: float = 1.1
    crowded_spare: float = 0.5
    """The same while others use the bucket: what they leave for a moment is not ours to take, and what we save they
    may take, so save less. Goals, 4 copies."""

    # ---- Limiters that count by the second

    window_memory: int = 8
    window_gap_s: float = 0.4
    window_jitter_s: float = 0.02
    window_chance: float = 1.0e-3
    """Such a limiter is believed when the last window_memory gaps between a throttled and an accepted start, none
    longer than window_gap_s, have a phase in common, and would by chance with window_chance only."""
    window_evidence: int = 400
    """Accepts that the count of one whole second is worth. Grid, lumps and window."""

    def catch_up(self, rate: float) -> float:
        """How late a turn may be taken at ``rate`` without losing its place, seconds."""
        return max(self.catch_up_s, min(self.catch_up_most_s, self.catch_up_calls / rate))


TUNING = Tuning()
