"""Which targets of a run may begin: a window, canaries first, and no more once too many have failed. Pure.

Targets begin in the order of the configuration. No rule here ends a target that has begun.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from provisioner.errors import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.config.settings import FleetSettings
    from provisioner.config.target import Target


class Waves:
    """The targets of a run, as they begin and end.

    Args:
        targets: in order.
        settings: the rules.

    Attributes:
        waiting: those that have not begun.
        refusal: why no other one begins, "" while others may.
    """

    def __init__(self, targets: Sequence[Target], settings: FleetSettings) -> None:
        self.waiting = deque(targets)
        self.refusal = ""
        self._window = settings.max_active_targets
        self._canaries = min(settings.canary, len(targets))
        self._allowed = settings.failures_allowed(len(targets))
        self._begun = self._ended = self._failed = 0

    @property
    def may_begin(self) -> bool:
        """Whether another target may begin now."""
        full = self._begun - self._ended >= self._window
        canaries_only = self._ended < self._canaries <= self._begun
        return bool(self.waiting) and not (full or canaries_only or self.refusal)

    def next(self) -> Target | None:
        """The target that begins now; None when none may, for now or at all."""
        if not self.may_begin:
            return None
        self._begun += 1
        return self.waiting.popleft()

    def end(self, *, failed: bool) -> None:
        """A target that has begun has ended."""
        self._ended += 1
        self._failed += failed
        if self._ended == self._canaries and self._failed:
            canaries = counted(self._canaries, "canary target", "canary targets")
            self.refusal = f"{self._failed} of {canaries} failed"
        elif self._failed > self._allowed:
            many = counted(self._failed, "target", "targets")
            self.refusal = f"{many} failed, and max_failed_targets is {self._allowed}"
