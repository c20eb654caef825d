"""Progress on stderr: a bar on a terminal, a log line every ten seconds elsewhere."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

import anyio
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from provisioner.core.entry import Outcome
from provisioner.logger import log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from provisioner.core.pause import Pause
    from provisioner.engine.clock import Clock
    from provisioner.engine.stop import Stop
    from provisioner.report.statistics import Statistics

REFRESH_S = 0.2
LINE_EVERY_S = 10.0
WINDOW_S = 5.0
"""Rates are averages over this time: shorter ones jump with every burst, longer ones hide that a run has stalled."""
UNRESOLVED = (Outcome.PENDING, Outcome.AMBIGUOUS)
"""Outcomes that a later run has to process again: these definitions are not done."""


class Watched(Protocol):
    """The parts of a run that progress shows."""

    @property
    def statistics(self) -> Mapping[str, Statistics]:
        """By target."""

    @property
    def clock(self) -> Clock:
        """Of the run."""

    @property
    def stop(self) -> Stop:
        """The request to stop."""

    @property
    def asking(self) -> bool:
        """Whether a question is on the terminal."""


class Count(NamedTuple):
    """Counts at one moment.

    Attributes:
        at: seconds, monotonic.
        creates: that AWS answered and did not throttle.
        done: definitions that no later run has to process.
    """

    at: float
    creates: int
    done: int


class Rates:
    """Averages over the last seconds."""

    def __init__(self) -> None:
        self._counts: deque[Count] = deque()

    def add(self, count: Count) -> None:
        """Add ``count``. The newest one that is older than the window is kept, as the beginning of the window."""
        self._counts.append(count)
        while len(self._counts) > 2 and count.at - self._counts[1].at >= WINDOW_S:  # noqa: PLR2004  a window has two ends
            self._counts.popleft()

    @property
    def creates_per_s(self) -> float:
        """Creates a second."""
        return self._per_s(self._counts[-1].creates - self._counts[0].creates) if self._counts else 0.0

    @property
    def done_per_s(self) -> float:
        """Definitions a second."""
        return self._per_s(self._counts[-1].done - self._counts[0].done) if self._counts else 0.0

    def _per_s(self, count: int) -> float:
        elapsed_s = self._counts[-1].at - self._counts[0].at
        return max(0, count) / elapsed_s if elapsed_s > 0 else 0.0


class View:
    """What progress shows of a run, over all its targets."""

    def __init__(self, run: Watched) -> None:
        self._run = run
        self._rates = Rates()

    def sample(self) -> None:
        """Count what the run has done so far."""
        creates = max(0, self.calls("create") - self.calls("throttled") - self.in_flight)
        self._rates.add(Count(time.monotonic(), self.done if self._only_deletes else creates, self.done))

    @property
    def total(self) -> int | None:
        """Definitions of the manifest: estimated until it is read to its end, None if its size is unknown.

        Without a manifest, algorithms that are to be deleted.
        """
        targets = self._run.statistics.values()
        if self._only_deletes:
            return sum(one.due for one in targets)
        expected = [one.valid if one.whole else one.expected for one in targets]
        return None if None in expected else sum(number or 0 for number in expected)

    @property
    def done(self) -> int:
        """Definitions that no later run has to process; without a manifest, algorithms that are gone."""
        if self._only_deletes:
            return self.deleted + sum(statistics.gone for statistics in self._run.statistics.values())
        return sum(number for outcome, number in self._outcomes().items() if outcome not in UNRESOLVED)

    @property
    def _only_deletes(self) -> bool:
        return all(one.whole and not one.valid for one in self._run.statistics.values())

    @property
    def deleted(self) -> int:
        """Algorithms that were deleted."""
        return sum(statistics.deleted for statistics in self._run.statistics.values())

    def _outcomes(self) -> dict[Outcome, int]:
        targets = self._run.statistics.values()
        sums = {outcome: sum(statistics.outcomes[outcome] for statistics in targets) for outcome in Outcome}
        return {outcome: number for outcome, number in sums.items() if number}

    def calls(self, kind: str) -> int:
        """Calls of a kind so far."""
        return sum(statistics.calls[kind] for statistics in self._run.statistics.values())

    @property
    def in_flight(self) -> int:
        """Creates that were sent and whose answer is not recorded yet."""
        return sum(statistics.under_way for statistics in self._run.statistics.values())

    @property
    def eta_s(self) -> float | None:
        """Seconds until the end at the present rate; None if that is unknown."""
        total, rate = self.total, self._rates.done_per_s
        return None if total is None or not rate or self.done >= total else (total - self.done) / rate

    @property
    def state(self) -> str:
        """What the run waits for, or why it stops; "" otherwise."""
        if self._run.stop.requested:
            return f"stopping: {self._run.stop.reason}"
        for statistics in self._run.statistics.values():
            if statistics.waiting:
                if not statistics.waiting_until:
                    return statistics.waiting
                left_s = max(0.0, statistics.waiting_until - self._run.clock.monotonic())
                return f"{statistics.waiting}, {clock(left_s)} left"
        return ""

    @property
    def paused(self) -> dict[str, Pause]:
        """The targets that are paused."""
        return {name: one.pause for name, one in self._run.statistics.items() if one.pause}

    def _pauses(self) -> list[str]:
        if len(self.paused) > 1:
            return [f"{len(self.paused)} targets paused"]
        return [f"{name} paused {pause.text}" for name, pause in self.paused.items()]

    @property
    def line(self) -> str:
        """One line for a terminal, the most important first: a narrow terminal cuts off the rest."""
        eta_s = self.eta_s
        outcomes = [f"{number} {outcome}" for outcome, number in self._outcomes().items()]
        outcomes += [f"{self.deleted} deleted"] if self.deleted else []
        moving = [f"{self._rates.creates_per_s:.1f}/s", *([f"ETA {clock(eta_s)}"] if eta_s is not None else [])]
        calls = [f"{self.in_flight} in flight", f"{self.calls('throttled')} throttled"]
        hint = ["Ctrl-C again quits at once"] if self._run.stop.reason.endswith("SIGINT") else []
        shown = [self.state, *outcomes, *calls, *hint] if self.state else [*moving, *calls, *outcomes]
        return "  ".join([*shown, *self._pauses()])

    def log(self) -> None:
        """Log the same."""
        eta_s = self.eta_s
        log.info(
            "run.progress",
            done=self.done,
            total=self.total,
            outcomes={outcome.value: number for outcome, number in self._outcomes().items()},
            deleted=self.deleted or None,
            creates_per_s=round(self._rates.creates_per_s, 2),
            throttled=self.calls("throttled"),
            in_flight=self.in_flight,
            eta_s=None if eta_s is None else round(eta_s),
            state=self.state or None,
            paused={name: pause.text for name, pause in self.paused.items()} or None,
        )


def clock(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


async def show_bar(run: Watched, console: Console) -> None:
    """A progress bar, until cancelled."""
    view = View(run)
    columns = (
        BarColumn(bar_width=12),
        MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=7)),
        TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
        TextColumn("{task.fields[line]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    # stdout is not redirected: the result goes there, even if a second signal ends the run while the bar is shown.
    bar = Progress(*columns, console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    with bar as progress:
        task = progress.add_task("", total=None, line="")

        def refresh() -> None:
            view.sample()
            progress.update(task, total=view.total, completed=view.done, line=view.line, refresh=True)

        try:
            while True:
                refresh()
                await anyio.sleep(REFRESH_S)
                if run.asking:
                    progress.stop()
                    await _until_answered(run)
                    progress.start()
        finally:
            refresh()


async def _until_answered(run: Watched) -> None:
    while run.asking:  # noqa: ASYNC110  the same rhythm as everything here
        await anyio.sleep(REFRESH_S)


async def show_lines(run: Watched) -> None:
    """A log event every ten seconds, until cancelled."""
    view = View(run)
    view.sample()
    while True:
        await anyio.sleep(LINE_EVERY_S)
        view.sample()
        view.log()
