"""Shares by local time of day: midnight, summer time, and how long calls take."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from provisioner.core.hours import share_at, takes_s

if TYPE_CHECKING:
    from collections.abc import Iterator

BERLIN = ZoneInfo("Europe/Berlin")
DAY = {"20:00": 1.0, "08:00": 0.3}


@pytest.fixture(autouse=True)
def _in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine is in Berlin: summer time from 29 March to 25 October 2026."""
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def at(local: str, *, again: bool = False) -> float:
    """Epoch seconds of a local time; ``again``: the second one of an hour that comes twice."""
    return dt.datetime.fromisoformat(local).replace(tzinfo=BERLIN, fold=again).timestamp()


@pytest.mark.parametrize(
    ("local", "share"),
    [
        ("2026-07-01 00:00", 1.0),
        ("2026-07-01 07:59:59", 1.0),
        ("2026-07-01 08:00", 0.3),
        ("2026-07-01 19:59:59", 0.3),
        ("2026-07-01 20:00", 1.0),
        ("2026-07-01 23:59:59", 1.0),
        ("2026-12-01 08:00", 0.3),
    ],
)
def test_a_share_holds_from_its_time_to_the_next_over_midnight(local: str, share: float) -> None:
    """The order of the lines does not matter; before the first time the last one of the day before holds."""
    assert share_at(DAY, at(local)) == share
    assert share_at({"08:00": 0.5}, at(local)) == 0.5


def test_a_time_that_summer_time_leaves_out_counts_once_it_has_passed() -> None:
    """On 29 March 2026 the clock goes from 02:00 to 03:00."""
    hours, change = {"02:30": 0.3, "12:00": 1.0}, at("2026-03-29 03:00")

    assert [share_at(hours, change + seconds) for seconds in (-1.0, 0.0)] == [1.0, 0.3]


def test_the_hour_that_comes_twice_has_its_share_twice() -> None:
    """On 25 October 2026 the clock goes from 03:00 back to 02:00."""
    hours = {"00:00": 1.0, "02:30": 0.3}
    times = [at("2026-10-25 02:29"), at("2026-10-25 02:30"), at("2026-10-25 02:29", again=True)]

    assert [share_at(hours, one) for one in [*times, at("2026-10-25 02:30", again=True)]] == [1.0, 0.3, 1.0, 0.3]


@pytest.mark.parametrize(
    ("calls", "begins", "hours"),
    [
        (0, "2026-07-01 19:00", 0.0),
        (5_400, "2026-07-01 19:00", 1.0),
        (23_400, "2026-07-01 19:00", 2.0),
        (5_400 + 12 * 18_000 + 2_700, "2026-07-01 19:00", 13.5),
        (12 * 18_000 + 12 * 5_400 + 18_000, "2026-07-01 20:00", 25.0),
        (11 * 18_000 + 5_400, "2026-03-28 20:00", 12.0),
        (13 * 18_000 + 5_400, "2026-10-24 20:00", 14.0),
    ],
)
def test_how_long_calls_take(calls: int, begins: str, hours: float) -> None:
    """At a limit of 5/s, 18,000 calls an hour by night and 5,400 by day; nights of 11 and 13 hours too."""
    assert takes_s(calls, at(begins), DAY, lambda share: 5.0 * share) == pytest.approx(hours * 3600.0)
