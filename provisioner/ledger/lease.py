"""The right to write to a ledger and to send for its targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from provisioner.errors import LedgerLockedError

if TYPE_CHECKING:
    from collections.abc import Collection


class Lease(Protocol):
    """What one run holds of one target, and no other at the same time.

    There are two lines of defence. A holder asks :meth:`check` before it sends. And the ledger raises the epoch of the
    lease (a counter, with a nonce of its holder) whenever a writer takes it; each commit compares its writer's epoch
    with the stored one, in the same transaction. So a holder that slept while another run took over writes nothing
    more, however late it wakes up, and sends nothing more, for no intent of its becomes durable.
    """

    def check(self) -> None:
        """Make sure that the lease is still held; cheap enough to ask before every call.

        Raises:
            LedgerLockedError: another run has taken it.
            UnsureLeaseError: that cannot be said without asking the ledger: :meth:`confirm` does, and so does a commit.
            LedgerError: it can no longer be relied on.
        """
        ...

    async def confirm(self) -> None:
        """Make sure that the lease is still held, and ask the ledger if need be.

        Raises:
            LedgerLockedError: another run has taken it.
            LedgerError: it can no longer be relied on, or the ledger does not answer.
        """
        ...


class Leases(Protocol):
    """The leases of one run. Where a ledger is for one run at a time, having them is holding all of it."""

    async def take(self, targets: Collection[str]) -> None:
        """Take the leases of all of ``targets``, or of none.

        Raises:
            LedgerLockedError: another run holds one of them, still after the time that this run may wait.
            LedgerError: the ledger does not answer.
        """
        ...

    def of(self, target: str) -> Lease:
        """The lease of ``target``, which was taken."""
        ...


def how_to_wait(timeout_s: float | None) -> str:
    """What to do while another run is in the way; without ``timeout_s``, the command has no ``--lock-timeout``."""
    return "Run again when it has ended" if timeout_s is None else "Wait for it with --lock-timeout"


class OvertakenError(LedgerLockedError):
    """Another run has taken the lease of a run that stood still.

    Args:
        where: of the lease or the ledger.
        target: whose lease it is; "" for all that the run held. The other targets of the run are not concerned.
        why: how it came to that.
        hint: what to do.
    """

    def __init__(self, where: str = "", *, target: str = "", why: str, hint: str) -> None:
        self.target = target
        taken = f"the target {target!r}" if target else "the ledger"
        there = " there" if target else ""
        super().__init__(
            f"another run has taken over {taken}, so this one records and sends nothing more{there}",
            where=where,
            why=why,
            hint=hint,
        )
