"""Turns: when the next call may start at a given pace. Virtual scheduling (GCRA) with a burst of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioner.pacing.tuning import Tuning


class Turns:
    """One turn after another, an interval apart; a freeze or a probe puts the next one off.

    Args:
        tuning: says how late a turn may be taken without losing its place.
        now: the current time.
    """

    def __init__(self, tuning: Tuning, now: float) -> None:
        self._tuning = tuning
        self._last = now
        self.frozen_until = now
        self._probed_until = now

    def begin(self, now: float) -> None:
        """The first turn of all is taken."""
        self._last = now

    def next(self, rate: float) -> float:
        """When the next turn is due."""
        return max(self._last + 1.0 / rate, self.frozen_until, self._probed_until)

    def take(self, now: float, rate: float) -> float:
        """Take the turn; returns by how many seconds it came too late to keep its place (negative: it keeps it)."""
        turn = self.next(rate)
        # A turn taken a little late keeps its place, so that coarse timers do not slow the pace down.
        in_time = now - self._tuning.catch_up(rate)
        self._last = max(turn, in_time)
        return in_time - turn

    def give_back(self, rate: float) -> None:
        """The last turn was not used."""
        self._last -= 1.0 / rate

    def freeze(self, until: float) -> None:
        """No turn before ``until``, nor before an earlier freeze ends."""
        self.frozen_until = max(self.frozen_until, until)

    def thaw(self, now: float) -> None:
        """A freeze ends now."""
        self.frozen_until = min(self.frozen_until, now)

    def probe(self, until: float) -> None:
        """The last call is a probe, and goes alone until then; a time that has passed ends the probe."""
        self._probed_until = until
