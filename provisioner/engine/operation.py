"""Operations: what can be done to AWS for an entry, one class each, so that the sender knows none of them by name.

An operation defines its gate, its intent (what is recorded before it leaves), its call, what follows from its reply and
what is recorded then, and how it is counted. Whether an unanswered create took effect is proven by a sweep; a change of
tags and a deletion may be sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from provisioner.aws.faces import CallError
from provisioner.core.conclusion import Conclusion, Next, conclude, conclude_delete, conclude_tags
from provisioner.core.entry import Entry, Event, Fact, Outcome, State
from provisioner.core.ownership import OwnershipTag
from provisioner.core.planner import TAGGING, TAGS_REFUSED, TAGS_REPEATED, drifted
from provisioner.core.problem import Problem
from provisioner.core.roles import pass_role_hint
from provisioner.core.sweep import DELETE_FIRST, NAMES_UNIQUE
from provisioner.core.tags import keys_set, may_remove
from provisioner.core.verdict import MULTIPLE_CHOICES, Loss, Reply, Verdict, is_gone
from provisioner.engine.job import Deletion, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioner.core.entry import Stamp
    from provisioner.core.policy import Policy
    from provisioner.core.versions import Version
    from provisioner.engine.doubts import Doubts
    from provisioner.engine.problems import ProblemLog
    from provisioner.engine.room import Room
    from provisioner.engine.target import OpenTarget
    from provisioner.pacing.gate import Gate

J = TypeVar("J", Job, Deletion)
J_contra = TypeVar("J_contra", Job, Deletion, contravariant=True)


class Operation(Protocol[J_contra]):
    """One kind of mutating call."""

    @property
    def name(self) -> str:
        """The name under which it is counted and logged."""

    @property
    def gate(self) -> Gate:
        """The rate limiter of its family in this target."""

    def intent(self, job: J_contra, attempt: str, sent: Stamp) -> Fact:
        """The fact that must be durable before its first byte leaves."""

    def intended(self, job: J_contra, intent: Fact) -> None:
        """``intent`` is durable."""

    async def call(self, job: J_contra, attempt: str, may_send: Callable[[], None]) -> Reply:
        """Send it once. ``may_send`` is called when the request is signed, right before its first byte."""

    def conclude(self, job: J_contra, reply: Reply) -> Conclusion:
        """What follows from its reply."""

    async def facts(self, job: J_contra, conclusion: Conclusion, reply: Reply) -> list[Fact]:
        """What makes ``conclusion`` durable, in one commit.

        Raises:
            IntegrityError: the reply contradicts what is known.
            ConfigurationError: it shows that another target is in this place.
        """

    def contradicted(self, job: J_contra, reply: Reply) -> list[Fact]:
        """What is recorded if :meth:`facts`, or the ledger, refuses."""

    async def count(self, job: J_contra, conclusion: Conclusion, reply: Reply) -> None:
        """Count what became of it, and report what went wrong; everything is durable."""


def code_of(reply: Reply) -> str:
    """A short code for what a reply reports, never ""."""
    return reply.code or str(reply.status or reply.loss)


class Create:
    """``CreateConfiguredModelAlgorithm``. It has no client token, so an unanswered one is never sent again blindly."""

    name = "create"

    def __init__(self, target: OpenTarget, policy: Policy, problems: ProblemLog, room: Room, doubts: Doubts) -> None:
        self.gate = target.creates
        self._doubts = doubts
        self._room = room
        self._target = target
        self._problems = problems
        self._tag_key = policy.ownership_tag
        self._resend_is_safe = policy.resend_is_safe

    def intent(self, job: Job, attempt: str, sent: Stamp) -> Fact:
        """The entry, or its replacement, is sent, with this attempt."""
        row = job.row
        return Fact(
            self._target.name,
            job.name,
            Event.INTEND,
            digest=row.digest,
            tags_digest=row.tags_digest,
            attempt=attempt,
            sent=sent,
            tag_keys=row.tag_keys,
            incoming=job.incoming,
        )

    def intended(self, job: Job, intent: Fact) -> None:
        """Keep the entry as it is now."""
        job.entry = Entry(
            intent.target,
            intent.name,
            State.SENT,
            intent.digest or "",
            intent.tags_digest or "",
            "" if job.incoming else job.arn,
            attempt=intent.attempt or "",
            sent=intent.sent,
            incoming=job.incoming,
        )

    async def call(self, job: Job, attempt: str, may_send: Callable[[], None]) -> Reply:
        """The definition as it stands in the manifest, with the ownership tag."""
        row = job.row.canonical
        tag = OwnershipTag(self._target.ledger.ledger_id, row.digest, attempt)
        body = row.request({self._tag_key: str(tag)} if self._tag_key else {})
        reply = await self._target.aws.creates.create(body, may_send)
        if job.incoming and reply.arn and reply.arn == job.arn:
            # The service returned the algorithm that has the name: nothing new was made.
            return Reply(status=400, code=NAMES_UNIQUE, message=DELETE_FIRST, request_id=reply.request_id)
        return reply

    def conclude(self, job: Job, reply: Reply) -> Conclusion:
        """See :func:`provisioner.core.conclusion.conclude`."""
        # A replacement is never sent again blindly: the algorithm that it replaces is no proof that it was refused.
        safe = self._resend_is_safe and not job.incoming
        room_comes = self._room.comes(replaces=job.incoming)
        return conclude(reply, job.history, resend_is_safe=safe, room_comes=room_comes)

    async def facts(self, job: Job, conclusion: Conclusion, reply: Reply) -> list[Fact]:
        """The entry is created, with the ARN of the reply, or what else the reply means for it."""
        entry = _entry(job)
        if conclusion.verdict is Verdict.CREATED:
            await self._target.place.show(reply.arn)
            confirm = entry.fact(Event.CONFIRM)
            return [msgspec.structs.replace(confirm, arn=reply.arn, request_id=reply.request_id)]
        return [self._fact(entry, event, reply) for event in conclusion.events]

    def contradicted(self, job: Job, reply: Reply) -> list[Fact]:
        """Whether an algorithm exists is not known."""
        self._doubts.contradict(reply)
        return [self._fact(_entry(job), Event.DOUBT, reply)]

    def _fact(self, entry: Entry, event: Event, reply: Reply) -> Fact:
        if event is Event.ABSENT:
            return entry.fact(event, message="the service allows one algorithm per name: a resend is harmless")
        # The bytes may have left at any time until now: the process may have been suspended after its intent.
        sent = entry.sent.until(self._target.clock.stamp()) if entry.sent and event is Event.DOUBT else None
        fact = entry.fact(event, code=code_of(reply), message=reply.message, sent=sent)
        return msgspec.structs.replace(fact, request_id=reply.request_id)

    async def count(self, job: Job, conclusion: Conclusion, reply: Reply) -> None:
        """Count the outcome of the definition."""
        self._doubts.note(job, reply)
        if conclusion.verdict is Verdict.CREATED:
            self._target.observer.outcome_changed(job.outcome)
        elif conclusion.outcome is not None:
            self._target.observer.outcome_changed(conclusion.outcome)
            if conclusion.outcome in {Outcome.FAILED, Outcome.PARKED}:
                text = reply.message or str(reply)
                if conclusion.verdict is Verdict.DENIED:
                    text = f"{text.rstrip('. ')}. {pass_role_hint(job.role)}"
                job.failure, job.failure_text = reply.code or str(conclusion.outcome), str(reply)
                await self._problems.add_row(job.row, job.failure, text)


class Retag:
    """``TagResource`` and ``UntagResource``: makes the tags of an algorithm those of its definition.

    The tags are read first, so that only differences are sent. A tag that neither the manifest names nor this ledger
    set is somebody else's: it stays, unless the policy says otherwise.

    Args:
        target: with the algorithms.
        policy: the rules of the run.
        problems: records what went wrong.
        gone: the code of a definition whose algorithm turns out to be gone.
    """

    name = "tag"

    def __init__(self, target: OpenTarget, policy: Policy, problems: ProblemLog, *, gone: str) -> None:
        self.gate = target.tags
        self._gone = gone
        self._target = target
        self._policy = policy
        self._problems = problems

    def intent(self, job: Job, attempt: str, sent: Stamp) -> Fact:
        """From now on its tags may be those of the definition, or partly so."""
        del attempt
        keys = keys_set(_entry(job)) | set(job.row.tag_keys.split(",")) - {""}
        return Fact(
            self._target.name,
            job.name,
            Event.TAG,
            tags_digest=job.row.tags_digest,
            sent=sent,
            code=TAGGING,
            message="its tags are being changed",
            tag_keys=",".join(sorted(keys)),
            after=_entry(job).attempt,
        )

    def intended(self, job: Job, intent: Fact) -> None:
        """Keep what may have been set."""
        job.entry = msgspec.structs.replace(_entry(job), tag_keys=intent.tag_keys or "", sent=intent.sent)

    async def call(self, job: Job, attempt: str, may_send: Callable[[], None]) -> Reply:
        """Set what differs, then remove what is not wanted any more."""
        del attempt
        control, entry = self._target.aws.control, _entry(job)
        self._target.observer.call_sent("get")
        try:
            actual = (await control.get_algorithm(entry.arn)).tags
        except CallError as error:
            # What cannot be read is no reply to the change, whatever its status is.
            unread = error.reply.status < MULTIPLE_CHOICES and error.reply.loss is None
            return Reply(loss=Loss.UNKNOWN, message=str(error)) if unread else error.reply
        wanted = self._wanted(job, actual)
        set_ = {key: value for key, value in wanted.items() if actual.get(key) != value}
        removed = sorted(
            key for key in actual.keys() - wanted.keys() if may_remove(key, actual[key], entry, self._policy)
        )
        reply = Reply(status=200)
        if set_:
            reply = await control.tag_algorithm(entry.arn, set_, may_send)
        if removed and conclude_tags(reply, job.history).verdict is Verdict.DONE:
            reply = await control.untag_algorithm(entry.arn, removed, may_send)
        return reply

    def _wanted(self, job: Job, actual: Mapping[str, str]) -> dict[str, str]:
        wanted, entry, key = dict(job.row.definition.tags), _entry(job), self._policy.ownership_tag
        if key and entry.adopted:
            ours = str(OwnershipTag(self._target.ledger.ledger_id, entry.digest, entry.attempt))
            if not any(value == ours for value in actual.values()):
                wanted[key] = ours
        return wanted

    def conclude(self, job: Job, reply: Reply) -> Conclusion:
        """See :func:`provisioner.core.conclusion.conclude_tags`."""
        return conclude_tags(reply, job.history)

    async def facts(self, job: Job, conclusion: Conclusion, reply: Reply) -> list[Fact]:
        """Its tags are those of the definition, or AWS refuses them."""
        if conclusion.verdict is Verdict.DONE:
            entry = _entry(job)
            again = entry.code == TAGGING and entry.tags_digest == job.row.tags_digest
            update = entry.fact(Event.UPDATE, code=TAGS_REPEATED if again or job.history.unanswered else "")
            facts = [msgspec.structs.replace(update, tag_keys=job.row.tag_keys, request_id=reply.request_id)]
            if entry.digest != job.row.digest:
                facts.append(drifted(self._target.name, job.name, entry.arn))
            return facts
        # A refusal is no answer to an earlier attempt, which may take effect yet.
        code = TAGGING if job.history.unanswered else TAGS_REFUSED
        return [_entry(job).fact(event, code=code, message=str(reply)) for event in conclusion.events]

    def contradicted(self, job: Job, reply: Reply) -> list[Fact]:
        """Nothing contradicts a change of tags."""
        del job, reply
        return []

    async def count(self, job: Job, conclusion: Conclusion, reply: Reply) -> None:
        """Count the outcome of the definition."""
        if conclusion.verdict is Verdict.DONE:
            self._target.observer.outcome_changed(job.outcome, job.counted)
        elif conclusion.outcome is not None:
            self._target.observer.outcome_changed(conclusion.outcome, job.counted)
            code, why = TAGS_REFUSED, f"its tags could not be changed: {reply}"
            if is_gone(reply):
                then = "Once the settle time has passed, a run creates it again"
                code, why = self._gone, f"its tags were not changed, because {job.arn} is gone from AWS. {then}"
            await self._problems.add_row(job.row, code, why)


class Delete:
    """``DeleteConfiguredModelAlgorithm`` of a superseded version."""

    name = "delete"

    def __init__(self, target: OpenTarget, problems: ProblemLog) -> None:
        self.gate = target.deletes
        self._target = target
        self._problems = problems

    def intent(self, job: Deletion, attempt: str, sent: Stamp) -> Fact:
        """It may be gone from now on."""
        return msgspec.structs.replace(job.version.fact(Event.DELETING), attempt=attempt, sent=sent)

    def intended(self, job: Deletion, intent: Fact) -> None:
        """The version stays as it is."""

    async def call(self, job: Deletion, attempt: str, may_send: Callable[[], None]) -> Reply:
        """Delete it."""
        del attempt
        await self._target.place.confirm(job.version.arn)
        return await self._target.aws.control.delete_algorithm(job.version.arn, may_send)

    def conclude(self, job: Deletion, reply: Reply) -> Conclusion:
        """See :func:`provisioner.core.conclusion.conclude_delete`."""
        return conclude_delete(reply, job.history)

    async def facts(self, job: Deletion, conclusion: Conclusion, reply: Reply) -> list[Fact]:
        """It is gone, or why it is not."""
        gone = conclusion.verdict is Verdict.DONE
        code, message = ("", "") if gone else (code_of(reply), reply.message)
        facts = [
            job.version.fact(event, code=code, message=message, request_id=reply.request_id)
            for event in conclusion.events
        ]
        # A refusal is no answer to an earlier attempt, of this run or another, which may take effect yet.
        outstanding = job.version.deletion or job.history.unanswered
        return facts if gone or outstanding else [msgspec.structs.replace(fact, attempt="") for fact in facts]

    def contradicted(self, job: Deletion, reply: Reply) -> list[Fact]:
        """Nothing contradicts a deletion."""
        del job, reply
        return []

    async def count(self, job: Deletion, conclusion: Conclusion, reply: Reply) -> None:
        """Count a deletion; report what is not deleted, and why."""
        version = job.version
        if conclusion.verdict is Verdict.DONE:
            self._target.observer.version_deleted(version)
        elif conclusion.next is Next.DONE:
            await self._problems.add([not_deleted(version, self._target.name, code_of(reply), str(reply))])


def not_deleted(version: Version, target: str, code: str, why: str) -> Problem:
    """The problem that ``version`` was not deleted."""
    hint = ""
    if code in {"409", "ConflictException"}:
        hint = ". Remove what depends on it (a configured model algorithm association), then run again"
    message = f"{version.arn} is {version.reason} and could not be deleted: {why.rstrip('. ')}{hint}"
    return Problem("", 0, version.name, "superseded", message, target=target)


def _entry(job: Job) -> Entry:
    assert job.entry is not None  # noqa: S101  an attempt was made, or the job was made with it
    return job.entry
