"""Sends one operation for one definition: turn, intent, call, verdict, record, count; with retries.

The order makes the promise. The intent is durable before the first byte leaves; the lease is checked after the request
is signed; the result is durable before it is counted. A process may be suspended between any two of these steps: an
intent that is too old is withdrawn, because the settle time counts from the intent.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from provisioner.core.conclusion import Conclusion, Next
from provisioner.core.entry import Entry, Event, Fact, Outcome, State
from provisioner.core.ownership import attempt_ids
from provisioner.core.roles import pass_role_hint
from provisioner.core.verdict import Reply, Verdict
from provisioner.engine.breaker import Admission
from provisioner.engine.observer import Attempt, Halt
from provisioner.engine.probation import Probation
from provisioner.engine.retry import CreateRetries, end_call
from provisioner.errors import ConfigurationError, CredentialsError, IntegrityError, ProvisionerError, Reason

if TYPE_CHECKING:
    from provisioner.engine.breaker import Breaker
    from provisioner.engine.ending import Ending
    from provisioner.engine.job import Job
    from provisioner.engine.operation import Operation
    from provisioner.engine.problems import ProblemLog
    from provisioner.engine.target import OpenTarget

STALE_S = 5.0
"""A process that was suspended this long between its intent and its send makes a new intent."""
EXPIRIES = 3
"""How often one create may be refused for expired credentials, although they were refreshed in between."""

_NOT_SENT = Conclusion(Verdict.NOT_CREATED, (Event.RELEASE,), Next.RESEND)
_CONTRADICTED = Conclusion(Verdict.AMBIGUOUS, (Event.DOUBT,), Next.DONE, Outcome.AMBIGUOUS)


class WithheldError(ProvisionerError):
    """A definition must not be sent in this run: its role or its target is refused, or its name is in doubt."""

    reason = Reason.DENIED


class Sender:
    """Sends an operation for one definition after another, any number at once.

    Args:
        target: to which to send.
        operation: to send.
        breaker: of the target.
        ending: halts the target.
        problems: records failures.
    """

    def __init__(
        self, target: OpenTarget, operation: Operation, breaker: Breaker, ending: Ending, problems: ProblemLog
    ) -> None:
        self._target = target
        self._operation = operation
        self._breaker = breaker
        self._ending = ending
        self._problems = problems
        self._attempt_ids = attempt_ids()
        self._probation = Probation(breaker, ending.sleep)
        self._retries = CreateRetries(operation.gate, ending.sleep)

    async def send(self, job: Job) -> Conclusion:
        """The conclusion of the last attempt, durable and counted.

        Raises:
            GateClosedError: the run ends early; the definition stays planned.
            WithheldError: likewise, because its role is refused.
            LedgerError: the ledger cannot be written.
            LedgerLockedError: the lease is lost.
        """
        first = await self._attempt(job)
        # Most creates need no other attempt, and setting up tenacity takes 40 us, a third of a create.
        return first if first.next is not Next.RESEND else await self._retries(first, partial(self._attempt, job))

    async def _attempt(self, job: Job) -> Conclusion:
        gate = self._operation.gate
        while True:
            admission = self._breaker.admission(job.role)
            self._refuse(admission, job)
            async with self._probation.admitted(admission, job.role):
                # Replies that arrive during a wait, for the probation here and for the turn below, may change it.
                if admission is not Admission.FREE and self._breaker.admission(job.role) is not admission:
                    continue
                started_at = await gate.turn(again=job.attempts > 0)
                if self._breaker.admission(job.role) is admission:
                    return await self._send(job, started_at)
                gate.unused(started_at)

    def _refuse(self, admission: Admission, job: Job) -> None:
        if admission is Admission.BLOCKED:
            raise WithheldError("the role is refused", where=job.role)

    async def _send(self, job: Job, started_at: float) -> Conclusion:
        operation, target, clock = self._operation, self._target, self._target.clock
        attempt, sent = next(self._attempt_ids), clock.stamp()
        intent = operation.intent(job, attempt, sent)
        try:
            await target.ledger.record([intent])
        except BaseException:
            operation.gate.unused(started_at)
            raise
        job.attempts += 1
        job.entry = _intended(intent, job.arn)
        if sent.age_s(clock.stamp()) > STALE_S:
            operation.gate.unused(started_at)
            stale = Reply(code="stale", message="the process was suspended before it was sent")
            return await self._record(job, _NOT_SENT, stale)
        target.observer.call_sent(operation.name)
        try:
            reply = await operation.call(job, attempt, target.lease.check)
        except ProvisionerError:
            operation.gate.unused(started_at)
            raise
        end_call(operation.gate, started_at, reply, target.observer)
        conclusion = operation.conclude(job, reply)
        job.history.add(reply, conclusion.verdict)
        self._breaker.record(job.role, reply, conclusion.verdict, clock.monotonic())
        conclusion = await self._record(job, conclusion, reply)
        seconds = clock.monotonic() - started_at
        target.observer.attempt_ended(
            Attempt(operation.name, job.name, attempt, conclusion.verdict, reply, seconds),
        )
        if conclusion.verdict is Verdict.CREATED:
            target.observer.outcome_changed(Outcome.CREATED)
        else:
            await self._follow_up(job, conclusion, reply)
        return conclusion

    async def _record(self, job: Job, conclusion: Conclusion, reply: Reply) -> Conclusion:
        """Make what follows from an attempt durable, in one commit even for two events."""
        entry = job.entry
        assert entry is not None  # noqa: S101  an attempt was made
        if conclusion.verdict is Verdict.CREATED:
            try:
                await self._target.ledger.record([await self._operation.success(job, entry.attempt, reply)])
            except (IntegrityError, ConfigurationError) as error:
                wrong = Reply(status=reply.status, code="integrity", message=str(error))
                await self._target.ledger.record([self._fact(entry, Event.DOUBT, wrong)])
                self._ending.halt_target(Halt(error.reason, str(error)))
                return _CONTRADICTED
            return conclusion
        await self._target.ledger.record([self._fact(entry, event, reply) for event in conclusion.events])
        return conclusion

    def _fact(self, entry: Entry, event: Event, reply: Reply) -> Fact:
        if event is Event.ABSENT:
            message = "the service allows one algorithm per name: a resend is harmless"
            return Fact(entry.target, entry.name, event, message=message, after=entry.attempt)
        code = reply.code or str(reply.status or reply.loss)
        # The bytes may have left at any time until now: the process may have been suspended after its intent.
        sent = entry.sent.until(self._target.clock.stamp()) if entry.sent and event is Event.DOUBT else None
        return Fact(entry.target, entry.name, event, sent=sent, code=code, message=reply.message, after=entry.attempt)

    async def _follow_up(self, job: Job, conclusion: Conclusion, reply: Reply) -> None:
        if conclusion.outcome is not None:
            self._target.observer.outcome_changed(conclusion.outcome)
        if conclusion.outcome in {Outcome.FAILED, Outcome.PARKED}:
            code = reply.code or conclusion.outcome
            await self._problems.add_row(job.row, code, _problem_text(job, conclusion, reply))
        if conclusion.verdict is Verdict.QUOTA:
            self._ending.halt_target(Halt(Reason.QUOTA, quota_text(reply)))
        elif conclusion.verdict is Verdict.NOT_CREATED and reply.expired:
            await self._refresh(job, reply)
        if self._breaker.halt is not None:
            self._ending.halt_target(self._breaker.halt)

    async def _refresh(self, job: Job, reply: Reply) -> None:
        """Fetch fresh credentials; if there are none, halt the target."""
        why = str(reply)
        try:
            if job.history.expired < EXPIRIES and await self._target.aws.refresh_credentials():
                return
        except CredentialsError as error:
            why = str(error)
        what = f"the credentials have expired and could not be refreshed: {why}. Renew them, then run again"
        self._ending.halt_target(Halt(Reason.DENIED, what))


def _intended(intent: Fact, arn: str) -> Entry:
    """The entry after its committed intent."""
    return Entry(
        intent.target,
        intent.name,
        State.SENT,
        intent.digest or "",
        intent.tags_digest or "",
        arn,
        attempt=intent.attempt or "",
        sent=intent.sent,
    )


def _problem_text(job: Job, conclusion: Conclusion, reply: Reply) -> str:
    """The message of a definition that failed or was parked: a denied one is about its role."""
    text = str(reply)
    return f"{text.rstrip('. ')}. {pass_role_hint(job.role)}" if conclusion.verdict is Verdict.DENIED else text


def quota_text(reply: Reply) -> str:
    """The message for a 402, with the quota's name and value if the reply has them."""
    quota = f"{reply.quota_name or 'a service quota'}"
    value = f" of {reply.quota_value:g}" if reply.quota_value is not None else ""
    message = reply.message.rstrip(". ")
    return f"{quota}{value} is reached: {message}. Raise the quota, then run again"
