"""Progress on stderr: a bar on a terminal, a log line now and then elsewhere. ``figures.py`` decides what they say."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import anyio
from rich.cells import cell_len
from rich.console import Group
from rich.control import Control
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import ControlType
from rich.table import Table
from rich.text import Text

from provisioner.logger import log
from provisioner.report.events import TARGETS_NAMED
from provisioner.report.figures import (
    BAR,
    ENDED,
    Count,
    Figures,
    Moment,
    Phase,
    Rates,
    attention,
    eta_s,
    fitted,
    fleet_parts,
    main_parts,
    outage_of,
    phase_of,
    waiting_for_others,
    wrapped_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import Console, RenderableType

    from provisioner.core.pause import Pause
    from provisioner.engine.clock import Clock
    from provisioner.engine.stop import Stop
    from provisioner.report.figures import Part
    from provisioner.report.statistics import Statistics
    from provisioner.report.summary import JobPart

REFRESH_S = 0.2
CPU_SHARE = 50
"""A frame of thousands of targets takes longer to make; it is made the more rarely, so that it takes a fiftieth."""
OFTEN_S, OFTEN_FOR_S, RARELY_S = 10.0, 60.0, 60.0
"""A log line comes every ten seconds in the first minute, and then every minute: a log is read when it is over."""
WITH_BAR = 60
"""Columns from which on there is room for a bar beside the figures."""
ROWS_LEFT = 3
"""Rows of the terminal that progress leaves to what is printed above it."""


class Watched(Protocol):
    """The parts of a run that progress shows."""

    @property
    def statistics(self) -> Mapping[str, Statistics]:
        """By target."""

    @property
    def clock(self) -> Clock:
        """Of the run."""

    @property
    def elapsed_s(self) -> float:
        """Since the run began."""

    @property
    def settle_s(self) -> float:
        """How long the run waits for an unanswered create; 0.0 if it does not wait."""

    @property
    def stop(self) -> Stop:
        """The request to stop."""

    @property
    def asking(self) -> bool:
        """Whether a question is on the terminal."""

    @property
    def job(self) -> JobPart | None:
        """The part of a job that it has; None for a run of its own."""


class View:
    """What progress shows of a run, over all its targets.

    Attributes:
        figures, moment: when it was last sampled.
        cells: how wide each line of the last frame is.
    """

    def __init__(self, run: Watched) -> None:
        self._run = run
        self.cells: list[int] = []
        self._rates = Rates()
        self._unresolved = 0
        self._settled_at = 0.0
        self.sample()

    def sample(self) -> None:
        """Count what the run has done so far."""
        now = self._run.clock.monotonic()
        self.figures = figures = Figures(self._run.statistics.values())
        self._rates.add(Count(now, figures.creates, figures.done))
        if figures.unresolved > self._unresolved:  # the newest of them was sent a moment ago
            self._settled_at = now + self._run.settle_s
        self._unresolved = figures.unresolved
        settled_at = figures.settled_at or (self._settled_at if figures.unresolved else 0.0)
        left_s = max(0.0, settled_at - now)
        self.moment = Moment(
            self._rates.done_per_s if figures.only_deletes else self._rates.creates_per_s(figures.creating),
            eta_s(figures, self._rates, left_s),
            left_s,
            self._run.elapsed_s,
            self._waits(),
            self._run.stop.reason if self._run.stop.requested else "",
            self._pauses(),
            waiting_for_others(self._run.statistics.values(), self._run.job),
        )

    @property
    def paused(self) -> dict[str, Pause]:
        """The targets that are paused."""
        return {name: one.pause for name, one in self._run.statistics.items() if one.pause}

    def _pauses(self) -> str:
        if len(self._run.statistics) > 1:
            return ""  # their line counts them
        return "".join(f"paused {pause.text}" for pause in self.paused.values())

    def _waits(self) -> str:
        """What the run waits for, if all of it does: the one target, or all that are not at their end."""
        active = [one for one in self._run.statistics.values() if phase_of(one) not in ENDED]
        waiting = {f"AWS is {Phase.OUTAGE}: {outage_of(one)}" if one.outages else one.waiting for one in active}
        return waiting.pop() if len(waiting) == 1 else ""

    def lines(self, rows: int) -> list[list[Part]]:
        """The lines below the first one: of a fleet, how many targets do what, and which need attention."""
        targets = self._run.statistics
        if len(targets) <= 1 or rows < 1:  # a worker that waits for others may have none
            return []
        return [
            fleet_parts(self.figures),
            *attention(targets.values(), self._run.clock.monotonic(), rows - 1),
        ]

    def frame(self, width: int, height: int) -> RenderableType:
        """All of it, for a terminal of this size."""
        has_bar = width >= WITH_BAR
        parts = main_parts(self.figures, self.moment)
        first = fitted(parts, width - 1 - (BAR + 1) * has_bar, cell_len)
        rest = [fitted(parts, width - 1, cell_len) for parts in self.lines(height - 1 - ROWS_LEFT)]
        self.cells = [min(width, cell_len(text)) for text in (first, *rest)]
        if not has_bar:
            return Group(_line(first), *map(_line, rest))
        self.cells[0] += BAR + 1
        row = Table.grid(padding=(0, 1, 0, 0))
        row.add_column(width=BAR)
        row.add_column(no_wrap=True)
        total = self.figures.total or 1
        bar = ProgressBar(
            total=total, completed=self.figures.done, width=BAR, complete_style="cyan", finished_style="green"
        )
        row.add_row(bar, _line(first))
        return Group(row, *map(_line, rest))

    def log(self) -> None:
        """Log the same."""
        figures, moment = self.figures, self.moment
        phases = {phase.value: number for phase, number in figures.phases.items()}
        log.info(
            "run.progress",
            done=figures.done,
            total=figures.total,
            outcomes={outcome.value: number for outcome, number in figures.outcomes.items() if number},
            deleted=figures.deleted or None,
            creates_per_s=round(moment.pace_per_s, 2),
            limit_per_s=round(figures.limit_per_s, 2) or None,
            throttled=figures.throttled,
            in_flight=figures.in_flight,
            eta_s=None if moment.eta_s is None else round(moment.eta_s),
            settle_left_s=round(moment.settle_left_s) or None,
            phases=phases if len(self._run.statistics) > 1 else None,
            state=f"stopping: {moment.stop}" if moment.stop else moment.waits or None,
            paused={name: pause.text for name, pause in islice(self.paused.items(), TARGETS_NAMED)} or None,
        )


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


class _Frames:
    """A renderable that is made anew for the size that the terminal has at this moment."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __rich_console__(self, console: Console, _options: object) -> Iterator[RenderableType]:
        yield self._view.frame(console.width, console.height)


async def show_bar(run: Watched, console: Console, *, leave: bool) -> None:
    """A progress bar, until cancelled.

    Args:
        run: to watch.
        console: on a terminal.
        leave: whether its last state stays on the terminal.
    """
    view = View(run)
    # stdout is not redirected: the result goes there, even if a second signal ends the run while the bar is shown.
    live = Live(
        _Frames(view),
        console=console,
        auto_refresh=False,
        transient=not leave,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with live:
        try:
            while True:
                began = time.perf_counter()
                view.sample()
                _erase_wrapped(console, view)
                live.refresh()
                await anyio.sleep(max(REFRESH_S, CPU_SHARE * (time.perf_counter() - began)))
                if run.asking:
                    live.stop()
                    await _until_answered(run)
                    live.start(refresh=True)
        finally:
            view.sample()
            live.refresh()


def _erase_wrapped(console: Console, view: View) -> None:
    """Erase what a frame takes in addition to its lines, because the terminal has become narrower and wraps them."""
    rows = wrapped_rows(view.cells, console.width)
    if rows:
        console.control(Control(*[(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)] * rows))


async def _until_answered(run: Watched) -> None:
    while run.asking:  # noqa: ASYNC110  the same rhythm as everything here
        await anyio.sleep(REFRESH_S)


async def show_lines(run: Watched) -> None:
    """A log event now and then, until cancelled."""
    view = View(run)
    while True:
        await anyio.sleep(OFTEN_S if run.elapsed_s < OFTEN_FOR_S else RARELY_S)
        view.sample()
        view.log()
