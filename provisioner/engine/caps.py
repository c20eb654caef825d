"""Bounds of a target's run: how many creates, and how many failures for one cause."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from provisioner.engine.observer import Halt
from provisioner.errors import Reason, counted

if TYPE_CHECKING:
    from provisioner.core.policy import Policy

SHARE_OF = 50
"""A share of failures is one of this many definitions at least."""


class Caps:
    """Counts what a run sends, and what fails.

    Args:
        policy: with the bounds.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._creates = 0
        self._to_send = 0
        self._failures: Counter[str] = Counter()

    def expect(self, definitions: int) -> None:
        """About so many definitions are to be sent, of those that were read so far."""
        self._to_send = definitions

    def may_create(self) -> bool:
        """Whether one more create may be sent; it counts as sent."""
        if self._policy.max_create and self._creates >= self._policy.max_create:
            return False
        self._creates += 1
        return True

    def fail(self, code: str, message: str) -> Halt | None:
        """Count a failure; the halt, if there are too many with this ``code``."""
        self._failures[code] += 1
        count, most = self._failures[code], self._most
        if not most or count < most:
            return None
        definitions = counted(count, "definition", "definitions")
        what = f"{definitions} failed with {code}, the most that --max-failures allows: {message.rstrip('. ')}"
        return Halt(Reason.FAILED, f"{what}. Look at `provisioner list --code {code}`, then run again")

    @property
    def _most(self) -> int:
        """Failures of one cause at which the target stops; 0 is no bound."""
        share = self._policy.max_failures_share
        if not share:
            return self._policy.max_failures
        # As if there were more to send at first, so that the first failure of a long manifest is not all of it.
        return max(1, round(share * max(self._to_send, SHARE_OF)))
