"""Operations: what can be done to AWS for an entry, one class each, so that the engine knows none of them by name.

An operation defines its gate, its intent (what is recorded before it leaves), its call, the fact that records its
success, and what follows from its reply. Whether an unanswered operation took effect is proven by a sweep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from provisioner.core.conclusion import Conclusion, conclude
from provisioner.core.entry import Event, Fact
from provisioner.core.ownership import OwnershipTag

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.core.entry import Stamp
    from provisioner.core.policy import Policy
    from provisioner.core.verdict import Reply
    from provisioner.engine.job import Job
    from provisioner.engine.target import OpenTarget
    from provisioner.pacing.gate import Gate


class Operation(Protocol):
    """One kind of mutating call."""

    @property
    def name(self) -> str:
        """The name under which it is counted and logged."""

    @property
    def gate(self) -> Gate:
        """The rate limiter of its family in this target."""

    def intent(self, job: Job, attempt: str, sent: Stamp) -> Fact:
        """The fact that must be durable before its first byte leaves."""

    async def call(self, job: Job, attempt: str, may_send: Callable[[], None]) -> Reply:
        """Send it once. ``may_send`` is called when the request is signed, right before its first byte."""

    async def success(self, job: Job, attempt: str, reply: Reply) -> Fact:
        """The fact that records its success.

        Raises:
            IntegrityError: the reply contradicts what is known.
            ConfigurationError: it shows that another target is in this place.
        """

    def conclude(self, job: Job, reply: Reply) -> Conclusion:
        """What follows from its reply."""


class Create:
    """``CreateConfiguredModelAlgorithm``. It has no client token, so an unanswered one is never sent again blindly."""

    name = "create"

    def __init__(self, target: OpenTarget, policy: Policy) -> None:
        self.gate = target.creates
        self._target = target
        self._tag_key = policy.ownership_tag
        self._resend_is_safe = policy.resend_is_safe

    def intent(self, job: Job, attempt: str, sent: Stamp) -> Fact:
        """The entry is sent, with this attempt."""
        row = job.row.canonical
        return Fact(
            self._target.name,
            job.name,
            Event.INTEND,
            digest=row.digest,
            tags_digest=row.tags_digest,
            attempt=attempt,
            sent=sent,
        )

    async def call(self, job: Job, attempt: str, may_send: Callable[[], None]) -> Reply:
        """The definition as it stands in the manifest, with the ownership tag."""
        row = job.row.canonical
        tag = OwnershipTag(self._target.ledger.ledger_id, row.digest, attempt)
        body = row.request({self._tag_key: str(tag)} if self._tag_key else {})
        return await self._target.aws.creates.create(body, may_send)

    async def success(self, job: Job, attempt: str, reply: Reply) -> Fact:
        """The entry is created, with the ARN of the reply."""
        await self._target.place.confirm(reply.arn)
        return Fact(
            self._target.name, job.name, Event.CONFIRM, arn=reply.arn, after=attempt, request_id=reply.request_id
        )

    def conclude(self, job: Job, reply: Reply) -> Conclusion:
        """See :func:`provisioner.core.conclusion.conclude`."""
        return conclude(reply, job.history, resend_is_safe=self._resend_is_safe)
