"""Deletes superseded versions: looks at each right before, and deletes nothing that is not certainly this ledger's.

The ledger says why each is to be deleted before anything leaves; see :mod:`provisioner.core.versions`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from provisioner.aws.faces import CallError
from provisioner.core.entry import Event, may_lag
from provisioner.core.verdict import Verdict
from provisioner.core.versions import FOREIGN, NOT_DELETED, Role, to_delete
from provisioner.engine.inventory import Details, IncompleteListError, Inventory
from provisioner.engine.job import Deletion
from provisioner.engine.observer import Halt
from provisioner.engine.operation import Delete, not_deleted
from provisioner.engine.sending import Sender, WithheldError
from provisioner.engine.unrecorded import Unrecorded, unrecorded
from provisioner.errors import ConfigurationError, IntegrityError
from provisioner.pacing.gate import GateClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from provisioner.core.inventory import Found
    from provisioner.core.ownership import OwnershipTag
    from provisioner.core.policy import Policy
    from provisioner.core.versions import Version
    from provisioner.engine.ending import Ending
    from provisioner.engine.problems import ProblemLog
    from provisioner.engine.target import OpenTarget

UNCHECKED = (
    "it cannot be read; the credentials may be of another account. Set account_id in the target's configuration to "
    "have that checked"
)

TOO_NEW = "Get does not find it, but it is so new that AWS may not show it yet. Run again after the settle time"


class Deletions:
    """Deletes versions of one target.

    Args:
        target: which one.
        policy: the rules of the run.
        ending: halts the target.
        problems: records what is not deleted.
    """

    def __init__(self, target: OpenTarget, policy: Policy, ending: Ending, problems: ProblemLog) -> None:
        self._target = target
        self._policy = policy
        self._ending = ending
        self._problems = problems
        self._inventory = Inventory(target, policy.ownership_tag)
        self._unrecorded = Unrecorded(target, self._inventory)
        self._reported: set[str] = set()
        self._sender = Sender(target, Delete(target, problems), ending)

    async def due(
        self,
        names: Sequence[str] | None = None,
        *,
        only: Callable[[str], bool] | None = None,
        spare: Collection[str] = (),
    ) -> list[Version]:
        """What is to be deleted.

        Args:
            names: of these, None of the whole target.
            only: whether a name is selected; None: every name is.
            spare: ARNs that are not deleted.
        """
        if not self._policy.deletes:
            return []
        versions = await self._target.ledger.versions(self._target.name, names=names, roles={Role.SUPERSEDED})
        mortal = [one for one in versions if one.arn not in spare and (only is None or only(one.name))]
        return to_delete(mortal, self._policy.keep, adopted=self._policy.adopted)

    async def delete(self, version: Version) -> Verdict:
        """Delete ``version``: DONE if it is gone, AMBIGUOUS if it may be, REJECTED if it stays.

        What is not deleted is recorded with its reason.
        """
        job = Deletion(version)
        verdict = Verdict.REJECTED
        with contextlib.suppress(GateClosedError, WithheldError):
            try:
                verdict = await self._delete(job) if self._may_delete() else verdict
            except (CallError, IncompleteListError, IntegrityError, ConfigurationError) as error:
                self._ending.halt_target(Halt(error.reason, str(error)))
        # Whatever ended it: an attempt without an answer may have been executed, or may be yet.
        return Verdict.AMBIGUOUS if verdict is not Verdict.DONE and job.history.unanswered else verdict

    def _may_delete(self) -> bool:
        return not (self._ending.halt or self._ending.stop.requested)

    async def _delete(self, job: Deletion) -> Verdict:
        version, details = job.version, Details(())
        if not await self._is_superseded(version):
            return Verdict.REJECTED
        others = Details(())
        with self._ending.stop.ends() as looking:
            details = await self._inventory.details([version.arn])
            if gone := version.arn in details.gone:
                others = await self._unrecorded.under_name_of(version)
        if looking.cancelled_caught:
            return Verdict.REJECTED
        new = gone and self._may_lag(version)
        if gone and not (new or others.unread):
            await self._record_gone(version, others.found)
            return Verdict.DONE
        if others.unread:
            shown = f"List shows {min(others.unread)} under its name, which Get cannot read"
            code, why = NOT_DELETED, f"Get does not find it, and {shown}. Run again"
        elif new:
            code, why = NOT_DELETED, TOO_NEW
        else:
            code, why = self._objection(version, details.found)
        if code:
            await self._target.ledger.record([version.fact(Event.KEEP, code=code, message=why)])
            await self._problems.add([not_deleted(version, self._target.name, code, why)])
            return Verdict.REJECTED
        return (await self._sender.send(job)).verdict

    async def _record_gone(self, version: Version, others: Sequence[Found]) -> None:
        """Record that ``version`` is gone, and report ``others``, which may have taken its place."""
        # First, so that whoever dies in between reports them again.
        arns = [one.arn for one in others if one.arn not in self._reported]
        self._reported.update(arns)
        await self._problems.add_strays({arn: unrecorded(version, self._target.name, arn) for arn in arns})
        await self._target.ledger.record([version.fact(Event.GONE)])
        if version.deletion:  # an earlier attempt without an answer did it
            self._target.observer.version_deleted(version)
        else:
            self._target.observer.version_gone(version)

    def _may_lag(self, version: Version) -> bool:
        """Whether it is so new that nothing shows it yet; what was read once, or was to be deleted, is not."""
        if version.sent is None or version.deletion:
            return False
        return may_lag(version.sent, version.updated_at, self._target.clock.stamp(), self._policy.settle_s)

    async def _is_superseded(self, version: Version) -> bool:
        """Whether it still is: the manifest may have it again."""
        known = await self._target.ledger.versions(self._target.name, names=[version.name], roles={Role.SUPERSEDED})
        return any(one.arn == version.arn for one in known)

    def _objection(self, version: Version, found: Sequence[Found]) -> tuple[str, str]:
        """Why ``version`` must stay, code and text; "" if it was just read and is this ledger's own."""
        if not found:
            why = "it cannot be read" if self._target.place.checked else UNCHECKED
            return NOT_DELETED, why
        tag, policy = found[0].tag, self._policy
        if found[0].name != version.name:
            return FOREIGN, f"its name is {found[0].name!r}, not that of the entry"
        if tag is None:
            if not version.adopted and policy.ownership_tag:
                return FOREIGN, "it has no ownership tag"
        elif not self._is_ours(version, tag):
            return FOREIGN, f"its ownership tag is {tag}, which is not that of the entry"
        if (version.adopted or (tag is not None and tag.adopted)) and not policy.adopted:
            return NOT_DELETED, "it was adopted; --adopted deletes such algorithms too"
        return "", ""

    def _is_ours(self, version: Version, tag: OwnershipTag) -> bool:
        if tag.ledger_id == self._target.ledger.ledger_id:
            # Where a name has one algorithm, the reply to a second attempt names what the first one made.
            return self._policy.resend_is_safe or tag.attempt == (version.attempt or tag.attempt)
        # What is replaced as soon as it is taken over never got this ledger's tag.
        return version.adopted and tag.ledger_id == self._policy.take_over
