"""What a job costs that starts without knowing the limit: throttled calls, and the seconds that caution takes."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import msgspec

from benchmarks.pace.cells import Cell, Maker, measure, ours

if TYPE_CHECKING:
    import random
    from concurrent.futures import Executor

    from benchmarks.pace.simulator import Client

BOUND = 8
"""Throttled calls that a first climb may cost at any limit, burst and round trip of the table. The whole job is to cost
no more either; a few cost one to four more."""
RATES = (2, 5, 7, 10, 20, 60, 100, 200)
BURSTS_S = (1, 3, 10)
TRIPS = (0.02, 0.1, 0.2)
JOBS = (500, 1000)
"""Definitions: 1,000 is the default quota of an account and Region."""

SEEDS = 5


class Climbing:
    """A client, and how many 429s its first climb cost: those of calls that had started before the first reply."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._first_at = float("inf")
        self.throttled_calls = 0
        self.peek = client.peek
        self.start = client.start
        self.accepted = client.accepted
        self.dropped = client.dropped

    @property
    def rate(self) -> float:
        """The client's pace."""
        return self._client.rate

    def throttled(self, started_at: float, now: float, advice_s: float | None = None) -> None:
        """Count the call if it belongs to the climb."""
        self._first_at = min(self._first_at, now)
        self.throttled_calls += started_at <= self._first_at
        self._client.throttled(started_at, now, advice_s)


class Cost(msgspec.Struct, frozen=True):
    """What the runs of one cell cost, one figure for each seed.

    Attributes:
        climb: throttled calls of the first climb.
        job: throttled calls of the whole job.
        slower_s: seconds beyond the ideal time of a client that knows the limit.
    """

    climb: tuple[int, ...]
    job: tuple[int, ...]
    slower_s: tuple[float, ...]

    def text(self) -> str:
        """The worst: climb, job and seconds."""
        return f"{max(self.climb):>3} {max(self.job):>3} {max(self.slower_s):>5.1f}"


def cost(cell: Cell, seeds: int, make: Maker = ours) -> Cost:
    """One cell."""
    costs = []
    for seed in range(seeds):
        clients: list[Climbing] = []

        def climbing(cell: Cell, rng: random.Random, clients: list[Climbing] = clients) -> Client:
            clients.append(Climbing(make(cell, rng)))
            return clients[0]

        figures = measure(cell, climbing, seed)
        costs.append((clients[0].throttled_calls, figures.calls_throttled, figures.run.finished_at - cell.ideal_s))
    climbs, jobs, slower = zip(*costs, strict=True)
    return Cost(climbs, jobs, slower)


def cell_of(rate: float, burst_s: float, trip: float, calls: int) -> Cell:
    """A cell of the table."""
    return Cell(rate, max(1.0, burst_s * rate), calls, trip)


def first_minute(pool: Executor, *, quick: bool) -> None:
    """Print limit x burst x round trip, and whether the bound is met in every cell."""
    seeds = 1 if quick else SEEDS
    columns = list(product(TRIPS, BURSTS_S))
    for calls in JOBS:
        print(
            f"\nA cold start, {calls} definitions: throttled calls of the first climb, of the whole job, and seconds "
            f"beyond the ideal; the worst of {seeds}\n"
        )
        heads = (f"{1000 * trip:.0f} ms, B {burst_s} s" for trip, burst_s in columns)
        print(" " * 8 + "".join(f"{head:>16}" for head in heads))
        futures = {
            (rate, trip, burst_s): pool.submit(cost, cell_of(rate, burst_s, trip, calls), seeds)
            for rate in RATES
            for trip, burst_s in columns
        }
        for rate in RATES:
            costs = (futures[rate, trip, burst_s].result() for trip, burst_s in columns)
            print(f"R {rate:<6}" + "".join(f"{one.text():>16}" for one in costs), flush=True)
        found = [future.result() for future in futures.values()]
        summary("climb", [count for one in found for count in one.climb])
        summary("job", [count for one in found for count in one.job])


def summary(name: str, counts: list[int]) -> None:
    """Print the distribution of throttled calls over all cells and seeds, and how many keep the bound."""
    counts.sort()
    beyond = sum(count > BOUND for count in counts)
    print(
        f"throttled calls of a {name}: median {counts[len(counts) // 2]}, 95 % at most "
        f"{counts[int(0.95 * (len(counts) - 1))]}, most {counts[-1]}; more than {BOUND} in {beyond} of {len(counts)}: "
        f"{'NEAREST' if beyond else 'met'}"
    )
