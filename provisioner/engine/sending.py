"""Sends one operation for one definition: turn, intent, call, verdict, record, count; with retries.

The order makes the promise. The intent is durable before the first byte leaves; the lease is checked after the request
is signed; the result is durable before it is counted. A process may be suspended between any two of these steps: an
intent that is too old is withdrawn, because the settle time counts from the intent.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic

import msgspec

from provisioner.core.conclusion import Conclusion, Next
from provisioner.core.entry import Event, Outcome
from provisioner.core.ownership import attempt_ids
from provisioner.core.quota import FAMILY, Quota
from provisioner.core.verdict import Loss, Reply, Verdict
from provisioner.engine.breaker import Admission, Breaker
from provisioner.engine.observer import Attempt, Halt
from provisioner.engine.operation import J
from provisioner.engine.probation import Probation
from provisioner.engine.retry import Retries, end_call
from provisioner.errors import (
    ConfigurationError,
    CredentialsError,
    IntegrityError,
    OutageError,
    ProvisionerError,
    Reason,
    UnsureLeaseError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.engine.ending import Ending
    from provisioner.engine.operation import Operation
    from provisioner.engine.target import OpenTarget

STALE_S = 5.0
"""A process that was suspended this long between its intent and its send makes a new intent."""
EXPIRIES = 3
"""How often one create may be refused for expired credentials, although they were refreshed in between."""

_STALE = Reply(loss=Loss.STALE, code="stale", message="the process was suspended before it was sent")
_CONTRADICTED = Conclusion(Verdict.AMBIGUOUS, (Event.DOUBT,), Next.DONE, Outcome.AMBIGUOUS)


def _nothing() -> None:
    """Nobody waits for it."""


class WithheldError(ProvisionerError):
    """A definition must not be sent in this run: its role or its target is refused, or its name is in doubt."""

    reason = Reason.DENIED


class Sender(Generic[J]):
    """Sends an operation for one job after another, any number at once.

    Args:
        target: to which to send.
        operation: to send.
        ending: halts the target.
    """

    def __init__(self, target: OpenTarget, operation: Operation[J], ending: Ending) -> None:
        self._target = target
        self._operation: Operation[J] = operation
        self._breaker = Breaker(target.aws.endpoint, operation.name)
        self._ending = ending
        self._attempt_ids = attempt_ids()
        self._probation = Probation(self._breaker, ending.sleep)
        self._retries = Retries(operation.gate, ending.sleep)

    def blocks(self, job: J) -> bool:
        """Whether the role of ``job`` is refused, so that nothing more is sent for it."""
        return self._breaker.admission(job.role) is Admission.BLOCKED

    async def send(self, job: J, created: Callable[[], None] = _nothing) -> Conclusion:
        """The conclusion of the last attempt, durable and counted.

        Args:
            job: for which to send.
            created: called when the reply names what it made, before that is durable.

        Raises:
            GateClosedError: the run ends early; nothing was sent.
            WithheldError: likewise, because its role is refused.
            LedgerError: the ledger cannot be written.
            LedgerLockedError: the lease is lost.
        """
        first = await self._attempt(job, created)
        # Most calls need no other attempt, and setting up tenacity takes 40 us, a third of a create.
        return (
            first if first.next is not Next.RESEND else await self._retries(first, partial(self._attempt, job, created))
        )

    async def _attempt(self, job: J, created: Callable[[], None]) -> Conclusion:
        gate = self._operation.gate
        while True:
            admission = self._breaker.admission(job.role)
            if admission is Admission.BLOCKED:
                raise WithheldError("the role is refused", where=job.role)
            async with self._probation.admitted(admission, job.role):
                # Replies that arrive during a wait, for the probation here and for the turn below, may change it.
                if admission is not Admission.FREE and self._breaker.admission(job.role) is not admission:
                    continue
                started_at = await gate.turn(again=job.attempts > 0)
                if self._breaker.admission(job.role) is admission:
                    return await self._send(job, started_at, created)
                gate.started()
                gate.unused(started_at)

    async def _send(self, job: J, started_at: float, created: Callable[[], None]) -> Conclusion:
        operation, target, clock = self._operation, self._target, self._target.clock
        attempt = next(self._attempt_ids)
        sent = msgspec.structs.replace(clock.stamp(), epoch=target.ledger.epoch(target.name))
        intent = operation.intent(job, attempt, sent)
        try:
            await target.ledger.record([intent])
        except BaseException:
            operation.gate.unused(started_at)
            raise
        finally:
            operation.gate.started()
        job.attempts += 1
        operation.intended(job, intent)
        if sent.age_s(clock.stamp()) > STALE_S:
            return await self._withdraw(job, started_at)
        target.observer.call_sent(operation.name)
        called_at = clock.monotonic()
        try:
            reply = await operation.call(job, attempt, target.lease.check)
        except UnsureLeaseError:
            conclusion = await self._withdraw(job, started_at)
            seconds = clock.monotonic() - called_at
            ended = Attempt(operation.name, job.name, attempt, job.attempts, conclusion.verdict, _STALE, seconds)
            target.observer.attempt_ended(ended)
            return conclusion
        except ProvisionerError:
            operation.gate.unused(started_at)
            raise
        seconds = clock.monotonic() - called_at
        number = job.attempts
        end_call(operation.gate, started_at, reply, target.observer)
        conclusion = operation.conclude(job, reply)
        job.history.add(reply, conclusion.verdict)
        self._count(job.role, reply, conclusion.verdict)
        conclusion = await self._record(job, conclusion, reply, created)
        target.observer.attempt_ended(
            Attempt(operation.name, job.name, attempt, number, conclusion.verdict, reply, seconds),
        )
        await operation.count(job, conclusion, reply)
        if conclusion.verdict is not Verdict.CREATED:
            await self._follow_up(job, conclusion, reply)
        return conclusion

    async def _withdraw(self, job: J, started_at: float) -> Conclusion:
        """Record that what was about to be sent was not: that commit, or none, also shows who has the lease."""
        self._operation.gate.unused(started_at)
        return await self._record(job, self._operation.conclude(job, _STALE), _STALE)

    def _count(self, role: str, reply: Reply, verdict: Verdict) -> None:
        breaker, observer = self._breaker, self._target.observer
        before = breaker.outage
        breaker.record(role, reply, verdict, self._target.clock.monotonic())
        if breaker.outage and not before and breaker.halt is None:
            observer.outage_began(self._operation.name, str(reply))
        elif before and not breaker.outage:
            observer.outage_ended(self._operation.name)

    async def _record(
        self, job: J, conclusion: Conclusion, reply: Reply, created: Callable[[], None] = _nothing
    ) -> Conclusion:
        """Make what follows from an attempt durable, in one commit even for two events."""
        try:
            facts = await self._operation.facts(job, conclusion, reply)
            if conclusion.verdict is Verdict.CREATED:
                # Only then: what follows from a refusal, such as a halt, must come before the next call.
                created()
            await self._target.ledger.record(facts)
        except (IntegrityError, ConfigurationError) as error:
            wrong = msgspec.structs.replace(reply, code="integrity", message=str(error))
            await self._target.ledger.record(self._operation.contradicted(job, wrong))
            self._ending.halt_target(Halt(error.reason, str(error)))
            return _CONTRADICTED
        return conclusion

    async def _follow_up(self, job: J, conclusion: Conclusion, reply: Reply) -> None:
        if conclusion.verdict is Verdict.QUOTA and reply.quota_value is not None:
            said = Quota(reply.quota_value, self._target.clock.wall())
            await self._target.ledger.learn(self._target.name, FAMILY, msgspec.json.encode(said))
        if conclusion.verdict is Verdict.QUOTA and conclusion.outcome is not None:
            self._ending.halt_target(Halt(Reason.QUOTA, quota_text(reply, replaces=job.incoming)))
        elif conclusion.verdict is Verdict.NOT_CREATED and reply.expired:
            await self._refresh(job, reply)
        if self._breaker.halt is not None:
            self._ending.halt_target(self._breaker.halt)

    async def _refresh(self, job: J, reply: Reply) -> None:
        """Fetch fresh credentials; if there are none, halt the target."""
        why, reason = str(reply), Reason.DENIED
        try:
            if job.history.expired < EXPIRIES and await self._target.aws.refresh_credentials():
                return
        except (CredentialsError, OutageError) as error:
            why, reason = str(error), error.reason
        what = f"the credentials have expired and could not be refreshed: {why}. Renew them, then run again"
        self._ending.halt_target(Halt(reason, what))


def quota_text(reply: Reply, *, replaces: bool) -> str:
    """The message for a 402 to a create, or to a replacement, with the quota's name and value if the reply has them.

    What the reply says besides is repeated only where these do not say it already.
    """
    value = f" of {reply.quota_value:g}" if reply.quota_value is not None else ""
    quota = f"the quota{value} for {reply.quota_name}" if reply.quota_name else f"a service quota{value}"
    message = "" if reply.quota_name and value else f": {reply.message.rstrip('. ')}"
    hint = "Raise the quota"
    if replaces:
        hint += ", or use --replace-order delete-first, which deletes each old algorithm before it creates the new one"
    return f"{quota} is reached{message}. {hint}, then run again"
