"""What a run does for one target, a job at a time: creates, replacements, changes of tags; what is left for the next.

A worker takes a slot in flight and passes the job to the sender, which waits for the gate's turn, commits the intent,
sends, decides on the reply, and commits the result; only then is it counted.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from provisioner.core.conclusion import Next
from provisioner.core.entry import Entry, Event, Fact, Outcome, State
from provisioner.core.planner import TAGGING, TAGS_REPEATED, Action
from provisioner.core.verdict import Verdict, is_conflict
from provisioner.engine.caps import Caps
from provisioner.engine.job import Job
from provisioner.engine.operation import Create, Retag
from provisioner.engine.sending import Sender, WithheldError
from provisioner.engine.workers import Workers
from provisioner.errors import IllegalTransitionError, Reason
from provisioner.pacing.gate import GateClosedError

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from provisioner.core.policy import Policy
    from provisioner.engine.deletion_queue import DeletionQueue
    from provisioner.engine.doubts import Doubts
    from provisioner.engine.ending import Ending
    from provisioner.engine.planning import Planned
    from provisioner.engine.problems import ProblemLog
    from provisioner.engine.resolver import Resolver
    from provisioner.engine.room import Room
    from provisioner.engine.target import OpenTarget
    from provisioner.manifest.reader import Row
    from provisioner.pacing.gate import Slot

LEFT_AT_ONCE = 256
"""Definitions that one commit records as planned."""


class Work:
    """Sends what one target needs.

    Args:
        target: which one.
        policy: the rules of the run.
        ending: of the run in this target.
        problems: records what fails.
        room: at a full quota.
        deletions: of what is replaced.
        resolver: gets what is unanswered.
        doubts: what came over a connection that mixes up its replies.
        gone: the code of a definition whose algorithm is gone when its tags are to be changed.

    Attributes:
        unanswered: what waits for the resolver, by name.
    """

    def __init__(  # noqa: PLR0913  the parts that a run consists of
        self,
        target: OpenTarget,
        policy: Policy,
        ending: Ending,
        *,
        problems: ProblemLog,
        room: Room,
        deletions: DeletionQueue,
        resolver: Resolver,
        doubts: Doubts,
        gone: str,
    ) -> None:
        self.unanswered: dict[str, Job] = {}
        self._target = target
        self._policy = policy
        self._ending = ending
        self._problems = problems
        self._room = room
        self._deletions = deletions
        self._resolver = resolver
        self._caps = Caps(policy)
        self._creates = Sender(target, Create(target, policy, problems, room, doubts), ending)
        self._tags = Sender(target, Retag(target, policy, problems, gone=gone), ending)
        self._create_workers: Workers[Job]
        self._tag_workers: Workers[Job]
        self._left: list[Job] = []
        self._after_replacements: list[Job] = []

    def start(self, group: TaskGroup, limit: int) -> None:
        """Work in ``group``, on at most ``limit`` creates and ``limit`` changes of tags at once."""
        self._create_workers = Workers(group, self._target.creates, limit, self._work)
        self._tag_workers = Workers(group, self._target.tags, limit, self._retag)

    def expect(self, definitions: int) -> None:
        """About so many definitions need something, of those that were read so far."""
        self._caps.expect(definitions)

    def add(self, job: Job) -> None:
        """Queue a create."""
        self._create_workers.add(job)

    def add_held_back(self) -> None:
        """Queue the creates that waited until everything was replaced."""
        for job in self._after_replacements:
            self.add(job)
        self._after_replacements.clear()

    async def until_few_wait(self) -> None:
        """Wait until few jobs wait for a worker."""
        await self._create_workers.until_few_wait()
        await self._tag_workers.until_few_wait()

    def _add_create(self, job: Job) -> None:
        """Queue a create that replaces nothing."""
        if self._policy.delete_first:
            # The room that a deletion makes at a full quota is for the algorithm that takes its place.
            self._after_replacements.append(job)
        else:
            self.add(job)

    async def do(self, one: Planned) -> None:
        """Start what a step needs besides its facts."""
        step, row, entry = one.step, one.row, one.step.entry
        for duplicate in step.duplicates:
            if step.found is not None:
                await self._problems.add_duplicate(step.found, duplicate)
        arn = entry.arn if entry else ""
        if step.action in {Action.CREATE, Action.RECREATE}:
            self._add_create(Job(row, arn, outcome=Outcome.CREATED, parked=is_parked(entry)))
        elif step.action is Action.REPLACE and self._policy.delete_first and entry is not None:
            self.add(Job(row, arn, outcome=Outcome.REPLACED, entry=entry))
        elif step.action is Action.REPLACE:
            self.add(Job(row, arn, outcome=Outcome.REPLACED, incoming=True))
        elif step.action is Action.AMBIGUOUS and entry is not None:
            await self._wait_for_answer(Job(row, arn, outcome=Outcome.CREATED), entry)
        elif step.action is Action.UPDATE:
            self._tag_workers.add(Job(row, arn, outcome=Outcome.UPDATED, entry=entry))
        elif step.retag and entry is not None:
            self.retag_besides(row, entry, step.outcome)
        if step.action is Action.RECOVER:
            await self._deletions.add_due([row.name])

    def retag_besides(self, row: Row, entry: Entry, outcome: Outcome) -> None:
        """Change the tags of a definition that is counted as ``outcome`` already, and stays so if that succeeds."""
        job = Job(row, entry.arn, outcome=outcome, entry=entry)
        job.counted = outcome
        self._tag_workers.add(job)

    async def _wait_for_answer(self, job: Job, entry: Entry) -> None:
        """Keep a definition whose earlier create is unanswered for the resolver, unless a resend is harmless."""
        job.incoming = entry.incoming
        job.outcome = Outcome.REPLACED if entry.incoming else Outcome.CREATED
        # Where a second create returns the ARN of the first, another ledger may have made that one meanwhile.
        if self._policy.names == "unique" and not entry.incoming and not is_conflict(entry.code):
            message = f"names are {self._policy.names}: a resend is harmless"
            await self._target.ledger.record([entry.fact(Event.ABSENT, message=message)])
            self._resolver.forget(entry.name)
            self._target.observer.outcome_changed(None, Outcome.AMBIGUOUS)
            self.add(job)
        else:
            self.unanswered[job.name] = job

    async def _work(self, job: Job) -> None:
        try:
            await self._create(job)
        except (GateClosedError, WithheldError):
            await self.leave(job)
        except IllegalTransitionError:
            # Unless it is a bug, there is a second writer: then the lease is lost, and that is the error to report.
            await self._target.lease.confirm()
            raise

    async def _create(self, job: Job) -> None:
        if self._ending.halt or self._creates.blocks(job):
            raise WithheldError("nothing more is sent in this run")
        if not job.attempts and not self._caps.may_create():
            self._target.observer.bound_reached()
            raise WithheldError("this run has sent as many creates as it may")
        if job.outcome is Outcome.REPLACED and not job.incoming and job.attempts == 0:
            await self._deletions.delete_first(job)
        await self._room.take()
        with self._room.replacing() if job.incoming and self._policy.deletes else nullcontext():
            async with self._target.creates.slot() as slot:
                self._create_workers.fill_slots()
                conclusion = await self._creates.send(job, partial(self._leave, slot))
            if conclusion.verdict is Verdict.CREATED and job.incoming:
                await self._deletions.add_due([job.name])
        if conclusion.next is Next.RESOLVE and job.entry is not None:
            self.unanswered[job.name] = job
            self._resolver.add(job.entry, conflict=job.history.conflict)
        elif conclusion.next is Next.WAIT:
            self._room.fill()
            self.add(job)
        elif conclusion.outcome is Outcome.FAILED and (halt := self._caps.fail(job.failure, job.failure_text)):
            self._ending.halt_target(halt)

    def _leave(self, slot: Slot) -> None:
        slot.leave()
        self._create_workers.fill_slots()

    async def _retag(self, job: Job) -> None:
        entry = job.entry
        unsettled = entry and entry.code in {TAGGING, TAGS_REPEATED} and entry.tags_digest != job.row.tags_digest
        if entry and entry.sent and unsettled:
            # A change to another value may still be under way: it must not take effect after this one.
            await self._ending.sleep(self._policy.settle_s - entry.sent.age_s(self._target.clock.stamp()))
        try:
            async with self._target.tags.slot():
                self._tag_workers.fill_slots()
                await self._tags.send(job)
        except (GateClosedError, WithheldError):
            self._target.observer.outcome_changed(Outcome.PENDING, job.counted)

    async def leave(self, job: Job) -> None:
        """Leave ``job`` planned, for a later run; what is parked stays so, and a replacement just stays away."""
        parked = job.parked and job.attempts == 0
        full = self._ending.halt is not None and self._ending.halt.reason is Reason.QUOTA
        self._target.observer.outcome_changed(Outcome.PARKED if parked and full else Outcome.PENDING)
        if parked or job.incoming or (job.entry is not None and job.entry.exists):
            return
        self._left.append(job)
        if len(self._left) >= LEFT_AT_ONCE:
            await self.leave_planned()

    async def leave_planned(self) -> None:
        """Record what is left as planned."""
        left, self._left = self._left, []
        target = self._target.name
        await self._target.ledger.record(
            [
                Fact(target, job.name, Event.PLAN, digest=job.row.digest, tags_digest=job.row.tags_digest)
                for job in left
            ],
        )

    async def until_idle(self) -> None:
        """Wait until nothing is under way: a create may cause a deletion, and a deletion may make room for a create."""
        everybody = (self._create_workers, self._tag_workers, self._deletions.workers)
        while any(workers.busy for workers in everybody):
            for workers in everybody:
                await workers.until_idle()


def is_parked(entry: Entry | None) -> bool:
    """Whether an earlier run was refused it at a quota."""
    return entry is not None and entry.state is State.PARKED
