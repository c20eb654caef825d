"""What progress says of a run: figures that it really had, in one line, and the targets that need attention. Pure.

A line is made of parts. What a terminal has no room for is shortened, and then left out, the least important first, so
that a narrow terminal shows whole words.
"""

from __future__ import annotations

from collections import Counter, deque
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from provisioner.core.entry import Outcome
from provisioner.engine.observer import Stage
from provisioner.errors import counted, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from provisioner.report.statistics import Statistics
    from provisioner.report.summary import JobPart

WINDOW_S = 5.0
"""Rates are averages over this time: shorter ones jump with every burst, longer ones hide that a run has stalled."""
ETA_AFTER_S = 2.0
"""A rate over less than this says nothing of the time that is left: what is registered already passes in no time."""
BAR = 12
"""Columns of the bar."""
ATTENTION = 6
"""Most targets that are shown below the line of a fleet."""
UNRESOLVED = (Outcome.PENDING, Outcome.AMBIGUOUS)
"""Outcomes that a later run has to process again: these definitions are not done."""
WRONG = (Outcome.FAILED, Outcome.PARKED, Outcome.DRIFTED)
"""Outcomes that somebody has to look at."""


class Phase(StrEnum):
    """What a target does, in the order in which targets need attention."""

    UNOPENED = "unopened"
    HALTED = "halted"
    OUTAGE = "out of reach"
    SETTLING = "settling"
    READING = "reading"
    PREPARING = "preparing"
    WORKING = "under way"
    WAITING = "not begun"
    SKIPPED = "skipped"
    PAUSED = "paused"
    DONE = "done"


URGENT = {Phase.UNOPENED, Phase.HALTED, Phase.OUTAGE, Phase.SETTLING}
ENDED = {Phase.UNOPENED, Phase.HALTED, Phase.PAUSED, Phase.SKIPPED, Phase.DONE}
_HALTS = {Stage.UNOPENED: Phase.UNOPENED, Stage.BEGUN: Phase.HALTED, Stage.NOT_BEGUN: Phase.SKIPPED}


def phase_of(target: Statistics) -> Phase:
    """What ``target`` does."""
    if target.halt:
        return Phase.PAUSED if target.halt.pause else _HALTS[target.halt.stage]
    if target.outages:
        return Phase.OUTAGE
    if target.waiting and target.waiting_until:
        return Phase.SETTLING
    if target.waiting:
        return Phase.READING if target.waiting.startswith("reading") else Phase.PREPARING
    if target.whole and target.known >= target.valid and not target.under_way:
        return Phase.DONE
    return Phase.WORKING if target.region or target.lines else Phase.WAITING


def waiting_for_others(targets: Iterable[Statistics], job: JobPart | None) -> str:
    """That a worker waits for the others of its job, once it has nothing to do itself; "" as long as it has."""
    if job is None or not job.left or any(phase_of(one) not in ENDED for one in targets):
        return ""
    return f"waiting for other workers, {counted(job.left, 'target', 'targets')} left"


class Count(NamedTuple):
    """Counts at one moment.

    Attributes:
        at: seconds, monotonic.
        creates: that AWS answered and did not throttle, by target.
        done: definitions that no later run has to process.
    """

    at: float
    creates: Mapping[str, int]
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

    def creates_per_s(self, targets: Iterable[str]) -> float:
        """Creates a second in these targets."""
        if not self._counts:
            return 0.0
        old, new = self._counts[0].creates, self._counts[-1].creates
        return self._per_s(sum(new[target] - old.get(target, 0) for target in targets))

    @property
    def done_per_s(self) -> float:
        """Definitions a second."""
        return self._per_s(self._counts[-1].done - self._counts[0].done) if self._counts else 0.0

    @property
    def over_s(self) -> float:
        """The time over which they are averages."""
        return self._counts[-1].at - self._counts[0].at if self._counts else 0.0

    def _per_s(self, count: int) -> float:
        return max(0, count) / self.over_s if self.over_s > 0 else 0.0


class Figures:
    """The sums over the targets of a run at one moment.

    Attributes:
        outcomes, phases: counts of definitions; of targets.
        done: definitions that no later run has to process; without a manifest, algorithms that are gone.
        total: definitions, None while nothing is known of them; without a manifest, algorithms that are to be deleted.
        estimated: whether ``total`` is an estimate: a manifest is still being read.
        only_deletes: whether there is no definition.
        creates: that AWS answered and did not throttle, by target.
        creating: the targets whose pace is shown: those that create; at the end, those that have.
        throttled, listed: calls.
        in_flight: creates that were sent and whose answer is not recorded yet.
        deleted: algorithms.
        invalid: lines of the manifest that has most.
        limit_per_s: the sum of their limits; 0.0 where one is not known.
        slowest_s: what the target with most work left needs at least, at its limit.
        settled_at: when the last target has waited for the settle time, monotonic; 0.0 if none waits.
    """

    def __init__(self, targets: Iterable[Statistics]) -> None:
        targets = list(targets)
        self.outcomes: Counter[Outcome] = Counter()
        self.total: int | None = None
        self.phases: Counter[Phase] = Counter()
        self.throttled = self.listed = self.in_flight = self.deleted = self.invalid = 0
        self.slowest_s = self.settled_at = 0.0
        self.creates: dict[str, int] = {}
        gone = due = 0
        limits: dict[Phase, dict[str, float]] = {Phase.WORKING: {}, Phase.DONE: {}}
        expected: list[int] = []
        self.only_deletes = all(one.whole and not one.valid for one in targets)
        for one in targets:
            phase = phase_of(one)
            self.phases[phase] += 1
            self.outcomes.update(one.outcomes)
            self.creates[one.target] = max(0, one.calls["create"] - one.calls["throttled"] - one.under_way)
            self.throttled += one.calls["throttled"]
            self.listed += one.calls["list"]
            self.in_flight += one.under_way
            self.deleted += one.deleted
            self.invalid = max(self.invalid, one.invalid)
            gone += one.gone
            due += one.due
            of_target = one.valid if one.whole else one.expected
            if of_target is not None:
                expected.append(of_target)
            if phase is Phase.SETTLING:
                self.settled_at = max(self.settled_at, one.waiting_until)
            if phase in limits and one.calls["create"]:
                limits[phase][one.target] = one.limit_per_s
            if phase is Phase.WORKING and one.limit_per_s and one.under_way and of_target is not None:
                self.slowest_s = max(self.slowest_s, (of_target - one.known) / one.limit_per_s)
        measured = limits[Phase.WORKING] or limits[Phase.DONE]
        self.creating = set(measured)
        self.limit_per_s = sum(measured.values()) if all(measured.values()) else 0.0
        self.done = sum(number for outcome, number in self.outcomes.items() if outcome not in UNRESOLVED)
        if expected:  # a target that has not begun is taken to have as many definitions as the others
            self.total = round(sum(expected) * len(targets) / len(expected))
        self.estimated = not all(one.whole or one.exact for one in targets)
        if self.only_deletes:
            self.done, self.total = self.deleted + gone, due

    @property
    def unresolved(self) -> int:
        """Definitions whose create has no answer."""
        return self.outcomes[Outcome.AMBIGUOUS]


def eta_s(figures: Figures, rates: Rates, settle_left_s: float) -> float | None:
    """Seconds until the end at the present rate, at least until unanswered creates have settled; None if unknown."""
    rate = rates.done_per_s
    if figures.total is None or not rate or rates.over_s < ETA_AFTER_S or figures.done >= figures.total:
        return None
    return max((figures.total - figures.done) / rate, figures.slowest_s, settle_left_s)


class Part(NamedTuple):
    """A part of a line.

    Attributes:
        weight: the part with the greatest is shortened first; 0 stays.
        texts: what it says, from the longest to the shortest; "" leaves it out.
    """

    weight: int
    texts: tuple[str, ...]


GAP = "  "


def fitted(parts: Sequence[Part], width: int, cells_of: Callable[[str], int] = len) -> str:
    """The parts in one line of at most ``width`` cells, unless those that must stay are longer."""
    chosen = [0] * len(parts)

    def line() -> str:
        return GAP.join(text for part, which in zip(parts, chosen, strict=True) if (text := part.texts[which]))

    while cells_of(line()) > width:
        shorter = [place for place, part in enumerate(parts) if chosen[place] + 1 < len(part.texts)]
        if not shorter:
            break
        chosen[max(shorter, key=lambda place: (parts[place].weight, place))] += 1
    return line()


class Moment(NamedTuple):
    """What a line says beside the figures.

    Attributes:
        pace_per_s: measured: creates, or deletions where there is nothing else.
        eta_s: None if unknown.
        settle_left_s: until unanswered creates have settled, 0.0 if none waits for that.
        elapsed_s: since the run began.
        waits: what the target waits for, where there is one; "" for nothing.
        stop: why the run stops, "" if it does not.
        paused: until when nothing is sent to the target, where there is one; "" if it is not paused.
        others: that it waits for other workers, "" if it does not.
    """

    pace_per_s: float
    eta_s: float | None
    settle_left_s: float
    elapsed_s: float
    waits: str = ""
    stop: str = ""
    paused: str = ""
    others: str = ""


def main_parts(figures: Figures, moment: Moment) -> list[Part]:
    """The line of the whole run."""
    total = "?" if figures.total is None else f"{'~' if figures.estimated else ''}{figures.total}"
    count = f"{figures.done}/{total}"
    parts = [Part(7, (f"{count} deleted", count) if figures.only_deletes and figures.total else (count,))]
    if moment.stop:
        parts += [Part(5, (f"stopping: {moment.stop}", "stopping"))]
        parts += [Part(4, (f"{figures.in_flight} in flight", ""))] if figures.in_flight else []
        if moment.stop.endswith("SIGINT"):
            parts.append(Part(3, ("Ctrl-C again quits at once", "")))
        return [*parts, *_wrong_parts(figures), *_unresolved_parts(figures, 0.0)]
    parts += [Part(4, (printable(moment.paused), "paused"))] if moment.paused else []
    if moment.others:
        parts.append(Part(2, (moment.others, "waiting")))
        return [*parts, *_wrong_parts(figures), Part(8, (clock(moment.elapsed_s), ""))]
    if moment.waits:
        parts.append(Part(2, tuple(_waits(moment.waits, figures, moment.settle_left_s))))
        return [*parts, *_wrong_parts(figures), Part(8, (clock(moment.elapsed_s), ""))]
    pace = f"{moment.pace_per_s:.1f}/s"
    limit = [f"{pace} of {figures.limit_per_s:.1f}/s"] if figures.limit_per_s and not figures.only_deletes else []
    parts.append(Part(3, (*limit, pace, "")))
    parts += [Part(2, (f"ETA {clock(moment.eta_s)}", ""))] if moment.eta_s is not None else []
    parts += _wrong_parts(figures)
    parts += _unresolved_parts(figures, moment.settle_left_s)
    parts += [Part(4, (f"{figures.deleted} deleted", ""))] if figures.deleted and not figures.only_deletes else []
    parts += [Part(5, (f"{figures.throttled} throttled", ""))] if figures.throttled else []
    parts += [Part(6, (f"{figures.in_flight} in flight", ""))] if not figures.only_deletes else []
    return [*parts, Part(8, (clock(moment.elapsed_s), ""))]


def _wrong_parts(figures: Figures) -> list[Part]:
    wrong = [(outcome.value, figures.outcomes[outcome]) for outcome in WRONG]
    return [Part(1, (f"{number} {what}", "")) for what, number in (*wrong, ("invalid", figures.invalid)) if number]


def _unresolved_parts(figures: Figures, settle_left_s: float) -> list[Part]:
    if not figures.unresolved:
        return []
    short = f"{figures.unresolved} unresolved"
    long = f"{short}, {clock(settle_left_s)} to settle" if settle_left_s else short
    return [Part(3, (long, short, ""))]


def _waits(what: str, figures: Figures, settle_left_s: float) -> list[str]:
    if settle_left_s:
        left = f"{clock(settle_left_s)} left"
        return [f"waiting for {what}, {left}", f"settle time, {left}", f"settling {clock(settle_left_s)}"]
    calls = f" ({counted(figures.listed, 'List call', 'List calls')})" if figures.listed else ""
    return [f"{what}{calls}", what, what.split(":", maxsplit=1)[0], what.split(maxsplit=1)[0]]


def fleet_parts(figures: Figures) -> list[Part]:
    """The line that says how many targets do what."""
    phases = [f"{number} {phase}" for phase in Phase if (number := figures.phases[phase])]
    targets = sum(figures.phases.values())
    return [Part(0, (f"{targets} targets",)), *(Part(1 + place, (text, "")) for place, text in enumerate(phases))]


def attention(targets: Iterable[Statistics], monotonic: float, rows: int) -> list[list[Part]]:
    """The targets that need attention, the most urgent first, in at most ``rows`` lines."""
    urgent = sorted(
        (one for one in targets if phase_of(one) in URGENT or _wrong(one)),
        key=lambda one: (one.halt is None, not one.outages, -_wrong(one), one.target),
    )
    rows = min(rows, ATTENTION)
    shown = urgent if len(urgent) <= rows else urgent[: max(0, rows - 1)]
    lines = [_target_parts(one, monotonic) for one in shown]
    if rows > 0 and len(urgent) > len(shown):
        lines.append([Part(0, (f"  and {len(urgent) - len(shown)} more that need attention",))])
    return lines


def _wrong(target: Statistics) -> int:
    return sum(target.outcomes[outcome] for outcome in WRONG)


def _target_parts(target: Statistics, monotonic: float) -> list[Part]:
    wrong = [f"{target.outcomes[outcome]} {outcome}" for outcome in WRONG if target.outcomes[outcome]]
    says = ", ".join(wrong)
    if target.halt:
        what = printable(target.halt.what.removeprefix(f"{target.target}: "))
        return [Part(0, (f"  {target.target}",)), Part(1, (f"{phase_of(target)}: {what}",)), Part(2, (says, ""))]
    parts = [Part(1, (says,))] if says else []
    if target.outages:
        parts.append(Part(2, (f"{Phase.OUTAGE}: {outage_of(target)}",)))
    elif target.waiting_until and target.waiting:
        parts.append(Part(2, (f"{target.waiting}, {clock(max(0.0, target.waiting_until - monotonic))} left", "")))
    expected = target.valid if target.whole else target.expected
    done = sum(number for outcome, number in target.outcomes.items() if outcome not in UNRESOLVED)
    return [Part(0, (f"  {target.target}",)), *parts, Part(3, (f"{done}/{'?' if expected is None else expected}", ""))]


def wrapped_rows(cells: Iterable[int], columns: int) -> int:
    """How many more rows lines of so many cells take on a terminal that has become narrower."""
    return sum(max(0, -(-number // columns) - 1) for number in cells)


def outage_of(target: Statistics) -> str:
    """Which calls of ``target`` get no reply, and why; "" if all get one."""
    return ", ".join(f"{operation}: {printable(why)}" for operation, why in target.outages.items())


def clock(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
