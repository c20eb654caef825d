"""How long a fact waits for others to share its commit. Pure.

A commit costs the same for one fact as for fifty. Facts of one target at full speed arrive faster than commits take, so
they share them anyway. Those of many slow targets arrive singly, and a few hundredths of a second do not matter to
them: a create takes a tenth. A call waits for its intent; but intents come together (:mod:`provisioner.pacing.beats`),
so they are committed at once. Nothing waits for a result, so it is committed with the next intents.
"""

from __future__ import annotations

MANY = 8
"""From this many targets on, waiting pays."""
INTENT_S = 0.01
"""Two commits are at least so far apart, where intents come singly: those of fast targets."""
RESULT_S = 0.04
"""A result waits no longer for an intent: as long as it is from one beat to the next."""
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
        self._committed = now
        self._many = False

    def add(self, target: str) -> None:
        """``target`` records a fact."""
        self._targets.add(target)

    def until(self, now: float, *, awaited: bool) -> float:
        """When a fact that arrives now should be committed: ``now``, or later; ``awaited`` as an intent is."""
        if now - self._since >= LOOK_S:
            self._many = len(self._targets) >= MANY
            self._targets.clear()
            self._since = now
        if not self._many:
            return now
        return max(now, self._committed + INTENT_S) if awaited else now + RESULT_S

    def committed(self, now: float) -> None:
        """Everything that waited is on its way to the disk."""
        self._committed = now
