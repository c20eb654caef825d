"""Progress on stderr: a bar where a person looks on, a line every so often where nobody does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
import structlog
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from provisioner.core.entry import Outcome

if TYPE_CHECKING:
    from rich.console import Console

    from provisioner.commands.run import Run

REFRESH_S = 0.2
LINE_EVERY_S = 10.0
RATE_WINDOW_S = 5.0
"""The shown rate is that of the last seconds."""

log = structlog.get_logger()


class Gauge:
    """Reads a run: what is done, how fast, what is left."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._samples: list[tuple[float, int]] = []

    @property
    def total(self) -> int | None:
        """Definitions that are likely to come, over all targets; None when nobody knows."""
        expected = [tally.expected for tally in self._run.tallies.values()]
        return None if None in expected else sum(number or 0 for number in expected)

    @property
    def settled(self) -> int:
        """Definitions with an outcome, over all targets."""
        return sum(tally.settled for tally in self._run.tallies.values())

    def rate_per_s(self) -> float:
        """Creates a second of late."""
        now = time.monotonic()
        made = self.calls("create") - self.calls("throttled")
        recent = [(at, count) for at, count in self._samples if now - at <= RATE_WINDOW_S] or self._samples[-1:]
        self._samples = [*recent, (now, made)]
        (first, before), (last, after) = self._samples[0], self._samples[-1]
        return (after - before) / (last - first) if last > first else 0.0

    def calls(self, kind: str) -> int:
        """Calls of a kind so far."""
        return sum(tally.calls[kind] for tally in self._run.tallies.values())

    def in_flight(self) -> int:
        """Creates under way."""
        return sum(gate.in_flight for gate in self._run.gates.values())

    def outcomes(self) -> dict[str, int]:
        """Definitions by outcome, those that occur."""
        sums = {outcome: sum(tally.outcomes[outcome] for tally in self._run.tallies.values()) for outcome in Outcome}
        return {outcome.value: number for outcome, number in sums.items() if number}

    def eta(self, rate: float) -> str:
        """Time until the end at this rate, "" when nobody knows."""
        total, settled = self.total, self.settled
        if total is None or rate <= 0 or settled >= total:
            return ""
        return clock((total - settled) / rate)

    def waiting(self) -> str:
        """What the tail of the run waits for, and how long."""
        for tally in self._run.tallies.values():
            if tally.waiting:
                left = max(0.0, tally.waiting_until - self._run.clock.monotonic())
                return f"{clock(left)} left: {tally.waiting}"
        return ""


def clock(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


async def show_bar(run: Run, console: Console) -> None:
    """A bar, until cancelled."""
    gauge = Gauge(run)
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=16),
        MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=7)),
        TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
        TextColumn("{task.fields[told]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    bar = Progress(*columns, console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    with bar as progress:
        task = progress.add_task("", total=None, told="")
        try:
            while True:
                progress.update(task, total=gauge.total, completed=gauge.settled, told=_told(gauge), refresh=True)
                await anyio.sleep(REFRESH_S)
        finally:
            progress.update(task, total=gauge.total, completed=gauge.settled, told=_told(gauge), refresh=True)


def _told(gauge: Gauge) -> str:
    """The most telling first: a narrow terminal cuts off the rest."""
    rate = gauge.rate_per_s()
    outcomes = [f"{number} {outcome}" for outcome, number in gauge.outcomes().items()]
    if waiting := gauge.waiting():
        return "  ".join([waiting, *outcomes])
    eta = gauge.eta(rate)
    parts = [f"{rate:.1f}/s", *([f"eta {eta}"] if eta else []), *outcomes]
    return "  ".join([*parts, f"{gauge.calls('throttled')} throttled", f"{gauge.in_flight()} in flight"])


async def show_lines(run: Run) -> None:
    """A log event every so often, until cancelled."""
    gauge = Gauge(run)
    gauge.rate_per_s()
    while True:
        await anyio.sleep(LINE_EVERY_S)
        rate = gauge.rate_per_s()
        log.info(
            "run.progress",
            settled=gauge.settled,
            total=gauge.total,
            **gauge.outcomes(),
            rate_per_s=round(rate, 2),
            throttled=gauge.calls("throttled"),
            in_flight=gauge.in_flight(),
            eta=gauge.eta(rate) or None,
            waiting=gauge.waiting() or None,
        )
