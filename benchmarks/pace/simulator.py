"""Many clients against one limiter, in virtual time: deterministic, about 100,000 calls a second."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    import random

    from benchmarks.pace.limiter import Limiter

ARRIVAL, REPLY = 0, 1
PACE_EVERY_S = 0.25
PATIENCE = 20.0
"""A run that takes this many times its ideal time is stopped."""


class Client(Protocol):
    """A client that is paced: the interface of the pacer, which runs here unchanged."""

    @property
    def rate(self) -> float:
        """The pace, calls a second."""
        ...

    def peek(self, now: float) -> float:
        """When the next call may start."""
        ...

    def start(self, now: float) -> None:
        """A call starts."""
        ...

    def accepted(self, started_at: float, now: float) -> None:
        """A call was accepted."""
        ...

    def throttled(self, started_at: float, now: float, advice_s: float | None = None) -> None:
        """A call was throttled."""
        ...

    def dropped(self, started_at: float, now: float) -> None:
        """A call ended without a verdict of the limiter."""
        ...


class Network(msgspec.Struct, frozen=True):
    """How long calls travel.

    Attributes:
        round_trip: mean of both ways together, seconds.
        jitter: sigma of the logarithm of each way.
        slow: (from, until, factor) seconds during which it is slower.
        errors: share of accepted calls that end as 5xx.
    """

    round_trip: float = 0.1
    jitter: float = 0.3
    slow: tuple[float, float, float] = (0.0, 0.0, 1.0)
    errors: float = 0.0


class Run(msgspec.Struct):
    """What one client did.

    Attributes:
        todo: calls that are not accepted yet.
        in_flight: calls under way.
        calls: calls that reached the server.
        throttled: how many of those were throttled.
        done: how many of those were accepted.
        finished_at: second of the last accepted reply.
        accepted_at, throttled_at: arrival times, when a trace was asked for.
        paces: (second, rate) every PACE_EVERY_S, when a trace was asked for.
    """

    todo: int
    in_flight: int = 0
    calls: int = 0
    throttled: int = 0
    done: int = 0
    finished_at: float = 0.0
    accepted_at: list[float] = msgspec.field(default_factory=list)
    throttled_at: list[float] = msgspec.field(default_factory=list)
    paces: list[tuple[float, float]] = msgspec.field(default_factory=list)


class Simulator:
    """Runs clients until each has its calls accepted, or time is up.

    Args:
        limiter: the server.
        network: the way to it and back.
        rng: where latencies come from.
        cap: calls in flight for each client.
        trace: keep the times of all arrivals.
        stop_at_first: end when the first client is done, to compare those that are active.
    """

    def __init__(
        self,
        limiter: Limiter,
        network: Network,
        rng: random.Random,
        *,
        cap: int = 256,
        trace: bool = False,
        stop_at_first: bool = False,
    ) -> None:
        self._limiter = limiter
        self._network = network
        self._rng = rng
        self._cap = cap
        self._trace = trace
        self._stop_at_first = stop_at_first
        sigma = network.jitter
        self._ways = [0.5 * network.round_trip * rng.lognormvariate(-0.5 * sigma * sigma, sigma) for _ in range(4096)]

    def _way(self, now: float) -> float:
        way = self._ways[int(self._rng.random() * 4096.0)]
        begin, end, factor = self._network.slow
        return way * factor if begin <= now < end else way

    def run(self, clients: list[Client], calls: int, until: float) -> list[Run]:
        """Each of ``clients`` has ``calls`` to get accepted before second ``until``."""
        runs = [Run(calls) for _ in clients]
        heap: list[tuple[float, int, int, int, float, bool]] = []
        now, number = 0.0, 0
        order = list(range(len(clients)))
        while now < until:
            turn, who = until, -1
            for index in order:
                run = runs[index]
                if run.todo and run.in_flight < self._cap:
                    due = clients[index].peek(now)
                    if due < turn:
                        turn, who = due, index
            if who >= 0 and (not heap or turn <= heap[0][0]):
                now = max(now, turn)
                clients[who].start(now)
                runs[who].todo -= 1
                runs[who].in_flight += 1
                number += 1
                heappush(heap, (now + self._way(now), number, ARRIVAL, who, now, False))
                continue
            if not heap:
                break
            now, tie, kind, who, started_at, accepted = heappop(heap)
            if kind == ARRIVAL:
                accepted = self._limiter.admit(now)
                self._arrived(runs[who], now, accepted=accepted)
                heappush(heap, (now + self._way(now), tie, REPLY, who, started_at, accepted))
                continue
            self._reply(clients[who], runs[who], (started_at, now), accepted=accepted)
            ended = accepted and runs[who].done >= calls
            if ended and (self._stop_at_first or all(run.done >= calls for run in runs)):
                break
        return runs

    def _arrived(self, run: Run, now: float, *, accepted: bool) -> None:
        run.calls += 1
        if not accepted:
            run.throttled += 1
        if self._trace:
            (run.accepted_at if accepted else run.throttled_at).append(now)

    def _reply(self, client: Client, run: Run, times: tuple[float, float], *, accepted: bool) -> None:
        started_at, now = times
        run.in_flight -= 1
        if self._trace and (not run.paces or now - run.paces[-1][0] >= PACE_EVERY_S):
            run.paces.append((now, client.rate))
        if not accepted:
            run.todo += 1
            client.throttled(started_at, now)
            return
        self._limiter.finished()
        run.done += 1
        run.finished_at = now
        if self._network.errors and self._rng.random() < self._network.errors:
            client.dropped(started_at, now)
        else:
            client.accepted(started_at, now)
