"""What a person sees of a run while it goes on: figures that the run really had."""

from __future__ import annotations

import pytest

from provisioner.report.progress import WINDOW_S, Count, Rates, clock


def rates(*counts: int, every_s: float = 0.5) -> Rates:
    """The rates after samples with these counts of creates, each of them a definition that is done."""
    made = Rates()
    for number, count in enumerate(counts):
        made.add(Count(100 + number * every_s, count, count))
    return made


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((), 0.0),
        ((0,), 0.0),
        ((500,), 0.0),
        ((0, 5), 10.0),
        (tuple(range(0, 500, 5)), 10.0),
        ((0, *[300] * 9), 300 / 4.5),
        ((0, *[300] * 12), 0.0),
        ((7, 3), 0.0),
    ],
    ids=["none", "first", "late first", "two", "steady", "burst in the window", "burst before it", "never negative"],
)
def test_the_pace_is_what_was_made_in_the_last_seconds(counts: tuple[int, ...], expected: float) -> None:
    """Creates over the time in which they were counted: no extrapolation, and nothing from before the window."""
    assert rates(*counts).creates_per_s == pytest.approx(expected)


def test_samples_far_apart_are_averaged_over_their_distance() -> None:
    """Where samples are further apart than the window, the last two of them count."""
    assert rates(0, 100, 120, every_s=2 * WINDOW_S).creates_per_s == pytest.approx(20 / (2 * WINDOW_S))


def test_definitions_have_a_rate_of_their_own() -> None:
    """What is done without a create, because it is registered already, counts for the time that is left."""
    made = Rates()
    made.add(Count(1.0, 0, 0))
    made.add(Count(2.0, 5, 1000))

    assert (made.creates_per_s, made.done_per_s) == (5.0, 1000.0)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3725, "1:02:05")])
def test_times_are_short(seconds: float, text: str) -> None:
    """Minutes and seconds; hours where there are any."""
    assert clock(seconds) == text
