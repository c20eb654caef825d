"""Samples of a run: exact where they say so, and small whatever the run does."""

from __future__ import annotations

import random

import pytest

from benchmarks.pages import Simulation
from provisioner.core.verdict import Verdict
from provisioner.report.latencies import cell_of, merge, percentile
from provisioner.report.samples import MOST_POINTS, Growing, Incident, Point, Samples, Series, TargetSamples, decoded


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.99, 1.0])
def test_a_percentile_is_exact_to_two_percent(share: float) -> None:
    """Whatever the latencies, from microseconds to minutes."""
    draw = random.Random(3)  # noqa: S311  for a test
    latencies = sorted(draw.lognormvariate(-2, 2) for _ in range(5000))
    cells: dict[int, int] = {}
    for latency in latencies:
        merge(cells, {cell_of(latency): 1})

    exact = latencies[max(0, round(share * len(latencies)) - 1)]
    assert percentile(cells, share) == pytest.approx(exact, rel=0.023)


def test_a_percentile_of_nothing_and_of_no_time() -> None:
    """Of nothing there is none; a latency of 0 is counted as the shortest."""
    assert percentile({}, 0.5) is None
    assert percentile({cell_of(0.0): 1}, 0.5) == pytest.approx(1e-6, rel=0.03)


@pytest.mark.parametrize("lasting_s", [0.1, 3.0, 61.0, 86_400.0])
def test_a_series_covers_the_run_in_bounded_space(lasting_s: float) -> None:
    """No call is lost, the peak of what was under way stays, and no series has more points than it may."""
    growing = Growing()
    for number in range(1000):
        growing.sent(number * lasting_s / 1000)
        growing.ended(number * lasting_s / 1000, "create", Verdict.CREATED if number % 10 else Verdict.THROTTLED, 3)
    points, width_s = growing.series.points, growing.series.width_s

    assert len(points) <= MOST_POINTS
    assert (len(points) - 1) * width_s <= 0.999 * lasting_s < len(points) * width_s
    assert sum(point.created for point in points) == 900
    assert sum(point.throttled for point in points) == 100
    assert growing.series.latencies() == growing.latencies == {3: 1000}
    assert max(point.in_flight for point in points) == 1


def test_what_is_under_way_shows_while_nothing_happens() -> None:
    """A create that takes long is in flight in every point until it ends."""
    growing = Growing()
    growing.sent(0.0)
    growing.ended(2.0, "create", Verdict.AMBIGUOUS, None)
    growing.ended(3.0, "tag", Verdict.DONE, 5)

    assert [point.in_flight for point in growing.series.points] == [1] * 9 + [0] * 4
    assert [growing.series.points[8].unanswered, growing.series.points[12].changed] == [1, 1]


@pytest.mark.parametrize(
    ("verdict", "counted"),
    [
        (Verdict.CREATED, "created"),
        (Verdict.DONE, "changed"),
        (Verdict.THROTTLED, "throttled"),
        (Verdict.AMBIGUOUS, "unanswered"),
        (Verdict.NOT_CREATED, "refused"),
        (Verdict.REJECTED, "refused"),
        (Verdict.QUOTA, "refused"),
        (Verdict.DENIED, "refused"),
    ],
)
def test_every_verdict_is_counted(verdict: Verdict, counted: str) -> None:
    """Each as what it means, and none twice."""
    growing = Growing()
    growing.ended(0.0, "create", verdict, None)
    (point,) = growing.series.points

    assert getattr(point, counted) == 1
    assert point.created + point.changed + point.throttled + point.unanswered + point.refused == 1


def samples() -> Samples:
    """Samples with something of everything."""
    series = Series(0.5, [Point(1, 2, 3, 4, 5, 6.5, 7.5, 8, {-53: 9})])
    incidents = [Incident("outage", "a", 1.0, "connect_timeout", 2.5), Incident("sweep", "a", 3.0, "read to its end")]
    return Samples(
        elapsed_s=4.5,
        series=series,
        targets={"a": TargetSamples(series, {-53: 9})},
        incidents=incidents,
        incidents_total=7,
    )


def test_samples_come_back_as_they_were() -> None:
    """Encoded and decoded, nothing changes."""
    made = samples()
    found = decoded(made.encoded())

    assert found == made


def test_samples_that_cannot_be_read_are_none() -> None:
    """Those of another version, those that are cut off or damaged, and none at all."""
    made = samples().encoded()
    later = samples()
    later.version += 1

    assert [decoded(one) for one in (b"", b"\x00\xff", made[:-6], made[:20], later.encoded())] == [None] * 5


def test_samples_of_a_fleet_stay_small() -> None:
    """A hundred targets that are all busy take some tens of kilobytes, not more than a run of one target for each."""
    simulation = Simulation(100, 20)
    simulation.page()

    assert len(simulation.samples().encoded()) < 60_000
