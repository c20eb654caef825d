"""The deletions of a run: what is due is queued once, and workers delete it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.core.entry import Event, Fact
from provisioner.core.verdict import Verdict
from provisioner.core.versions import REPLACED, Role
from provisioner.engine.deletions import Deletions
from provisioner.engine.sending import WithheldError
from provisioner.engine.workers import Workers
from provisioner.pacing.gate import GateClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from anyio.abc import TaskGroup

    from provisioner.core.entry import Entry
    from provisioner.core.policy import Policy
    from provisioner.core.versions import Version
    from provisioner.engine.ending import Ending
    from provisioner.engine.job import Job
    from provisioner.engine.problems import ProblemLog
    from provisioner.engine.room import Room
    from provisioner.engine.target import OpenTarget

RETIRED_AT_ONCE = 256
"""Entries whose deletion one commit records."""


class DeletionQueue:
    """Deletes what one target is to lose.

    Args:
        target: which one.
        policy: the rules of the run.
        ending: of the run in this target.
        problems: records what is not deleted.
        room: that each deletion makes at a full quota.

    Attributes:
        queued: ARNs that this run deletes.
        workers: do it, from :meth:`start` on.
    """

    def __init__(self, target: OpenTarget, policy: Policy, ending: Ending, problems: ProblemLog, room: Room) -> None:
        self.queued: set[str] = set()
        self.workers: Workers[Version]
        self._target = target
        self._ending = ending
        self._room = room
        self._deletions = Deletions(target, policy, ending, problems)

    def start(self, group: TaskGroup, limit: int) -> None:
        """Delete in ``group``, at most ``limit`` at once."""
        self.workers = Workers(group, self._target.deletes, limit, self._delete)

    async def retire(self, entries: Sequence[Entry], why: str) -> None:
        """Record that the algorithms of ``entries`` are to be deleted."""
        for start in range(0, len(entries), RETIRED_AT_ONCE):
            if self._ending.stop.requested:
                self._target.observer.deletions_left(len(entries) - start)
                return
            chunk = entries[start : start + RETIRED_AT_ONCE]
            await self._target.lease.confirm()
            await self._target.ledger.record([entry.fact(Event.RETIRE, code=why) for entry in chunk])

    async def add_due(
        self,
        names: Sequence[str] | None = None,
        *,
        only: Callable[[str], bool] | None = None,
        spare: Collection[str] = (),
    ) -> None:
        """Queue what is to be deleted; see :meth:`Deletions.due`."""
        for version in await self._deletions.due(names, only=only, spare=spare):
            if version.arn not in self.queued:
                self.queued.add(version.arn)
                self._room.expect()
                self._target.observer.deletion_due()
                self.workers.add(version)

    async def _delete(self, version: Version) -> None:
        gone = False
        try:
            async with self._target.deletes.slot():
                self.workers.fill_slots()
                gone = await self._deletions.delete(version) is Verdict.DONE
        except GateClosedError:
            pass
        finally:
            self._room.deleted(gone=gone)
            if not gone and self._ending.stop.requested:
                self._target.observer.deletions_left(1)

    async def delete_first(self, job: Job) -> None:
        """Delete the algorithm that ``job`` replaces before the new one is created.

        Raises:
            WithheldError: it could not be deleted; then it is the current one again. Or it may be deleted, or will be:
                then it stays superseded, and the next run deletes it once more and creates the new one.
        """
        entry = job.entry
        assert entry is not None  # noqa: S101  made with it
        await self._target.ledger.record([entry.fact(Event.RETIRE, code=REPLACED)])
        older = await self._target.ledger.versions(self._target.name, names=[job.name], roles={Role.SUPERSEDED})
        [version] = [one for one in older if one.arn == entry.arn]
        self._room.expect()
        verdict = Verdict.REJECTED
        try:
            verdict = await self._deletions.delete(version)
        finally:
            self._room.deleted(gone=verdict is Verdict.DONE)
        if verdict is not Verdict.DONE:
            if verdict is not Verdict.AMBIGUOUS:
                await self._target.ledger.record([entry.fact(Event.REINSTATE, code=entry.code, message=entry.message)])
            raise WithheldError("the algorithm that it replaces could not be deleted")
        replan = Fact(entry.target, job.name, Event.REPLAN, job.row.digest, job.row.tags_digest)
        await self._target.ledger.record([replan])
