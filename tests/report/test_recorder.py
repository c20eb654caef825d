"""What a run records of itself: pace, calls, incidents."""

from __future__ import annotations

import pytest

from provisioner.core.verdict import Reply, Verdict
from provisioner.engine.observer import Attempt, Halt, Sample
from provisioner.errors import Reason
from provisioner.report.recorder import Recorder, TargetRecorder
from provisioner.report.samples import ALL_POINTS, MOST_INCIDENTS, Incident


class Here:
    """A recorder with a clock that the test moves."""

    def __init__(self, *targets: str) -> None:
        self.now = 100.0
        self.run = Recorder(targets or ("a", "b"), lambda: self.now)

    def __getitem__(self, target: str) -> TargetRecorder:
        return self.run.targets[target]

    def at(self, elapsed_s: float) -> Here:
        """Move the clock to this time after the start."""
        self.now = 100.0 + elapsed_s
        return self


@pytest.fixture
def here() -> Here:
    """A run of two targets."""
    return Here()


def ended(verdict: Verdict, seconds: float = 0.1) -> Attempt:
    """A create that ended."""
    return Attempt("create", "n", "a1", 1, verdict, Reply(), seconds)


def test_the_run_is_the_sum_of_its_targets(here: Here) -> None:
    """Calls and what is in flight are counted for the target and for the run."""
    for target in ("a", "b"):
        here.at(0.0)[target].call_sent("create")
        here[target].call_sent("list")
    here.at(0.1)["a"].attempt_ended(ended(Verdict.CREATED))
    here.at(0.3)["b"].attempt_ended(ended(Verdict.THROTTLED, 0.02))
    samples = here.at(0.4).run.samples()

    run, a, b = samples.series.points, samples.targets["a"].series.points, samples.targets["b"].series.points
    assert [(point.created, point.throttled, point.in_flight) for point in run] == [(1, 0, 2), (0, 1, 1)]
    assert [(point.created, point.throttled, point.in_flight) for point in a] == [(1, 0, 1)]
    assert [(point.created, point.throttled, point.in_flight) for point in b] == [(0, 0, 1), (0, 1, 1)]
    assert samples.elapsed_s == pytest.approx(0.4)


def test_only_what_the_service_answered_has_a_latency(here: Here) -> None:
    """A throttled, an unanswered and an unsent call say nothing of how long a create takes."""
    for verdict in Verdict:
        here["a"].attempt_ended(ended(verdict))

    answered = {Verdict.CREATED, Verdict.DONE, Verdict.REJECTED, Verdict.QUOTA, Verdict.DENIED}
    assert sum(here.run.samples().targets["a"].latencies.values()) == len(answered)


def test_paces_of_targets_add_up_while_they_are_open(here: Here) -> None:
    """The pace of the run is that of the targets that are still at work."""
    here.at(0.0)["a"].sampled(Sample(5.0, 0.0, 1, 8))
    here["b"].sampled(Sample(7.0, 7.5, 1, 8))
    here.at(1.0)["a"].sampled(Sample(6.0, 6.5, 1, 8))
    here.at(2.0)["a"].target_closed()
    here["b"].sampled(Sample(8.0, 7.5, 1, 8))
    points = here.run.samples().series.points

    assert [(points[place].pace_per_s, points[place].limit_per_s) for place in (0, 4, 8)] == [
        (12.0, 7.5),
        (13.0, 14.0),
        (8.0, 7.5),
    ]


def test_a_run_of_one_target_keeps_one_series() -> None:
    """Its target has the same, which is not kept twice; its latencies are there."""
    here = Here("a")
    here["a"].call_sent("create")
    here["a"].attempt_ended(ended(Verdict.CREATED))
    samples = here.run.samples()

    assert samples.series.points[0].created == 1
    assert samples.targets["a"].series.points == []
    assert sum(samples.targets["a"].latencies.values()) == 1


def test_many_targets_share_the_points() -> None:
    """The points of all targets together are bounded, whatever their number."""
    names = [str(number) for number in range(500)]
    here = Here(*names)
    for name in names:
        here.at(0.0)[name].attempt_ended(ended(Verdict.CREATED))
    for name in names:
        here.at(60.0)[name].attempt_ended(ended(Verdict.CREATED))
    samples = here.run.samples()

    assert sum(len(one.series.points) for one in samples.targets.values()) <= ALL_POINTS
    assert all(sum(point.created for point in one.series.points) == 2 for one in samples.targets.values())


def test_incidents_begin_and_end(here: Here) -> None:
    """Outages and waits last, sweeps and halts are moments, and a stop that every target reports is one drain."""
    here.at(1.0)["a"].outage_began("create", "connect_timeout")
    here.at(2.0)["a"].outage_ended("create")
    here["a"].outage_ended("create")
    here.at(3.0)["b"].waiting_began("the settle time of 1 create", 9.0)
    here.at(4.0)["b"].waiting_changed("reading")
    here.at(5.0)["b"].waiting_ended()
    here["b"].waiting_changed("late")
    here.at(6.0)["b"].sweep_ended(complete=True, resolved={"recovered": 2}, left=1)
    here.at(6.5)["b"].sweep_ended(complete=False, resolved={}, left=1)
    here.at(7.0)["b"].target_halted(Halt(Reason.DENIED, "no permission"))
    for target in ("a", "b"):
        here.at(8.0)[target].stop_requested("signal SIGTERM", 3)

    assert here.run.samples().incidents == [
        Incident("outage", "a", 1.0, "create: connect_timeout", 2.0),
        Incident("wait", "b", 3.0, "reading", 5.0),
        Incident("sweep", "b", 6.0, "read to its end: 2 resolved, 1 unresolved"),
        Incident("sweep", "b", 6.5, "broke off: 0 resolved, 1 unresolved"),
        Incident("halt", "b", 7.0, "no permission"),
        Incident("drain", "", 8.0, "signal SIGTERM; 3 in flight"),
    ]


def test_what_lasts_ends_with_the_target(here: Here) -> None:
    """An outage and a wait are over when nothing more happens in the target; resolving ends a wait, too."""
    here.at(1.0)["a"].outage_began("create", "connect_timeout")
    here["a"].waiting_began("planning", 0.0)
    here.at(2.0)["a"].target_closed()
    here.at(3.0)["b"].waiting_began("the settle time", 9.0)
    here.at(4.0)["b"].resolving_ended(0)

    assert [one.until_s for one in here.run.samples().incidents] == [2.0, 2.0, 4.0]


def test_incidents_are_bounded(here: Here) -> None:
    """Of very many the first are kept, and all are counted."""
    for _ in range(MOST_INCIDENTS + 5):
        here["a"].outage_began("create", "reset")
        here["a"].outage_ended("create")
    samples = here.run.samples()

    assert (len(samples.incidents), samples.incidents_total) == (MOST_INCIDENTS, MOST_INCIDENTS + 5)
