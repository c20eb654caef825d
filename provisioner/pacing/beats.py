"""Beats: moments at which the turns of many slow targets come together.

Waking an event loop, a thread and a disk costs the same for one create as for fifty. A target that makes five creates a
second does not mind if each starts a few hundredths of a second late, as long as it keeps its pace; so the gates of
slow targets share beats. One timer serves all that wait for the same beat, and what they do then shares commits and
wake-ups. The slower a target, the longer the time between its beats; it is a multiple of the shorter ones, so that
targets of different paces meet.
"""

from __future__ import annotations

import asyncio
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SHORTEST_S = 0.01
LONGEST_S = 0.04
"""The time from one beat to the next; it is halved until it fits the pace."""
SHARE = 0.25
"""It is at most this part of an interval between two creates. So no bucket runs dry for a late create, and none is so
late that it loses its place (:meth:`provisioner.pacing.tuning.Tuning.catch_up`)."""
_EARLY = 0.01
"""A turn that is due so little after a beat, as a part of the time to the next one, is taken with it."""


def next_beat(due: float, rate: float, *, tight: bool = False) -> float | None:
    """When a turn that is ``due`` is taken at ``rate`` a second; None for a pace that cannot wait for a beat.

    Args:
        due: monotonic seconds.
        rate: the pace.
        tight: beats are as short as they can be, see :attr:`provisioner.pacing.pacer.Pacer.tight`.
    """
    beat_s = SHORTEST_S if tight else LONGEST_S
    while beat_s * rate > SHARE:
        beat_s /= 2.0
    if beat_s < SHORTEST_S:
        return None
    return max(due, ceil(due / beat_s - _EARLY) * beat_s)


class Wait:
    """A gate that waits for a beat."""

    __slots__ = ("_wake",)

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake: Callable[[], None] | None = wake

    def cancel(self) -> None:
        """Do not wake it."""
        self._wake = None

    def end(self) -> None:
        """Wake it."""
        if self._wake is not None:
            self._wake()


class Beats:
    """Wakes all gates that wait for the same beat. Used in one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[Wait]] = {}

    def call_at(self, at: float, now: float, wake: Callable[[], None]) -> Wait:
        """Have ``wake`` called ``at`` a beat, seen from ``now``."""
        number = round(at / SHORTEST_S)
        waiting = self._waiting.get(number)
        if waiting is None:
            waiting = self._waiting[number] = []
            asyncio.get_running_loop().call_later(at - now, self._strike, number)
        wait = Wait(wake)
        waiting.append(wait)
        return wait

    def _strike(self, number: int) -> None:
        for wait in self._waiting.pop(number):
            wait.end()
