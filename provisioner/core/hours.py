"""The share of the limit by local time of day, in the time zone of this machine. Pure: the caller has the clock.

A share holds from its time on; before the first time of a day the last one of the day before holds. The local clock
decides, so at a change to summer time a time that is left out counts when the clock has passed it, and at the end of
summer time the hour that comes twice has its share twice.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]"
"""A time of day, as a regular expression."""


def share_at(hours: Mapping[str, float], wall: float) -> float:
    """The share at the wall-clock time ``wall``, epoch seconds; ``hours`` has at least one, by times such as 08:00."""
    times = sorted(hours)
    return hours[times[bisect_right(times, f"{_local(wall):%H:%M}") - 1]]


def takes_s(calls: int, begins: float, hours: Mapping[str, float], pace_at: Callable[[float], float]) -> float:
    """Seconds that so many calls take from the wall-clock time ``begins`` on, about.

    Args:
        calls: how many.
        begins: epoch seconds.
        hours: shares by time of day, at least one.
        pace_at: calls a second at a share, above 0.
    """
    at, left = begins, float(calls)
    while True:
        pace, until = pace_at(share_at(hours, at)), _next_change(hours, at)
        if left <= pace * (until - at):
            return at + left / pace - begins
        left -= pace * (until - at)
        at = until


def _next_change(hours: Mapping[str, float], wall: float) -> float:
    days = [_local(wall).date() + dt.timedelta(days=after) for after in (0, 1, 2)]
    clocks = [dt.datetime.combine(day, dt.time.fromisoformat(one)) for day in days for one in hours]
    return min(change for clock in clocks if (change := clock.astimezone().timestamp()) > wall)


def _local(wall: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(wall, dt.UTC).astimezone()
