"""The grid: every cell with our pacer and all baselines, and the cells where a baseline is better in both respects."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import msgspec

from benchmarks.pace.cells import CLIENTS, Cell, measure

if TYPE_CHECKING:
    from concurrent.futures import Executor

OURS = "ours"
INFORMED = frozenset({"fixed 0.96 R (known)", "fixed 5/s"})
"""Constant rates: where one does well, the bench or the cell gave it the limit, so it is no baseline."""
MARGIN = 0.005
"""A baseline has to be more than half a point more efficient to count as better."""
SAME = 0.001
"""Throttled shares closer than a tenth of a point are equal."""

REASONS = {
    "R 50   B 1 ": "a bucket of one token loses what a pause saves, so measuring costs these points",
    "R 1000 B R/2 200 ms": "a climb that costs few calls at any limit up to 200/s arrives late at 1,000/s",
    "R 1000 B 10R": "a third of the job fits into the burst, so a client without a limit is never throttled; on an "
    "account of 5/s, the usual one, the same start costs 250 calls",
    "concurrency": "no tokens to measure: half a point behind at the same share",
    "limit x10 R 5": "a rise at 5/s is noticed after some 100 s (goals, above); 5 % of the baseline's calls are "
    "throttled until the rise, which ten times as many calls after it hide",
}
"""Why a baseline is better, by the beginning of the cell's label."""


class Score(msgspec.Struct, frozen=True):
    """Mean over the seeds, as fractions."""

    efficiency: float
    throttled: float


class Row(msgspec.Struct, frozen=True):
    """One cell, all clients."""

    label: str
    scores: dict[str, Score]

    def better(self) -> str | None:
        """The baseline that is more efficient without more throttled calls, if there is one."""
        ours = self.scores[OURS]
        best, name = ours.efficiency + MARGIN, None
        for peer, score in self.scores.items():
            if peer == OURS or peer in INFORMED or score.throttled > ours.throttled + SAME:
                continue
            if score.efficiency > best:
                best, name = score.efficiency, peer
        return name


def score(cell: Cell, name: str, seeds: int) -> Score:
    """One client in one cell."""
    figures = [measure(cell, CLIENTS[name], seed) for seed in range(seeds)]
    return Score(
        sum(figure.efficiency for figure in figures) / seeds, sum(figure.throttled for figure in figures) / seeds
    )


def calls_for(rate: float) -> int:
    """A run of about 100 s, within reason."""
    return int(min(30_000, max(300, 100 * rate)))


def grid(*, quick: bool) -> list[tuple[str, Cell]]:
    """R x B x round trip x jitter."""
    rates = (5, 50) if quick else (1, 2, 5, 10, 50, 200, 1000)
    trips = (0.05,) if quick else (0.05, 0.2)
    cells = []
    for rate, (name, factor), trip, jitter in product(
        rates, (("1", 0.0), ("R/2", 0.5), ("R", 1.0), ("10R", 10.0)), trips, (0.0, 0.3)
    ):
        burst = max(1.0, factor * rate)
        label = f"R {rate:<4} B {name:<3} {trip * 1000:3.0f} ms j {jitter}"
        cells.append((label, Cell(rate, burst, calls_for(rate), trip, jitter)))
    return cells


def kinds(*, quick: bool) -> list[tuple[str, Cell]]:
    """Limiters other than a token bucket that refills continuously."""
    rates = (50,) if quick else (5, 50, 200)
    cells = [
        (f"{kind} R {rate}", Cell(rate, rate, calls_for(rate) * 2, kind=kind))
        for kind, rate in product(("lumps", "window", "log", "shards"), rates)
    ]
    # The round trip makes the cap a whole number of calls: R x half a round trip.
    return [
        *cells,
        *((f"concurrency R {rate}", Cell(rate, 0, calls_for(rate), 0.2, kind="concurrency")) for rate in rates[-2:]),
    ]


def events(*, quick: bool) -> list[tuple[str, Cell]]:
    """What may happen during a run, after 50 s."""
    neighbour = tuple((20.0 * turn, 0.7 if turn % 2 else 1.0) for turn in range(1, 20))
    cells = []
    for rate in (50,) if quick else (5, 50, 200):
        calls = 200 * rate
        cells += [
            (f"limit x0.5 R {rate}", Cell(rate, rate, calls, steps=((50.0, 0.5),))),
            (f"limit x2 R {rate}", Cell(rate, rate, 2 * calls, steps=((50.0, 2.0),))),
            (f"limit x3 R {rate}", Cell(rate, rate, 3 * calls, steps=((50.0, 3.0),))),
            (f"limit x10 R {rate}", Cell(rate, rate, 6 * calls, steps=((50.0, 10.0),))),
            (f"storm 60 s R {rate}", Cell(rate, rate, calls, steps=((50.0, 0.0), (110.0, 1.0)))),
            (f"neighbour 30 % R {rate}", Cell(rate, rate, calls, steps=neighbour)),
            (f"5 % 5xx R {rate}", Cell(rate, rate, calls, errors=0.05)),
            (f"latency x10 R {rate}", Cell(rate, rate, calls, slow=(50.0, 100.0, 10.0))),
        ]
        cells += [(f"{copies} copies R {rate}", Cell(rate, rate, calls, copies=copies)) for copies in (2, 3, 4)]
    return cells


def table(title: str, cells: list[tuple[str, Cell]], pool: Executor, seeds: int) -> list[Row]:
    """Print efficiency / throttled share in percent, one line a cell."""
    print(f"\n{title}: efficiency / throttled, percent, mean of {seeds}\n")
    print(" " * 24 + "".join(f"{name:>21}" for name in CLIENTS))
    futures = [(label, {name: pool.submit(score, cell, name, seeds) for name in CLIENTS}) for label, cell in cells]
    rows = []
    for label, scores in futures:
        row = Row(label, {name: future.result() for name, future in scores.items()})
        rows.append(row)
        figures = (f"{100 * s.efficiency:6.2f} / {100 * s.throttled:5.2f}" for s in row.scores.values())
        peer = row.better()
        print(
            f"{label:24}" + "".join(f"{figure:>21}" for figure in figures) + (f"  < {peer}" if peer else ""), flush=True
        )
    return rows


def dominated(rows: list[Row]) -> None:
    """Print the rows where a baseline is better in both respects, and why."""
    worse = [row for row in rows if row.better()]
    print(f"\n{len(rows)} cells; a baseline that does not know the limit is better in both respects in {len(worse)}:")
    for row in worse:
        why = next((reason for label, reason in REASONS.items() if row.label.startswith(label)), "unexplained")
        print(f"  {row.label}: {row.better()}: {why}")
