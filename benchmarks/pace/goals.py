"""The goals of the pacer, and whether each is met; where one is not, the reason is printed below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from benchmarks.pace.cells import CLIENTS, Cell, Figures, measure, recovery_s

if TYPE_CHECKING:
    from concurrent.futures import Executor

CLIENTS_SHOWN = ("ours", "reference", "botocore adaptive", "AIMD x0.9", "AIMD x0.5", "Google SRE K=2")


class Goal(msgspec.Struct, frozen=True):
    """A line of the table.

    Attributes:
        name: what is measured.
        cells: the worst of them, over all seeds, counts.
        efficiency, throttled: bounds, as fractions.
        seeds: runs of each cell.
        follow: (second of the step of the limit, seconds in which the pace has to follow it).
        spread: bound of the largest share / the smallest.
        why: the reason why it is not met.
    """

    name: str
    cells: tuple[Cell, ...]
    efficiency: float = 0.0
    throttled: float = 1.0
    seeds: int = 3
    follow: tuple[float, float] | None = None
    spread: float = 0.0
    why: str = ""


class Worst(msgspec.Struct, frozen=True):
    """The worst over cells and seeds; ``calls`` is how many were throttled."""

    efficiency: float
    throttled: float
    calls: int
    follow: float
    spread: float

    def meets(self, goal: Goal) -> bool:
        """Whether every bound of the goal holds."""
        return (
            self.efficiency >= goal.efficiency
            and self.throttled <= goal.throttled
            and (goal.follow is None or self.follow <= goal.follow[1])
            and (not goal.spread or self.spread <= goal.spread)
        )

    def text(self, goal: Goal) -> str:
        """The figures that the goal bounds."""
        if goal.follow:
            return f"{self.follow:.1f} s"
        text = f"{100 * self.efficiency:.2f} / {100 * self.throttled:.2f} = {self.calls}"
        return f"{text} x{self.spread:.1f}" if goal.spread else text


def bounds(goal: Goal) -> str:
    """What the goal asks for."""
    if goal.follow:
        return f"<= {goal.follow[1]:.0f} s"
    text = f"{100 * goal.efficiency:.1f} / {100 * goal.throttled:.2f}"
    return f"{text} x{goal.spread:.0f}" if goal.spread else text


def all_goals(*, quick: bool) -> list[Goal]:
    """The table, in full or as a sample."""
    bursts = (0.5, 1.0, 10.0)
    rates = (10.0, 50.0) if quick else (10.0, 20.0, 50.0, 100.0, 200.0)
    runs = 2 if quick else 10
    long_rates = (50.0,) if quick else (20.0, 50.0, 200.0)
    step = 60.0
    return [
        Goal("common job: N 1,000, R 5, B 5, cold", (Cell(5, 5, 1000),), 0.99, 0.008, runs),
        Goal("the same, warm", (Cell(5, 5, 1000, warm=True),), 0.995, 0.003, runs),
        Goal(
            "small job: N 200, R 5, B 5, cold",
            (Cell(5, 5, 200),),
            0.98,
            0.03,
            runs,
            why="a figure without a goal of its own: 39 s, of which the last reply and the saved tokens take 0.4",
        ),
        Goal(
            "20,000 calls, R 10..200, B R/2..10R, cold",
            tuple(Cell(rate, factor * rate, 20_000) for rate in rates for factor in bursts),
            0.985,
            0.005,
            1 if quick else 3,
        ),
        Goal(
            "long runs: 200,000 calls, B R/2..10R",
            tuple(
                Cell(rate, factor * rate, 200_000)
                for rate in long_rates
                for factor in (bursts[:1] if quick else bursts)
            ),
            0.995,
            0.0025,
            1,
        ),
        Goal("limit halves, R 50", (Cell(50, 50, 8000, steps=((step, 0.5),)),), seeds=runs, follow=(step, 10.0)),
        Goal("limit triples, R 50", (Cell(50, 50, 16_000, steps=((step, 3.0),)),), seeds=runs, follow=(step, 30.0)),
        Goal(
            "limit triples, R 5",
            (Cell(5, 5, 3000, steps=((step, 3.0),)),),
            seeds=runs,
            follow=(step, 30.0),
            why="a rise shows only in a call that would have been throttled before it: to follow within 30 s, one of "
            "150 calls would have to be a probe at 5/s, 0.7 % of all calls; the pacer accepts 0.2 %",
        ),
        Goal(
            "4 copies, R 100",
            (Cell(100, 100, 20_000, copies=4),),
            0.99,
            0.005,
            1 if quick else 3,
            spread=2.0,
            why="an empty bucket throttles all four, and each of them measures its share, not R: 0.7 % on average, "
            "shares x2.4. A pacer that trusts no measurement does better here (the reference, 0.3 %) and worse "
            "wherever it is alone",
        ),
    ]


def worst(goal: Goal, name: str) -> Worst:
    """One client against a goal."""
    figures: list[tuple[Cell, Figures]] = [
        (cell, measure(cell, CLIENTS[name], seed, trace=goal.follow is not None))
        for cell in goal.cells
        for seed in range(goal.seeds)
    ]
    delays = [recovery_s(cell, figure.run, goal.follow[0]) for cell, figure in figures] if goal.follow else [0.0]
    return Worst(
        min(figure.efficiency for _, figure in figures),
        max(figure.throttled for _, figure in figures),
        max(figure.calls_throttled for _, figure in figures),
        max(delays),
        max(figure.spread for _, figure in figures),
    )


def goals(pool: Executor, *, quick: bool) -> None:
    """Print the table: the worst efficiency / throttled share, percent, of each client."""
    print("Goals: the worst of all runs, efficiency / throttled in percent = throttled calls\n")
    print(f"{'':44}{'goal':>19}" + "".join(f"{name:>24}" for name in CLIENTS_SHOWN))
    listed = [(goal, [pool.submit(worst, goal, name) for name in CLIENTS_SHOWN]) for goal in all_goals(quick=quick)]
    for goal, futures in listed:
        results = [future.result() for future in futures]
        met = results[0].meets(goal)
        print(
            f"{goal.name:44}{bounds(goal):>19}"
            + "".join(f"{result.text(goal):>24}" for result in results)
            + ("  met" if met else "  NEAREST"),
            flush=True,
        )
        if not met and goal.why:
            print(f"    {goal.why}")
