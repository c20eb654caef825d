"""The pacer's arithmetic: cases worked out by hand, invariants for any schedule, and the goals of common jobs."""

from __future__ import annotations

import itertools
import random
from collections import deque

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.pace.cells import CLIENTS, Cell, measure
from benchmarks.pace.first_minute import BOUND, cell_of, cost
from provisioner.pacing.guess import Flight, likely
from provisioner.pacing.observed import Learned
from provisioner.pacing.pacer import PaceBounds, Pacer
from provisioner.pacing.tuning import TUNING

WALL = 1_800_000_000.0


def paced(initial_rate: float = 5.0, max_rate: float = 0.0, share: float = 1.0) -> PaceBounds:
    """What the user sets: by default 5/s to begin with and no bound."""
    return PaceBounds(initial_rate=initial_rate, max_rate=max_rate, share=share)


def call(pacer: Pacer, *, throttled: bool = False, latency: float = 0.1) -> float:
    """Make the next call as early as it may start, alone in flight; returns its start time."""
    started_at = max(pacer.peek(0.0), 0.0)
    pacer.start(started_at)
    if throttled:
        pacer.throttled(started_at, started_at + latency)
    else:
        pacer.accepted(started_at, started_at + latency)
    return started_at


def known(rate: float = 10.0, **changes: float) -> Learned:
    """A record of ``rate`` on firm evidence, an hour old, of an empty bucket whose size is not known."""
    return msgspec.structs.replace(Learned(rate, WALL - 3600.0, 500, last_start=WALL - 3600.0), **changes)


def warm(learned: Learned, bounds: PaceBounds | None = None) -> Pacer:
    """A pacer that starts at second 0 with that record."""
    return Pacer(bounds or paced(), 0.0, learned, WALL)


# ---- Turns


def test_the_first_turn_is_due_at_once_and_the_second_an_interval_later() -> None:
    """A cold pacer starts at the initial rate exactly."""
    pacer = Pacer(paced(initial_rate=4.0), 100.0)

    assert pacer.peek(100.0) == 100.0
    pacer.start(100.0)
    assert pacer.peek(100.0) == 100.25


@pytest.mark.parametrize(("rate", "catch_up_s"), [(1.0, 0.08), (5.0, 0.08), (10.0, 0.04), (20.0, 0.02), (1000.0, 0.02)])
def test_a_turn_taken_a_little_late_keeps_its_place(rate: float, catch_up_s: float) -> None:
    """A late timer is caught up with, so that the pace does not drift; at a slow pace it may be later."""
    pacer = Pacer(paced(initial_rate=rate), 0.0)
    pacer.start(0.0)

    pacer.start(1.0 / rate + 0.9 * catch_up_s)
    kept = pacer.peek(0.0)
    pacer.start(kept + 1.1 * catch_up_s)

    assert kept == pytest.approx(2.0 / rate)
    assert pacer.peek(0.0) == pytest.approx(3.0 / rate + 0.1 * catch_up_s)


def test_unused_turns_are_not_made_up_for() -> None:
    """After a long silence at most the catch-up is due, not what could have been sent."""
    pacer = Pacer(paced(initial_rate=10.0), 0.0)
    pacer.start(0.0)

    pacer.start(60.0)

    assert pacer.peek(60.0) == pytest.approx(60.1 - TUNING.catch_up(10.0))


def test_a_cancelled_turn_is_given_back() -> None:
    """A call that did not start leaves its turn to the next."""
    pacer = Pacer(paced(initial_rate=10.0), 0.0)
    pacer.start(0.0)
    pacer.start(0.1)

    pacer.cancelled(0.1)

    assert pacer.peek(0.1) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (paced(initial_rate=5.0), 5.0),
        (paced(initial_rate=5.0, max_rate=2.0), 2.0),
        (paced(initial_rate=5.0, max_rate=8.0), 5.0),
    ],
)
def test_a_cold_pacer_begins_at_the_initial_rate(bounds: PaceBounds, expected: float) -> None:
    """The pace begins at the initial rate, or at the user's bound if that is lower."""
    assert Pacer(bounds, 0.0).rate == expected


# ---- Epochs


def test_the_limit_is_accepted_over_elapsed_between_two_429s() -> None:
    """Twenty accepts between two 429s, over the time between them, are the limit, whatever the pace was."""
    pacer = warm(known(rate=10.0))
    first = [call(pacer), call(pacer, throttled=True)][1]
    for _ in range(20):
        call(pacer)

    last = call(pacer, throttled=True)

    assert pacer.statistics()["limit"] == pytest.approx(20.0 / (last - first), rel=1e-4)
    assert pacer.statistics()["evidence"] == 20


def test_an_epoch_is_cut_once() -> None:
    """Further 429s of calls that had started before the pacer reacted change nothing."""
    pacer = warm(known(rate=100.0))
    starts = []
    for _ in range(10):
        starts.append(max(0.0, pacer.peek(0.0)))
        pacer.start(starts[-1])
    pacer.accepted(starts[0], starts[0] + 0.2)
    pacer.throttled(starts[1], 0.3)
    after_the_first = pacer.rate, pacer.peek(0.3)

    for started_at in starts[2:]:
        pacer.throttled(started_at, 0.31)

    assert (pacer.rate, pacer.peek(0.3)) == after_the_first
    assert pacer.statistics()["epochs"] == 1


def test_barren_calls_double_the_pause_and_keep_the_measurement() -> None:
    """In a storm of 429s probes become rarer, one every few seconds in the end, and the estimate stays."""
    pacer = warm(known(rate=50.0))
    call(pacer)

    starts = [call(pacer, throttled=True) for _ in range(16)]

    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(gaps))
    assert gaps[-1] == pytest.approx(TUNING.pause_limit_s, abs=0.3)
    assert pacer.statistics()["limit"] == pytest.approx(50.0, rel=0.4)


def test_after_a_barren_call_one_goes_alone() -> None:
    """After a barren call one probe goes alone until its reply; an accepted probe restores the pace at once."""
    pacer = warm(known(rate=50.0))
    call(pacer)
    for _ in range(3):
        call(pacer, throttled=True)
    alone = pacer.peek(0.0)
    pacer.start(alone)

    held_until = pacer.peek(alone)
    pacer.accepted(alone, alone + 0.1)

    assert held_until >= alone + 0.2
    assert pacer.peek(alone + 0.1) <= alone + 0.1


@pytest.mark.parametrize(
    ("advice_s", "earliest"),
    [(2.0, 2.1), (3600.0, 0.1 + TUNING.advice_limit_s), (0.0, 0.1), (-7.0, 0.1), (None, 0.1)],
)
def test_advice_freezes_the_pacer_within_bounds(advice_s: float | None, earliest: float) -> None:
    """The server's advice is followed up to five seconds, and never shortens the pacer's own pause."""
    pacer = Pacer(paced(), 0.0)
    pacer.start(0.0)

    pacer.throttled(0.0, 0.1, advice_s)

    assert pacer.peek(0.1) >= earliest
    if advice_s and advice_s > 0:
        assert pacer.peek(0.1) == pytest.approx(earliest)


def test_a_dropped_call_says_nothing_about_the_limit() -> None:
    """A 5xx or a time-out changes neither pace nor turn."""
    pacer = warm(known())
    call(pacer)
    before = pacer.rate, pacer.peek(0.5)
    started_at = pacer.peek(0.5)
    pacer.start(started_at)

    pacer.dropped(started_at, started_at + 5.0)

    assert pacer.rate == before[0]
    assert pacer.peek(1.0) == pytest.approx(before[1] + 1.0 / before[0])


def test_a_pace_that_is_not_used_does_not_grow() -> None:
    """A caller that sends once a second, although more is allowed, proves nothing about the limit."""
    pacer = Pacer(paced(initial_rate=5.0), 0.0)

    for second in range(200):
        pacer.start(float(second))
        pacer.accepted(float(second), second + 0.1)

    assert pacer.rate == 5.0


def test_without_a_limit_the_pace_stays_near_what_is_used() -> None:
    """A client that can make 100 calls a second, and is never throttled, ends with a bounded pace and memory."""
    pacer = Pacer(paced(), 0.0)
    last = 0.0
    for _ in range(60_000):
        at = max(last + 0.01, pacer.peek(last))
        pacer.start(at)
        pacer.accepted(at, at + 0.009)
        last = at

    assert 100.0 < pacer.rate < 2000.0
    assert len(pacer._estimate._climbed) < 100


def test_a_limit_that_rose_is_followed() -> None:
    """When far more is accepted than the estimate allows, the pace climbs."""
    pacer = warm(known(rate=10.0))

    for _ in range(1500):
        call(pacer)

    assert pacer.rate > 30.0


# ---- The first climb


@pytest.mark.parametrize("trip", [0.02, 0.1, 0.2])
@pytest.mark.parametrize(
    ("rate", "burst_s"), [(2, 10), (7, 1), (10, 3), (20, 10), (60, 1), (60, 10), (100, 3), (200, 1)]
)
def test_a_first_run_costs_few_throttled_calls(rate: float, burst_s: float, trip: float) -> None:
    """Whatever the limit, the burst and the round trip, a job of 1,000 calls has 8 of them throttled, rarely one more.

    The first climb alone costs 5.
    """
    figures = cost(cell_of(rate, burst_s, trip, calls=1000), seeds=2)

    assert max(figures.climb) <= BOUND - 3
    assert max(figures.job) <= BOUND + 1


@pytest.mark.torture
@pytest.mark.parametrize("trip", [0.02, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("burst_s", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("rate", [2, 3, 5, 7, 10, 15, 20, 40, 60, 100, 150, 200])
def test_every_first_run_costs_few_throttled_calls(rate: float, burst_s: float, trip: float) -> None:
    """The same at every limit, burst and round trip, for jobs of 230, 500 and 1,000 calls: never twice as many."""
    costs = [cost(cell_of(rate, burst_s, trip, calls), seeds=10) for calls in (230, 500, 1000)]

    assert max(max(one.climb) for one in costs) <= BOUND
    assert max(max(one.job) for one in costs) < 2 * BOUND


@pytest.mark.parametrize(
    ("accepted", "low", "high"),
    [(0, 2.0, 4.5), (2, 4.0, 12.0), (8, 20.0, 40.0)],
)
def test_the_calls_in_flight_give_the_first_guess(accepted: int, low: float, high: float) -> None:
    """How many of ten calls in a quarter of a second were accepted decides between limits of 2/s to 40/s."""
    flight = Flight(sent=10, accepted=accepted, span=0.25, displaced=0.0)

    assert low < likely(TUNING, [2.0, 5.0, 10.0, 20.0, 40.0], flight, initial_rate=1.0) < high


def test_a_guess_near_the_initial_rate_is_drawn_to_it() -> None:
    """Where the calls in flight leave several limits open, the initial rate is likelier: it may be published."""
    flight = Flight(sent=0, accepted=0, span=0.0, displaced=0.0)

    assert likely(TUNING, [2.0, 5.0, 12.5], flight, initial_rate=5.0) == pytest.approx(5.0)
    assert likely(TUNING, [2.0, 5.0, 20.0], flight, initial_rate=20.0) > 10.0


def test_a_first_429_stops_the_calls_until_those_in_flight_have_ended() -> None:
    """The bucket is empty: nothing more is sent before the calls under way have said how many tokens come in."""
    pacer = Pacer(paced(initial_rate=50.0), 0.0)
    starts = [0.02 * turn for turn in range(10)]
    for started_at in starts:
        pacer.start(started_at)
    for started_at in starts[:4]:
        pacer.accepted(started_at, started_at + 0.2)

    pacer.throttled(starts[4], starts[4] + 0.2)
    waiting = pacer.peek(0.3)
    for started_at in starts[5:]:
        pacer.throttled(started_at, started_at + 0.2)

    assert waiting > starts[-1] + 0.2
    assert pacer.statistics()["phase"] == "climb"
    assert pacer.rate < 50.0
    assert pacer.peek(0.4) < waiting + 1.0


def test_advice_outlasts_the_calls_in_flight() -> None:
    """The server's advice is followed although the pacer would go on as soon as the calls in flight have ended."""
    pacer = Pacer(paced(initial_rate=50.0), 0.0)
    for started_at in (0.0, 0.02, 0.04):
        pacer.start(started_at)
    pacer.accepted(0.0, 0.1)

    pacer.throttled(0.02, 0.12, advice_s=3.0)
    pacer.throttled(0.04, 0.14)

    assert pacer.peek(0.2) >= 3.12


def pace_after(calls: int, expected: int) -> float:
    """The pace of a cold pacer after so many accepted calls, when ``expected`` are to come in all."""
    pacer, due, now = Pacer(paced(), 0.0), deque[float](), 0.0
    pacer.expect(expected)
    for _ in range(calls):
        while due and due[0] + 0.1 <= max(now, pacer.peek(now)):
            now = due[0] + 0.1
            pacer.accepted(due.popleft(), now)
        now = max(now, pacer.peek(now))
        pacer.start(now)
        due.append(now)
    return pacer.rate


def test_a_long_job_climbs_faster() -> None:
    """A job of many thousands accepts some more throttled calls, since a slow climb would cost it more."""
    assert pace_after(calls=400, expected=20_000) > 2.0 * pace_after(calls=400, expected=1000)


def test_a_job_of_unknown_length_is_taken_for_a_short_one_at_first() -> None:
    """While its length is not known, the pace of a job is that of a short one."""
    assert pace_after(calls=400, expected=0) == pace_after(calls=400, expected=1000)


def test_a_climb_never_goes_below_the_initial_rate() -> None:
    """The user's initial rate is the pace from the first call on, however cautious the climb is."""
    pacer = Pacer(paced(initial_rate=150.0), 0.0)

    for _ in range(300):
        call(pacer, latency=0.5)

    assert pacer.rate >= 150.0


# ---- What the user bounds


def test_share_leaves_the_rest_to_others() -> None:
    """With share 0.5 the pace is half of the learned limit, however many calls are accepted."""
    pacer = warm(known(rate=40.0), paced(share=0.5))

    for _ in range(500):
        call(pacer)

    assert pacer.rate == pytest.approx(20.0)


def test_share_follows_the_limit_that_the_run_itself_learned() -> None:
    """A cold run finds the limit first, and then keeps to its share of it."""
    cell = Cell(rate=20.0, burst=20.0, calls=2000)

    figures = measure(cell, lambda _cell, _rng: Pacer(paced(share=0.5), 0.0), seed=1, trace=True)

    late = [rate for second, rate in figures.run.paces if second > figures.run.finished_at / 2]
    assert max(late) <= 10.5
    assert min(late) >= 8.5


@pytest.mark.parametrize("bounds", [paced(share=0.3), paced(max_rate=3.0)], ids=["share", "max_rate"])
def test_a_pace_below_the_limit_does_not_measure_it(bounds: PaceBounds) -> None:
    """A 429 after a long time at three tenths says that others are there, not that the limit is three tenths."""
    pacer = warm(known(rate=10.0), bounds)
    call(pacer, throttled=True)
    for _ in range(200):
        call(pacer)

    call(pacer, throttled=True)
    record = pacer.learned(WALL)

    assert record is not None
    assert record.rate == pytest.approx(10.0)
    assert pacer.rate == pytest.approx(3.0)


def test_a_limit_that_fell_below_the_share_is_measured() -> None:
    """429s in quick succession leave the bucket no time to overflow: then what is accepted is the limit."""
    cell = Cell(rate=20.0, burst=20.0, calls=1500, warm=True, steps=((30.0, 0.2),))
    pacer = warm(known(rate=20.0), paced(share=0.5))

    measure(cell, lambda _cell, _rng: pacer, seed=1)

    assert pacer.statistics()["limit"] == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize("burst", [10.0, 100.0])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_the_whole_limit_is_used_again_after_a_time_at_a_share(share: float, burst: float) -> None:
    """The share of the evening begins with the limit of the morning: no climb, and hardly a throttled call."""

    class Hours(Pacer):
        """Ten minutes at a share."""

        def peek(self, now: float) -> float:
            self.use(share if now < 600.0 else 1.0, now)
            return super().peek(now)

    calls = int(600 * 10 * share) + 1000
    cell = Cell(rate=10.0, burst=burst, calls=calls, jitter=0.0)
    pacer = Hours(paced(share=share), 0.0, known(rate=10.0, burst=burst), WALL)

    figures = measure(cell, lambda _cell, _rng: pacer, seed=1)

    assert figures.calls_throttled <= 12
    assert figures.run.finished_at == pytest.approx(700.0, abs=12.0)
    assert pacer.statistics()["limit"] == pytest.approx(10.0, rel=0.05)


# ---- What the ledger keeps


def test_a_warm_start_begins_at_the_remembered_rate() -> None:
    """The limit in the ledger replaces the initial rate."""
    assert warm(known(rate=37.0)).rate == pytest.approx(37.0)


@pytest.mark.parametrize("age_s", [TUNING.memory_s + 1.0, 10 * TUNING.memory_s])
def test_an_old_limit_is_ignored(age_s: float) -> None:
    """A limit older than a week is ignored: the pace begins at the initial rate."""
    assert warm(known(rate=37.0, learned_at=WALL - age_s)).rate == 5.0


@pytest.mark.parametrize("ahead_s", [1.0, 86_400.0])
def test_a_wall_clock_that_went_back_does_not_lose_the_limit(ahead_s: float) -> None:
    """A record with a time in the future counts as fresh."""
    assert warm(known(rate=37.0, learned_at=WALL + ahead_s, last_start=WALL + ahead_s)).rate == pytest.approx(37.0)


def first_seconds(learned: Learned, seconds: float) -> int:
    """Calls that a warm pacer starts within ``seconds`` when all of them are accepted."""
    pacer = warm(learned)
    return next(count for count in range(10_000) if call(pacer) > seconds)


def test_a_run_right_after_another_does_not_assume_a_full_bucket() -> None:
    """Tokens that the last run has just spent are not expected; an hour later the bucket is full again."""
    full, empty = known(burst=50.0), known(burst=50.0, tokens=0.0, last_start=WALL)

    assert first_seconds(empty, 10.0) <= 102
    assert 110 <= first_seconds(full, 10.0) <= 150


def test_what_was_learned_survives_the_ledger() -> None:
    """The record survives JSON unchanged, and a pacer that has measured nothing leaves none."""
    pacer = Pacer(paced(), 0.0)
    for _ in range(12):
        call(pacer)

    nothing = pacer.learned(WALL)
    call(pacer, throttled=True)
    record = pacer.learned(WALL)

    assert nothing is None
    assert record is not None
    assert record.learned_at == WALL
    assert record.last_start == pytest.approx(WALL - 0.1)
    assert msgspec.json.decode(msgspec.json.encode(record), type=Learned) == record


@pytest.mark.parametrize(("idle_s", "tokens"), [(0.0, 0.0), (2.0, 20.0), (3600.0, 50.0)])
def test_the_record_keeps_what_is_left_in_the_bucket(idle_s: float, tokens: float) -> None:
    """The bucket fills between two runs, up to the burst; the record says how many tokens the last start left."""
    pacer = warm(known(rate=10.0, burst=50.0, tokens=0.0, last_start=WALL - idle_s))
    pacer.start(0.0)
    pacer.accepted(0.0, 0.1)

    record = pacer.learned(WALL + 0.1)

    assert record is not None
    assert record.tokens == pytest.approx(max(0.0, tokens - 1.0))
    assert record.last_start == pytest.approx(WALL)


def test_a_limiter_that_counts_by_the_second_is_found_by_its_phase() -> None:
    """More than nine tenths of a fixed window is used with about one percent throttled."""
    figures = measure(Cell(rate=100.0, burst=100.0, calls=15_000, kind="window"), CLIENTS["ours"], seed=1)

    assert figures.efficiency >= 0.92
    assert figures.throttled <= 0.02


def test_the_pacer_prints_its_state() -> None:
    """``repr`` shows phase, rate, limit and counts."""
    pacer = warm(known(rate=10.0))
    call(pacer)

    assert repr(pacer).startswith("Pacer(phase=hold, rate=10.")
    assert "accepted=1, throttled=0, epochs=0" in repr(pacer)


# ---- Invariants: any limiter, any latency, any order of replies

BOUNDS = st.builds(
    paced,
    initial_rate=st.floats(0.5, 50.0),
    max_rate=st.one_of(st.just(0.0), st.floats(0.5, 200.0)),
    share=st.sampled_from([1.0, 0.5]),
)


class Trial:
    """Drives a pacer with random replies and records its starts."""

    def __init__(self, bounds: PaceBounds, seed: int, refuse: float) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - a test's schedule
        self.pacer = Pacer(bounds, 0.0)
        self.refuse = refuse
        self.now = 0.0
        self.starts: list[float] = []
        self.due: list[tuple[float, float]] = []

    def step(self) -> None:
        """The next thing that happens: a reply, or a start."""
        turn = max(self.now, self.pacer.peek(self.now))
        if self.due and (len(self.due) >= 64 or min(self.due)[0] <= turn):
            self.reply()
            return
        self.now = turn + (self.rng.random() * 0.05 if self.rng.random() < 0.1 else 0.0)
        self.pacer.start(self.now)
        self.starts.append(self.now)
        self.due.append((self.now + self.rng.lognormvariate(-2.3, 0.7), self.now))

    def reply(self) -> None:
        """The earliest reply arrives."""
        done, started_at = min(self.due)
        self.due.remove((done, started_at))
        self.now = max(self.now, done)
        kind = self.rng.random()
        if kind < self.refuse:
            self.pacer.throttled(started_at, self.now, self.rng.choice([None, None, 0.5, 60.0]))
        elif kind < self.refuse + 0.05:
            self.pacer.dropped(started_at, self.now)
        else:
            self.pacer.accepted(started_at, self.now)


@settings(max_examples=60, deadline=None)
@given(bounds=BOUNDS, seed=st.integers(0, 2**32), refuse=st.sampled_from([0.0, 0.01, 0.3, 1.0]))
def test_never_more_starts_in_a_window_than_the_bound_allows(bounds: PaceBounds, seed: int, refuse: float) -> None:
    """With a bound of M a second, no window of w seconds has more than M (w + catch-up) + 1 starts."""
    trial = Trial(bounds, seed, refuse)
    for _ in range(400):
        trial.step()

    bound = bounds.max_rate
    if bound:
        for first, begin in enumerate(trial.starts):
            for last in range(first + 1, min(first + 40, len(trial.starts))):
                assert last - first <= bound * (trial.starts[last] - begin + TUNING.catch_up(bound)) + 1e-6


@settings(max_examples=60, deadline=None)
@given(bounds=BOUNDS, seed=st.integers(0, 2**32), refuse=st.sampled_from([0.0, 0.01, 0.3, 1.0]))
def test_the_rate_stays_within_its_bounds(bounds: PaceBounds, seed: int, refuse: float) -> None:
    """The pace stays between the floor and the user's bound; no turn is further away than the longest pause."""
    trial = Trial(bounds, seed, refuse)

    for _ in range(400):
        trial.step()
        rate = trial.pacer.rate
        assert min(TUNING.floor, bounds.initial_rate, bounds.max_rate or TUNING.floor) * bounds.share <= rate
        assert not bounds.max_rate or rate <= bounds.max_rate
        assert trial.pacer.peek(trial.now) - trial.now <= max(1.0 / rate, TUNING.advice_limit_s) + 1e-6


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), refuse=st.sampled_from([0.01, 0.3, 1.0]))
def test_each_reply_moves_the_pace_one_way(seed: int, refuse: float) -> None:
    """A 429 never raises the pace, a drop never changes it, and an accept never lowers it while holding or climbing."""
    trial = Trial(paced(), seed, refuse)
    pacer = trial.pacer

    for _ in range(400):
        before, statistics = pacer.rate, pacer.statistics()
        trial.step()
        after, now = pacer.rate, pacer.statistics()
        if statistics["phase"] == "measure" or now["phase"] == "measure":
            continue
        if now["throttled"] != statistics["throttled"]:
            assert after <= before + 1e-9
        elif now["accepted"] != statistics["accepted"]:
            assert after >= before - 1e-9


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), refuse=st.sampled_from([0.0, 0.3]))
def test_a_clock_that_stands_still_changes_nothing(seed: int, refuse: float) -> None:
    """Asking does not move the turn, and no second turn is due while time stands still."""
    trial = Trial(paced(), seed, refuse)
    for _ in range(100):
        trial.step()

    pacer, now = trial.pacer, max(trial.now, trial.pacer.peek(trial.now)) + 10.0
    pacer.start(now)
    turns = {pacer.peek(now) for _ in range(5)}

    assert len(turns) == 1
    assert turns.pop() >= now + min(1.0 / pacer.rate, 10.0) - TUNING.catch_up(pacer.rate) - 1e-9


# ---- Goals that the grid of benchmarks/pace shows in full


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("cell", "efficiency", "throttled"),
    [
        (Cell(rate=5.0, burst=5.0, calls=1000), 0.99, 0.008),
        (Cell(rate=5.0, burst=5.0, calls=1000, warm=True), 0.995, 0.003),
        (Cell(rate=5.0, burst=5.0, calls=200), 0.975, 0.035),
        (Cell(rate=50.0, burst=50.0, calls=20_000), 0.985, 0.005),
    ],
    ids=["cold", "warm", "small", "faster"],
)
def test_the_goals_of_the_common_jobs_are_met(cell: Cell, efficiency: float, throttled: float, seed: int) -> None:
    """A simulated limit is used almost fully with almost no throttled call."""
    figures = measure(cell, CLIENTS["ours"], seed)

    assert figures.efficiency >= efficiency
    assert figures.throttled <= throttled


@pytest.mark.parametrize(("rate", "burst", "efficiency"), [(50.0, 1.0, 0.8), (10.0, 5.0, 0.95)])
def test_a_first_limit_that_was_too_low_is_left_behind(rate: float, burst: float, efficiency: float) -> None:
    """A bucket smaller than a guess reckons with overflows before the first measurement; a second rise makes up."""
    cell = Cell(rate, burst, calls=int(100 * rate), round_trip=0.05, jitter=0.0)

    assert measure(cell, CLIENTS["ours"], seed=0).efficiency >= efficiency


def test_a_storm_that_does_not_end_is_survived() -> None:
    """After hours of nothing but 429s the next probe is still only seconds away."""
    pacer, now = Pacer(paced(initial_rate=5.0), 0.0), 0.0
    for _ in range(3000):
        now = max(now, pacer.peek(now))
        pacer.start(now)
        pacer.throttled(now, now + 0.1)
        now += 0.1

    assert pacer.peek(now) - now <= 1.0 / TUNING.floor
