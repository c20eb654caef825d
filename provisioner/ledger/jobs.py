"""Jobs: what several workers do together on one ledger. The interface; only some stores have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from provisioner.ledger import Ledger
    from provisioner.ledger.lease import Leases

AUTO = "auto"
"""Stands for the id of the job of all who do the same with the same manifest, while one of them is at work on it."""

Result = Literal["done", "failed", "parked", "halted", "ambiguous", "unfinished"]
"""How a target ended. It is final for the job: no worker tries the target again."""


class TargetResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a target in a job.

    Attributes:
        target: its name.
        result: see :data:`Result`; "" as long as it has none.
        exit_code: that a run with this target alone would end with; None likewise.
        run_id: of the worker that finished it; of a target without a result, of the one that holds it, "" for nobody.
        ended_at: seconds since the epoch; None likewise.
        outcomes: of the valid lines.
        message: why it halted, "" if it did not.
    """

    target: str
    result: Result | Literal[""] = ""
    exit_code: int | None = None
    run_id: str = ""
    ended_at: float | None = None
    outcomes: dict[str, int] = {}
    message: str = ""


class JobRecord(msgspec.Struct, frozen=True):
    """What the ledger has of a job.

    Attributes:
        job: its id.
        began_at: seconds since the epoch.
        targets: by name.
        runs: the ids of its workers, the first one first.
    """

    job: str
    began_at: float
    targets: list[TargetResult]
    runs: list[str]


class Joining(msgspec.Struct, frozen=True):
    """What a worker brings along.

    Attributes:
        job: the id; :data:`AUTO` chooses one.
        fingerprint: of the manifest, and of all options on which it depends what is done.
        run_id: of the worker.
        now: seconds since the epoch.
        targets: that it can do.
    """

    job: str
    fingerprint: str
    run_id: str
    now: float
    targets: tuple[str, ...]


class Share(Protocol):
    """A worker's part of a job."""

    @property
    def job(self) -> str:
        """The id of the job."""
        ...

    async def claim(self, room: int) -> list[str]:
        """Take the leases of targets that have no result and that nobody holds, at most ``room``.

        It leaves some to others: of what is free, one part for each worker that is alive, and one for the next to come.
        What a worker had that died is free when its leases have expired. A target that this worker had and lost is left
        to others for good.

        Raises:
            LedgerError: the ledger does not answer.
        """
        ...

    async def finish(self, result: TargetResult) -> None:
        """Make durable what became of a target, and give its lease back.

        Raises:
            OvertakenError: another run has taken the lease. Nothing is recorded.
            LedgerError: the ledger does not answer.
        """
        ...

    async def leave(self, target: str) -> None:
        """Give the lease of ``target`` back without a result. This worker does not take it again.

        Raises:
            LedgerError: the ledger does not answer.
        """
        ...

    async def left(self) -> int:
        """How many targets have no result yet, of those that this worker may still take, or others hold."""
        ...

    async def exit_codes(self) -> list[int | None]:
        """Of all targets that this worker could do, whoever did them; None for each that has no result."""
        ...


class Jobs(Protocol):
    """The jobs of a ledger."""

    async def join(self, ledger: Ledger, leases: Leases, joining: Joining) -> Share:
        """Be a worker of a job, which begins with its first one.

        Args:
            ledger: open for writing.
            leases: of this run.
            joining: which job, and what for.

        Raises:
            UsageError: there is a job of this id with another manifest or other options.
            LedgerLockedError: somebody who is no worker of the job has one of the targets that are left, still after
                the time that this run may wait.
            LedgerError: the ledger does not answer.
        """
        ...

    async def find(self, job: str) -> JobRecord | None:
        """What the ledger has of a job; None for one that it does not know.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        ...
