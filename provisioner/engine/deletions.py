"""Deletes superseded versions: looks at each right before, and deletes nothing that is not certainly this ledger's.

The ledger says why each is to be deleted before anything leaves; see :mod:`provisioner.core.versions`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from provisioner.aws.faces import CallError
from provisioner.core.entry import Event
from provisioner.core.verdict import Verdict
from provisioner.core.versions import Role, to_delete
from provisioner.engine.inventory import Details, Inventory
from provisioner.engine.job import Deletion
from provisioner.engine.observer import Halt
from provisioner.engine.operation import Delete, kept
from provisioner.engine.sending import Sender, WithheldError
from provisioner.errors import ConfigurationError, IntegrityError
from provisioner.pacing.gate import GateClosedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.core.inventory import Found
    from provisioner.core.policy import Policy
    from provisioner.core.versions import Version
    from provisioner.engine.ending import Ending
    from provisioner.engine.problems import ProblemLog
    from provisioner.engine.target import OpenTarget


class Deletions:
    """Deletes versions of one target.

    Args:
        target: which one.
        policy: the rules of the run.
        ending: halts the target.
        problems: records what is kept.
    """

    def __init__(self, target: OpenTarget, policy: Policy, ending: Ending, problems: ProblemLog) -> None:
        self._target = target
        self._policy = policy
        self._ending = ending
        self._problems = problems
        self._inventory = Inventory(target, policy.ownership_tag)
        self._sender = Sender(target, Delete(target, problems), ending)

    async def due(self, names: Sequence[str] | None = None) -> list[Version]:
        """What is to be deleted, of ``names`` or of the whole target."""
        if not self._policy.deletes:
            return []
        versions = await self._target.ledger.versions(self._target.name, names=names, roles={Role.SUPERSEDED})
        return to_delete(versions, self._policy.keep, adopted=self._policy.adopted)

    async def delete(self, version: Version) -> Verdict:
        """Delete ``version``: DONE if it is gone, AMBIGUOUS if it may be, REJECTED if it stays.

        What is kept is recorded with its reason.
        """
        job = Deletion(version)
        verdict = Verdict.REJECTED
        with contextlib.suppress(GateClosedError, WithheldError):
            try:
                verdict = await self._delete(job) if self._may_delete() else verdict
            except (CallError, IntegrityError, ConfigurationError) as error:
                self._ending.halt_target(Halt(error.reason, str(error)))
        # Whatever ended it: an attempt without an answer may have been executed, or may be yet.
        return Verdict.AMBIGUOUS if verdict is not Verdict.DONE and job.history.unanswered else verdict

    def _may_delete(self) -> bool:
        return not (self._ending.halt or self._ending.stop.requested)

    async def _delete(self, job: Deletion) -> Verdict:
        version, details = job.version, Details(())
        with self._ending.stop.ends() as looking:
            details = await self._inventory.details([version.arn])
        if looking.cancelled_caught:
            return Verdict.REJECTED
        if version.arn in details.gone:
            await self._target.ledger.record([version.fact(Event.GONE)])
            self._target.observer.version_deleted(version)
            return Verdict.DONE
        if why := self._objection(version, details.found):
            await self._target.ledger.record([version.fact(Event.KEEP, code="kept", message=why)])
            await self._problems.add([kept(version, self._target.name, "kept", why)])
            return Verdict.REJECTED
        return (await self._sender.send(job)).verdict

    def _objection(self, version: Version, found: Sequence[Found]) -> str:
        """Why ``version`` must stay, "" if it was just read and is this ledger's own."""
        if not found:
            return "it cannot be read"
        adopted = version.adopted or (found[0].tag is not None and found[0].tag.adopted)
        if adopted and not self._policy.adopted:
            return "it was adopted; --adopted deletes such algorithms too"
        if found[0].name != version.name:
            return f"its name is {found[0].name!r}, not that of the entry"
        tag = found[0].tag
        if tag is None:
            return "" if version.adopted or not self._policy.ownership_tag else "it has no ownership tag"
        ours = tag.ledger_id == self._target.ledger.ledger_id and tag.attempt == (version.attempt or tag.attempt)
        # What is replaced as soon as it is taken over never got this ledger's tag.
        ours = ours or (version.adopted and tag.ledger_id == self._policy.take_over)
        return "" if ours else f"its ownership tag is {tag}, which is not that of the entry"
