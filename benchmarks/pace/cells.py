"""One cell of the bench: a limiter, a network, an event and a number of calls; and how a client does in it."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable

import msgspec

from benchmarks.pace.clients import Aimd, BotocoreAdaptive, Fixed, GoogleSre, Reference
from benchmarks.pace.limiter import Bucket, Concurrency, Limiter, Lumps, Schedule, Shards, SlidingLog
from benchmarks.pace.simulator import PATIENCE, Client, Network, Run, Simulator
from provisioner.config.settings import PaceSettings
from provisioner.pacing.pacer import PaceBounds, Pacer

Steps = tuple[tuple[float, float], ...]
WALL = 1.8e9
"""Some wall-clock time."""


class Cell(msgspec.Struct, frozen=True):
    """What a client is up against. Times are seconds.

    Attributes:
        rate: R, calls a second that the server accepts in the long run.
        burst: B, tokens of a full bucket.
        calls: how many have to be accepted, by each client.
        round_trip, jitter: the network.
        kind: continuous, lumps, window, log, shards or concurrency.
        steps: (second, factor): what happens to the limit.
        slow: (from, until, factor): what happens to the latency.
        errors: share of accepted calls that end as 5xx.
        copies: clients of the same kind that share the limiter.
        warm: the client remembers the limit from a run before.
        idle_s: how long before that run ended; the bucket has been filling since.
    """

    rate: float
    burst: float
    calls: int
    round_trip: float = 0.1
    jitter: float = 0.3
    kind: str = "continuous"
    steps: Steps = ()
    slow: tuple[float, float, float] = (0.0, 0.0, 1.0)
    errors: float = 0.0
    copies: int = 1
    warm: bool = False
    idle_s: float = 3600.0

    @property
    def ideal_s(self) -> float:
        """Seconds that all calls take when no token is lost."""
        return Schedule(self.rate, self.steps).ideal_s(max(1.0, self.calls * self.copies - self.credit))

    @property
    def credit(self) -> float:
        """Calls that the server takes at once at the start, above its rate."""
        if self.kind in {"continuous", "shards"}:
            return min(self.burst, self.idle_s * self.rate) if self.warm else self.burst
        return {"lumps": self.burst - self.rate / 2.0, "window": self.rate / 2.0, "log": self.rate}.get(self.kind, 0.0)


class Figures(msgspec.Struct):
    """How a client did in a cell.

    Attributes:
        efficiency: ideal time / real time.
        throttled: share of the calls that reached the server.
        calls_throttled: the same as a count.
        spread: largest / smallest number of accepted calls of the copies.
        run: the first client's run.
    """

    efficiency: float
    throttled: float
    calls_throttled: int
    spread: float
    run: Run


DEFAULTS = PaceSettings()
BOUNDS = PaceBounds(initial_rate=DEFAULTS.initial_rate, max_rate=DEFAULTS.max_rate, share=DEFAULTS.share)
"""What a user gets who sets nothing."""

Maker = Callable[[Cell, random.Random], Client]


def ours(cell: Cell, rng: random.Random) -> Client:
    """The product's pacer, which knows the length of its job; cold, or with what a cold run of the cell has left."""
    if not cell.warm:
        pacer = Pacer(BOUNDS, 0.0)
        pacer.expect(cell.calls)
        return pacer
    first = Pacer(BOUNDS, 0.0)
    measure(msgspec.structs.replace(cell, warm=False), lambda _cell, _rng: first, rng.getrandbits(32))
    return Pacer(BOUNDS, 0.0, first.learned(WALL - cell.idle_s), WALL)


CLIENTS: dict[str, Maker] = {
    "ours": ours,
    "reference": lambda cell, _: Reference(5.0, remembered=cell.rate if cell.warm else 0.0),
    "botocore adaptive": lambda _cell, _rng: BotocoreAdaptive(),
    "AIMD x0.9": lambda _cell, _rng: Aimd(5.0, 0.9),
    "AIMD x0.5": lambda _cell, _rng: Aimd(5.0, 0.5),
    "Google SRE K=2": lambda _, rng: GoogleSre(rng),
    "fixed 5/s": lambda _cell, _rng: Fixed(5.0),
    "fixed 0.96 R (known)": lambda cell, _: Fixed(0.96 * cell.rate),
}


def limiter(cell: Cell, rng: random.Random) -> Limiter:
    """The server of the cell."""
    schedule = Schedule(cell.rate, cell.steps)
    if cell.kind == "lumps":
        return Lumps(schedule, max(cell.burst, cell.rate), rng.random())
    if cell.kind == "window":
        return Lumps(schedule, cell.rate, rng.random())
    if cell.kind == "log":
        return SlidingLog(schedule)
    if cell.kind == "shards":
        return Shards(schedule, cell.burst, rng)
    if cell.kind == "concurrency":
        return Concurrency(max(1, round(cell.rate * cell.round_trip / 2.0)))
    return Bucket(schedule, cell.burst, cell.credit)


def measure(cell: Cell, make: Maker, seed: int, *, trace: bool = False) -> Figures:
    """Run one client (or its copies) through the cell."""
    rng = random.Random(seed)  # noqa: S311 - a simulation
    network = Network(cell.round_trip, cell.jitter, cell.slow, cell.errors)
    many = cell.copies > 1
    simulator = Simulator(limiter(cell, rng), network, rng, trace=trace, stop_at_first=many)
    clients = [make(cell, rng) for _ in range(cell.copies)]
    runs = simulator.run(clients, cell.calls, PATIENCE * cell.ideal_s)
    done = sum(run.done for run in runs)
    calls = sum(run.calls for run in runs)
    thrown = sum(run.throttled for run in runs)
    real = max(run.finished_at for run in runs) or PATIENCE * cell.ideal_s
    ideal = Schedule(cell.rate, cell.steps).ideal_s(max(1.0, done - cell.credit))
    spread = max(run.done for run in runs) / max(1, min(run.done for run in runs))
    return Figures(ideal / real, thrown / max(1, calls), thrown, spread, runs[0])


def recovery_s(cell: Cell, run: Run, step_at: float) -> float:
    """Seconds from a step of the limit until a window begins that uses nine tenths of it and few are throttled."""
    rate = Schedule(cell.rate, cell.steps).at(step_at)
    window = max(2.0, 20.0 / rate)
    begin = step_at
    while begin + window < run.finished_at:
        accepted = _within(run.accepted_at, begin, window)
        throttled = _within(run.throttled_at, begin, window)
        if accepted >= 0.9 * rate * window and throttled <= 0.1 * (accepted + throttled):
            return begin - step_at
        begin += window / 8.0
    return float("inf")


def _within(times: list[float], begin: float, window: float) -> int:
    return bisect_left(times, begin + window) - bisect_left(times, begin)
