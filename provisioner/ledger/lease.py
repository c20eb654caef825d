"""The right to write to a ledger and to send for it."""

from __future__ import annotations

from typing import Protocol

from provisioner.errors import LedgerLockedError


class Lease(Protocol):
    """What one run holds and no other at the same time.

    There are two lines of defence. A holder asks :meth:`check` before it sends. And the ledger raises its epoch (a
    counter and a nonce) whenever a writer takes the lease; each commit compares its writer's epoch with the stored
    one, in the same transaction. So a holder that slept while another run took over
    writes nothing more, however late it wakes up, and sends nothing more, for no intent of its becomes durable.
    """

    def check(self) -> None:
        """Make sure that the lease is still held; cheap enough to ask before every call.

        Raises:
            LedgerLockedError: another run has taken it.
            LedgerError: it can no longer be relied on.
        """
        ...


class OvertakenError(LedgerLockedError):
    """Another run has taken the lease of a run that stood still.

    Args:
        where: of the lease or the ledger.
        why: how it came to that.
        hint: what to do.
    """

    def __init__(self, where: str = "", *, why: str, hint: str) -> None:
        super().__init__(
            "another run has taken over the ledger, so this one records and sends nothing more",
            where=where,
            why=why,
            hint=hint,
        )
