"""Records the samples of a run: an observer for each target, and what they have in common. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.core.verdict import Verdict
from provisioner.engine.observer import Observer
from provisioner.report.latencies import cell_of
from provisioner.report.samples import (
    ALL_POINTS,
    FEWEST_POINTS,
    MOST_INCIDENTS,
    MOST_POINTS,
    Growing,
    Incident,
    Samples,
    Series,
    TargetSamples,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioner.engine.observer import Attempt, Halt, Sample

_UNTIMED = frozenset({Verdict.THROTTLED, Verdict.AMBIGUOUS, Verdict.NOT_CREATED})
"""Verdicts whose latency says nothing of the service: it was too busy, or has not answered."""


class Recorder:
    """Records a run.

    Args:
        targets: their names.
        monotonic: the clock of the run, which begins now.
    """

    def __init__(self, targets: Sequence[str], monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._began = monotonic()
        self.growing = Growing()
        self._incidents: list[Incident] = []
        self._incidents_total = 0
        self._draining = False
        self._paces: dict[str, Sample] = {}
        self._pace_per_s = self._limit_per_s = 0.0
        most = min(MOST_POINTS, max(FEWEST_POINTS, ALL_POINTS // max(1, len(targets)) // 2 * 2))
        alone = len(targets) == 1
        self.targets = {
            name: TargetRecorder(name, self, self.growing if alone else Growing(most), alone=alone) for name in targets
        }

    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return self._monotonic() - self._began

    def samples(self) -> Samples:
        """Those so far."""
        return Samples(
            elapsed_s=round(self.elapsed_s(), 3),
            series=self.growing.series,
            targets={name: target.samples() for name, target in self.targets.items()},
            incidents=self._incidents,
            incidents_total=self._incidents_total,
        )

    def begin(self, kind: str, target: str, text: str) -> Incident:
        """Record an incident that begins now."""
        incident = Incident(kind, target, round(self.elapsed_s(), 3), text)
        self._incidents_total += 1
        if len(self._incidents) < MOST_INCIDENTS:
            self._incidents.append(incident)
        return incident

    def drain(self, reason: str) -> None:
        """The run was asked to stop; every target reports it."""
        if not self._draining:
            self._draining = True
            self.begin("drain", "", reason)

    def paced(self, target: str, sample: Sample | None) -> None:
        """A target has this pace, or none any more."""
        # Sums, not added up anew: with a thousand targets this is called a thousand times a second.
        if (before := self._paces.pop(target, None)) is not None:
            self._pace_per_s -= before.pace_per_s
            self._limit_per_s -= before.limit_per_s
        if sample is not None:
            self._paces[target] = sample
            self._pace_per_s += sample.pace_per_s
            self._limit_per_s += sample.limit_per_s
            point = self.growing.at(self.elapsed_s())
            point.pace_per_s, point.limit_per_s = self._pace_per_s, self._limit_per_s


class TargetRecorder(Observer):
    """Records one target of a run.

    Args:
        target: its name.
        run: the recorder of the run.
        growing: its series.
        alone: whether that is the series of the run, which has no other target.
    """

    def __init__(self, target: str, run: Recorder, growing: Growing, *, alone: bool) -> None:
        self._target = target
        self._run = run
        self._growing = growing
        self._all = (growing,) if alone else (growing, run.growing)
        self._outages: dict[str, Incident] = {}
        self._wait: Incident | None = None

    def samples(self) -> TargetSamples:
        """Those so far."""
        series = self._growing.series
        return TargetSamples(series if len(self._all) > 1 else Series(), self._growing.latencies)

    def call_sent(self, kind: str) -> None:
        """See :class:`Observer`."""
        if kind == "create":
            elapsed_s = self._run.elapsed_s()
            for growing in self._all:
                growing.sent(elapsed_s)

    def attempt_ended(self, attempt: Attempt) -> None:
        """See :class:`Observer`."""
        elapsed_s, verdict = self._run.elapsed_s(), attempt.verdict
        cell = None if verdict in _UNTIMED else cell_of(attempt.seconds)
        for growing in self._all:
            growing.ended(elapsed_s, attempt.operation, verdict, cell)

    def sampled(self, sample: Sample) -> None:
        """See :class:`Observer`."""
        point = self._growing.at(self._run.elapsed_s())
        point.pace_per_s, point.limit_per_s = sample.pace_per_s, sample.limit_per_s
        self._run.paced(self._target, sample)

    def target_closed(self) -> None:
        """See :class:`Observer`."""
        self._run.paced(self._target, None)
        self.waiting_ended()
        for operation in [*self._outages]:
            self.outage_ended(operation)

    def outage_began(self, operation: str, why: str) -> None:
        """See :class:`Observer`."""
        self._outages[operation] = self._run.begin("outage", self._target, f"{operation}: {why}")

    def outage_ended(self, operation: str) -> None:
        """See :class:`Observer`."""
        if (outage := self._outages.pop(operation, None)) is not None:
            outage.until_s = round(self._run.elapsed_s(), 3)

    def waiting_began(self, what: str, until: float) -> None:
        """See :class:`Observer`."""
        del until
        self.waiting_ended()
        self._wait = self._run.begin("wait", self._target, what)

    def waiting_changed(self, what: str) -> None:
        """See :class:`Observer`."""
        if self._wait is not None:
            self._wait.text = what

    def waiting_ended(self) -> None:
        """See :class:`Observer`."""
        if self._wait is not None:
            self._wait.until_s, self._wait = round(self._run.elapsed_s(), 3), None

    def resolving_ended(self, left: int) -> None:
        """See :class:`Observer`. It ends the wait for the settle time."""
        del left
        self.waiting_ended()

    def sweep_ended(self, *, complete: bool, resolved: Mapping[str, int], left: int) -> None:
        """See :class:`Observer`."""
        how = "read to its end" if complete else "broke off"
        self._run.begin("sweep", self._target, f"{how}: {sum(resolved.values())} resolved, {left} unresolved")

    def target_halted(self, halt: Halt) -> None:
        """See :class:`Observer`."""
        self._run.begin("halt", self._target, halt.what)

    def stop_requested(self, reason: str, in_flight: int) -> None:
        """See :class:`Observer`."""
        self._run.drain(f"{reason}; {in_flight} in flight")
