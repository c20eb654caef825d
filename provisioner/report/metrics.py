"""Metrics of a run: one table of families, and their values at any moment. The exporters read them.

A series belongs to a target, never to a name, so their number does not grow with the manifest. docs/metrics.md lists
the families.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Literal

import msgspec

from provisioner import __version__
from provisioner.engine.observer import Observer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from provisioner.core.problem import Problem
    from provisioner.engine.observer import Attempt, Sample
    from provisioner.report.statistics import Statistics

BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the latency histogram: a create takes some 100 ms, and 60 s is the longest that one is waited for."""
MAX_CODES = 50
"""Codes of problems with a series of their own in a target: a server may make up any number of them."""
OTHER = "other"


class Family(msgspec.Struct, frozen=True):
    """Metrics of one name.

    Attributes:
        name: as Prometheus has it, with unit and ``_total``.
        kind: of the metrics.
        help: what they mean.
        labels: that tell them apart.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


class Histogram:
    """How many durations lie within each of :data:`BOUNDS_S`, and their sum.

    Attributes:
        counts: one for each bound, and one for what is above the last.
        sum_s: of all durations.
    """

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


Value = float | Histogram
Series = dict[tuple[str, ...], Value]
"""The values of a family by the values of its labels, in their order."""

_TARGET = ("target",)
_OPERATION = ("target", "operation")
FAMILIES = {
    family.name: family
    for family in (
        Family(
            "provisioner_build_info",
            "gauge",
            "Always 1; the version that runs, and its command",
            ("version", "command"),
        ),
        Family("provisioner_run_start_time_seconds", "gauge", "When the command began, since the epoch"),
        Family("provisioner_run_end_time_seconds", "gauge", "When it ended, since the epoch; absent until then"),
        Family("provisioner_run_exit_code", "gauge", "Its exit code; absent until it has ended"),
        Family("provisioner_target_info", "gauge", "Always 1; where a target is", ("target", "region", "account_id")),
        Family("provisioner_target_halted", "gauge", "1 once nothing more is sent to the target", ("target", "reason")),
        Family("provisioner_target_paused", "gauge", "1 where the target is paused", _TARGET),
        Family("provisioner_manifest_lines", "gauge", "Lines of the manifest read so far", ("target", "kind")),
        Family("provisioner_definitions", "gauge", "Definitions by what became of them so far", ("target", "outcome")),
        Family("provisioner_definitions_expected", "gauge", "Estimated definitions in the manifest", _TARGET),
        Family("provisioner_unresolved_entries", "gauge", "Creates without an answer that a sweep left open", _TARGET),
        Family("provisioner_superseded_algorithms", "gauge", "Older versions that are still to be deleted", _TARGET),
        Family("provisioner_calls_total", "counter", "Calls to AWS", _OPERATION),
        Family(
            "provisioner_attempts_total",
            "counter",
            "Mutating calls by what their reply means",
            (*_OPERATION, "verdict"),
        ),
        Family(
            "provisioner_attempt_duration_seconds",
            "histogram",
            "From the start of a mutating call to its reply",
            _OPERATION,
        ),
        Family("provisioner_throttling_epochs_total", "counter", "Times that throttling slowed the pace down", _TARGET),
        Family("provisioner_outages_total", "counter", "Times that an operation went out of reach", _OPERATION),
        Family("provisioner_outages_open", "gauge", "Operations that are out of reach now", _TARGET),
        Family(
            "provisioner_problems_total", "counter", "Problems of lines and definitions by code", ("target", "code")
        ),
        Family("provisioner_deletions_total", "counter", "Algorithms that were deleted", _TARGET),
        Family("provisioner_sweeps_total", "counter", "Sweeps for creates without an answer", ("target", "complete")),
        Family("provisioner_pace_creates_per_second", "gauge", "Creates a second that may start", _TARGET),
        Family(
            "provisioner_pace_limit_creates_per_second", "gauge", "The rate limit as measured; 0 while unknown", _TARGET
        ),
        Family("provisioner_creates_in_flight", "gauge", "Creates under way", _TARGET),
        Family("provisioner_creates_in_flight_limit", "gauge", "Creates that may await their reply", _TARGET),
    )
}
"""Every family that there is, by name."""


class Meter(Observer):
    """Counts what happens in one target.

    Args:
        statistics: of the target, which count the rest.
    """

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._durations: defaultdict[str, Histogram] = defaultdict(Histogram)
        self._epochs = 0
        self._outages: Counter[str] = Counter()
        self._open: set[str] = set()
        self._problems: Counter[str] = Counter()
        self._sweeps: Counter[str] = Counter()
        self._sample: Sample | None = None

    def attempt_ended(self, attempt: Attempt) -> None:
        """See :class:`Observer`."""
        self._attempts[attempt.operation, attempt.verdict] += 1
        self._durations[attempt.operation].add(attempt.seconds)

    def throttling_began(self, pace_per_s: float) -> None:
        """See :class:`Observer`."""
        del pace_per_s
        self._epochs += 1

    def outage_began(self, operation: str, why: str) -> None:
        """See :class:`Observer`."""
        del why
        self._outages[operation] += 1
        self._open.add(operation)

    def outage_ended(self, operation: str) -> None:
        """See :class:`Observer`."""
        self._open.discard(operation)

    def problem_found(self, problem: Problem) -> None:
        """See :class:`Observer`. Notices are not counted."""
        if problem.severity == "problem":
            known = problem.code in self._problems or len(self._problems) < MAX_CODES
            self._problems[problem.code if known else OTHER] += 1

    def sweep_ended(self, *, complete: bool, resolved: Mapping[str, int], left: int) -> None:
        """See :class:`Observer`."""
        del resolved, left
        self._sweeps[str(complete).lower()] += 1

    def sampled(self, sample: Sample) -> None:
        """See :class:`Observer`."""
        self._sample = sample

    def series(self) -> Iterator[tuple[str, Series]]:
        """The values of this target by family. Another thread may ask: each collection is copied at once."""
        one, name = self._statistics, self._statistics.target
        yield "provisioner_target_info", {(name, one.region, one.account_id): 1}
        if one.pause is not None:
            yield "provisioner_target_paused", {(name,): 1}
        elif one.halt is not None:
            yield "provisioner_target_halted", {(name, one.halt.reason): 1}
        lines = {"valid": one.valid, "invalid": one.invalid, "repeated": one.repeated}
        yield "provisioner_manifest_lines", {(name, kind): count for kind, count in lines.items()}
        outcomes = dict(one.outcomes)
        yield "provisioner_definitions", {(name, outcome): count for outcome, count in outcomes.items()}
        yield "provisioner_definitions_expected", {(name,): one.valid if one.expected is None else one.expected}
        yield "provisioner_unresolved_entries", {(name,): one.open}
        yield "provisioner_superseded_algorithms", {(name,): one.superseded}
        calls = {operation: count for operation, count in dict(one.calls).items() if operation != "throttled"}
        yield "provisioner_calls_total", {(name, operation): count for operation, count in calls.items()}
        yield "provisioner_attempts_total", {(name, *which): count for which, count in dict(self._attempts).items()}
        durations = dict(self._durations)
        yield "provisioner_attempt_duration_seconds", {(name, which): value for which, value in durations.items()}
        yield "provisioner_throttling_epochs_total", {(name,): self._epochs}
        yield "provisioner_outages_total", {(name, which): count for which, count in dict(self._outages).items()}
        yield "provisioner_outages_open", {(name,): len(self._open)}
        yield "provisioner_problems_total", {(name, code): count for code, count in dict(self._problems).items()}
        yield "provisioner_deletions_total", {(name,): one.deleted}
        yield "provisioner_sweeps_total", {(name, which): count for which, count in dict(self._sweeps).items()}
        if (sample := self._sample) is not None:
            yield "provisioner_pace_creates_per_second", {(name,): sample.pace_per_s}
            yield "provisioner_pace_limit_creates_per_second", {(name,): sample.limit_per_s}
            yield "provisioner_creates_in_flight", {(name,): one.under_way}
            yield "provisioner_creates_in_flight_limit", {(name,): sample.cap}


class Metrics:
    """The metrics of one command.

    Args:
        command: its name.
        started_at: when it began, seconds since the epoch.
    """

    def __init__(self, command: str, started_at: float) -> None:
        self.command = command
        self.started_at = started_at
        self._meters: list[Meter] = []
        self._ended: tuple[float, int] | None = None

    def meter(self, statistics: Statistics) -> Meter:
        """An observer of the target that ``statistics`` are of."""
        self._meters.append(Meter(statistics))
        return self._meters[-1]

    def end(self, exit_code: int, ended_at: float | None = None) -> None:
        """The command has ended."""
        self._ended = time.time() if ended_at is None else ended_at, exit_code

    def collect(self) -> Iterator[tuple[Family, Series]]:
        """Every family that has a value, in the order of the table, with its series."""
        found: defaultdict[str, Series] = defaultdict(dict)
        found["provisioner_build_info"] = {(__version__, self.command): 1}
        found["provisioner_run_start_time_seconds"] = {(): self.started_at}
        if self._ended is not None:
            found["provisioner_run_end_time_seconds"] = {(): self._ended[0]}
            found["provisioner_run_exit_code"] = {(): self._ended[1]}
        for meter in self._meters:
            for name, series in meter.series():
                found[name].update(series)
        for family in FAMILIES.values():
            series = found[family.name]
            if series:
                yield family, series
