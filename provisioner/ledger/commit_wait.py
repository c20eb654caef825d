"""How long a fact waits for others to share its commit. Pure.

A commit costs the same for one fact as for fifty. Facts of one target at full speed arrive faster than commits take, so
they share them anyway. Those of many slow targets arrive singly, and a few milliseconds do not matter to them: a create
takes a hundred.
"""

from __future__ import annotations

MANY = 8
"""From this many targets on, waiting pays."""
WAIT_S = 0.01
"""Together the intent and the result of a create wait a tenth of what its call takes."""
LOOK_S = 0.2
"""Targets are counted over this time: one that makes five creates a second is seen in each."""


class CommitWait:
    """Counts the targets that record facts, and says how long a fact waits.

    Args:
        now: the time, seconds, on the clock of all other times.
    """

    def __init__(self, now: float) -> None:
        self._targets: set[str] = set()
        self._since = now
        self._many = False

    def wait_s(self, now: float) -> float:
        """How long a fact that arrives now should wait for others."""
        if now - self._since >= LOOK_S:
            self._many = len(self._targets) >= MANY
            self._targets.clear()
            self._since = now
        return WAIT_S if self._many else 0.0

    def add(self, target: str) -> None:
        """``target`` records a fact."""
        self._targets.add(target)
