"""One target from beginning to end: read, plan, send, record, and at the end resolve unanswered creates.

One reader streams the manifest, a batch at a time, and plans each batch against the ledger. What has to be created goes
to a pool of workers. A worker takes a slot in flight and passes the definition to the sender, which waits for the
gate's turn, commits the intent, sends, decides on the reply, and commits the result; only then is it counted.

An unanswered create is never sent again before its absence is proven. It waits for the resolver while the rest of the
batch goes on; at its end the run waits for the settle time, sweeps the inventory, and sends again what is proven
absent.

A run ends early in two ways. A *stop* (signal, deadline) concerns all targets: nothing new is sent, and what is in
flight is awaited. A *halt* concerns one target (a quota, credentials, a wrong endpoint): the same, but the manifest is
read to its end, so that the summary accounts for every definition. Either way what is left stays planned.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from provisioner.aws.faces import CallError
from provisioner.core.conclusion import UNANSWERED_LIMIT, Next
from provisioner.core.entry import Entry, Event, Fact, Outcome, State
from provisioner.core.first_contact import MISSING
from provisioner.core.planner import NOT_PLANNED, TAGGING, TAGS_REPEATED, Action, Planner, Situation
from provisioner.core.problem import Problem
from provisioner.core.sweep import Decision
from provisioner.core.verdict import Verdict, is_conflict
from provisioner.core.versions import REPLACED, Role
from provisioner.engine.caps import Caps
from provisioner.engine.deletions import Deletions
from provisioner.engine.doubts import MIXED_UP, Doubts, Given
from provisioner.engine.ending import Ending
from provisioner.engine.job import Job
from provisioner.engine.observer import Halt
from provisioner.engine.operation import Create, Retag
from provisioner.engine.planning import Planned, Planning
from provisioner.engine.problems import ProblemLog
from provisioner.engine.resolver import Resolver
from provisioner.engine.room import Room
from provisioner.engine.sending import Sender, WithheldError
from provisioner.engine.workers import Workers
from provisioner.errors import IllegalTransitionError, IntegrityError, ProvisionerError, Reason, counted
from provisioner.manifest.fingerprint import Fingerprint
from provisioner.pacing.gate import GateClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from provisioner.core.planner import Step
    from provisioner.core.policy import Policy
    from provisioner.core.sweep import Ruling, Sweep, Unresolved
    from provisioner.core.versions import Version
    from provisioner.engine.planning import Contents
    from provisioner.engine.stop import Stop
    from provisioner.engine.target import OpenTarget
    from provisioner.manifest.reader import Batch, Manifest, Row


def _is_parked(entry: Entry | None) -> bool:
    return entry is not None and entry.state is State.PARKED


LEFT_AT_ONCE = 256
"""Definitions that one commit records as planned."""
_BAD = frozenset({Outcome.DRIFTED, Outcome.FAILED})
_DONE = frozenset({Action.UNCHANGED, Action.DRIFTED, Action.FAILED, Action.CONFLICT})
"""Steps that need nothing but their facts."""
BROKEN_SWEEPS = 3
"""Sweeps that may break off before the run gives up and leaves the rest ambiguous."""


class Engine:
    """Makes one target match one manifest.

    Args:
        target: in which to register.
        policy: the rules of the run.
        stop: requests an early end of all targets.
        workers: most creates under way at once.
        may_do: whether a step may be carried out; what may not stays as it is.
        contents: what the account held a moment ago, where it was read for a draft; see :class:`Planning`.
    """

    def __init__(
        self,
        target: OpenTarget,
        policy: Policy,
        stop: Stop,
        *,
        workers: int,
        may_do: Callable[[Planned], bool] | None = None,
        contents: Contents | None = None,
    ) -> None:
        self._target = target
        self._policy = policy
        self._observer = target.observer
        self._limit = workers
        self._may_do = may_do
        self._ending = Ending(target, stop)
        self._stop = stop
        self._problems = ProblemLog(target.name, target.ledger, target.observer)
        self._room = Room()
        self._caps = Caps(policy)
        self._resolver = Resolver(target, policy)
        self._doubts = Doubts(target, self._resolver)
        create = Create(target, policy, self._problems, self._room, self._doubts)
        self._creates = Sender(target, create, self._ending)
        gone = MISSING if may_do is None else NOT_PLANNED
        self._tags = Sender(target, Retag(target, policy, self._problems, gone=gone), self._ending)
        self._deletions = Deletions(target, policy, self._ending, self._problems)
        self._create_workers: Workers[Job]
        self._tag_workers: Workers[Job]
        self._delete_workers: Workers[Version]
        self._unanswered: dict[str, Job] = {}
        self._doubted: dict[str, Given] = {}
        self._left: list[Job] = []
        self._queued: set[str] = set()
        self._planning = Planning(target, policy, deleting=self._queued, contents=contents)
        self._after_replacements: list[Job] = []
        self._needed = 0

    async def run(
        self,
        manifest: Manifest | None,
        *,
        report_problems: bool = True,
        retire: Sequence[Entry] = (),
        why: str = "",
        only: Sequence[str] | None = None,
        spare: Collection[str] = (),
    ) -> str:
        """Carry out everything that ``manifest`` needs, and resolve unanswered creates.

        Args:
            manifest: read in a thread, because reading may block; None only resolves.
            report_problems: whether this target's run keeps the manifest's problems; one of several targets does.
            retire: entries whose algorithms are to be deleted, before anything is created.
            why: the reason that is recorded for these.
            only: names whose superseded versions are deleted, if the policy deletes; None is all that the target has.
            spare: ARNs of superseded versions that are not deleted, because the manifest has their names again.

        Returns:
            The fingerprint of the manifest; "" unless it was read to its end.

        Raises:
            LedgerError: the ledger cannot be written.
            LedgerLockedError: the lease is lost.
        """
        fingerprint = ""
        await self._resolver.load()
        async with anyio.create_task_group() as group:
            group.start_soon(self._ending.watch)
            self._create_workers = Workers(group, self._target.creates, self._limit, self._work)
            self._tag_workers = Workers(group, self._target.tags, self._limit, self._retag)
            self._delete_workers = Workers(group, self._target.deletes, self._limit, self._delete)
            await self._retire(retire, why)
            self._queue(await self._deletions.due(only, spare))
            if self._policy.delete_first or self._policy.resend_is_safe:
                # A name can be used again only when its algorithm is gone.
                await self._delete_workers.until_idle()
            if manifest is None:
                self._observer.manifest_read()
            else:
                fingerprint = await self._read(manifest, report_problems=report_problems)
            await self._until_idle()
            for job in self._after_replacements:
                self._create_workers.add(job)
            self._after_replacements.clear()
            await self._until_idle()
            await self._question()
            await self._resolve()
            # A sweep may have found a replacement for which there was nothing else to do.
            self._queue(await self._deletions.due(only, spare))
            await self._until_idle()
            await self._leave_planned()
            group.cancel_scope.cancel()
        return fingerprint

    async def _until_idle(self) -> None:
        """Wait until nothing is under way: a create may cause a deletion, and a deletion may make room for a create."""
        everybody = (self._create_workers, self._tag_workers, self._delete_workers)
        while any(workers.busy for workers in everybody):
            for workers in everybody:
                await workers.until_idle()

    # Read and plan.

    async def _read(self, manifest: Manifest, *, report_problems: bool) -> str:
        fingerprint = Fingerprint(manifest.rules)
        batches = manifest.batches(fingerprint=fingerprint)
        while not self._stop.requested:
            batch = None
            try:
                with self._stop.ends() as reading:
                    batch = await self._next(batches)
            except ProvisionerError as error:
                # Handled here: if it left the task group, the creates in flight would be cancelled.
                self._ending.halt_target(Halt(error.reason, str(error)))
                break
            if reading.cancelled_caught:
                break
            if batch is None:
                self._observer.manifest_read()
                return fingerprint.hexdigest()
            self._observer.batch_read(batch, manifest.size_bytes)
            if report_problems and batch.problems:
                await self._problems.add(batch.problems)
            await self._plan(batch, manifest.size_bytes)
            await self._create_workers.until_few_wait()
            await self._tag_workers.until_few_wait()
        return ""

    async def _next(self, batches: Iterator[Batch]) -> Batch | None:
        return await anyio.to_thread.run_sync(next, batches, None, abandon_on_cancel=True)

    async def _plan(self, batch: Batch, size_bytes: int | None) -> None:
        planned: list[Planned] = []
        with self._stop.ends() as planning:
            planned, registered = await self._planning.plan(batch.rows)
        if planning.cancelled_caught:
            return
        if registered:
            self._observer.outcome_changed(Outcome.UNCHANGED, count=registered)
        self._expect(len(planned), batch.read_bytes, size_bytes)
        if self._planning.failure is not None and any(one.withheld for one in planned):
            self._ending.halt_target(Halt(self._planning.failure.reason, str(self._planning.failure)))
        for one in await self._recorded(planned):
            await self._do(one)

    def _expect(self, needed: int, read_bytes: int, size_bytes: int | None) -> None:
        """Give the pacer an estimate of the length of the job, from the part of the manifest that was read."""
        self._needed += needed
        self._caps.expect(needed)
        whole = max(1.0, size_bytes / read_bytes) if size_bytes and read_bytes else 1.0
        self._target.creates.expect(round(self._needed * whole))

    async def _recorded(self, planned: list[Planned]) -> list[Planned]:
        """Make the facts of all steps durable, and count what needs nothing more; returns the steps that do."""
        allowed = [one for one in planned if not one.withheld and (self._may_do is None or self._may_do(one))]
        for one in planned:
            if one not in allowed:
                await self._withhold(one)
        try:
            await self._target.ledger.record([fact for one in allowed for fact in one.step.facts])
        except IntegrityError:
            # A record is all or nothing: one step at a time keeps all but the one that contradicts.
            allowed = [one for one in allowed if await self._recorded_alone(one)]
        for one in allowed:
            if one.step.outcome is not Outcome.PENDING:
                self._observer.outcome_changed(one.step.outcome)
        bad = [(one.row, one.step) for one in allowed if one.step.outcome in _BAD]
        await self._problems.add_rows([(row, step.code or step.outcome, step.reason) for row, step in bad])
        return [one for one in allowed if one.step.action not in _DONE or one.step.found or one.step.retag]

    async def _recorded_alone(self, one: Planned) -> bool:
        try:
            await self._target.ledger.record(one.step.facts)
        except IntegrityError as error:
            self._ending.halt_target(Halt(error.reason, str(error)))
            await self._withhold(one)
            return False
        return True

    async def _withhold(self, one: Planned) -> None:
        """Leave a definition as it is, for a later run."""
        if not one.withheld:
            what = f"the saved plan does not have this step ({one.step.action}: {one.step.reason}). Make a new plan"
            await self._problems.add_row(one.row, NOT_PLANNED, what)
        elif self._planning.failure is None:
            await self._problems.add_row(one.row, "unread", one.withheld)
        entry = one.step.entry
        # The facts of the step are not recorded, so an entry that they would plan anew stays what it is.
        if not one.step.facts and (entry is None or not entry.exists):
            await self._leave(Job(one.row, outcome=Outcome.PENDING, parked=_is_parked(entry)))
        else:
            self._observer.outcome_changed(Outcome.PENDING)

    # Do.

    def _add_create(self, job: Job) -> None:
        """Queue a create that replaces nothing."""
        if self._policy.delete_first:
            # The room that a deletion makes at a full quota is for the algorithm that takes its place.
            self._after_replacements.append(job)
        else:
            self._create_workers.add(job)

    async def _do(self, one: Planned) -> None:
        """Start what a step needs besides its facts."""
        step, row, entry = one.step, one.row, one.step.entry
        for duplicate in step.duplicates:
            if step.found is not None:
                await self._problems.add_duplicate(step.found, duplicate)
        arn = entry.arn if entry else ""
        if step.action in {Action.CREATE, Action.RECREATE}:
            self._add_create(Job(row, arn, outcome=Outcome.CREATED, parked=_is_parked(entry)))
        elif step.action is Action.REPLACE and self._policy.delete_first and entry is not None:
            self._create_workers.add(Job(row, arn, outcome=Outcome.REPLACED, entry=entry))
        elif step.action is Action.REPLACE:
            self._create_workers.add(Job(row, arn, outcome=Outcome.REPLACED, incoming=True))
        elif step.action is Action.AMBIGUOUS and entry is not None:
            await self._wait_for_answer(Job(row, arn, outcome=Outcome.CREATED), entry)
        elif step.action is Action.UPDATE:
            self._tag_workers.add(Job(row, arn, outcome=Outcome.UPDATED, entry=entry))
        elif step.retag and entry is not None:
            self._retag_besides(row, entry, step.outcome)
        if step.action is Action.RECOVER:
            await self._delete_superseded(row.name)

    def _retag_besides(self, row: Row, entry: Entry, outcome: Outcome) -> None:
        """Change the tags of a definition that is counted as ``outcome`` already, and stays so if that succeeds."""
        job = Job(row, entry.arn, outcome=outcome, entry=entry)
        job.counted = outcome
        self._tag_workers.add(job)

    async def _wait_for_answer(self, job: Job, entry: Entry) -> None:
        """Keep a definition whose earlier create is unanswered for the resolver, unless a resend is harmless."""
        job.incoming = entry.incoming
        job.outcome = Outcome.REPLACED if entry.incoming else Outcome.CREATED
        if self._policy.resend_is_safe and not entry.incoming and not is_conflict(entry.code):
            message = f"names are {self._policy.names}: a resend is harmless"
            await self._target.ledger.record([entry.fact(Event.ABSENT, message=message)])
            self._resolver.forget(entry.name)
            self._observer.outcome_changed(None, Outcome.AMBIGUOUS)
            self._create_workers.add(job)
        else:
            self._unanswered[job.name] = job

    async def _work(self, job: Job) -> None:
        try:
            await self._create(job)
        except (GateClosedError, WithheldError):
            await self._leave(job)
        except IllegalTransitionError:
            # Unless it is a bug, there is a second writer: then the lease is lost, and that is the error to report.
            self._target.lease.check()
            raise

    async def _create(self, job: Job) -> None:
        if self._ending.halt or self._creates.blocks(job):
            raise WithheldError("nothing more is sent in this run")
        if not job.attempts and not self._caps.may_create():
            self._observer.bound_reached()
            raise WithheldError("this run has sent as many creates as it may")
        if job.outcome is Outcome.REPLACED and not job.incoming and job.attempts == 0:
            await self._delete_first(job)
        await self._room.take()
        with self._room.replacing() if job.incoming and self._policy.deletes else nullcontext():
            async with self._target.creates.slot():
                self._create_workers.took_slot()
                conclusion = await self._creates.send(job)
            if conclusion.verdict is Verdict.CREATED and job.incoming:
                await self._delete_superseded(job.name)
        if conclusion.next is Next.RESOLVE and job.entry is not None:
            self._unanswered[job.name] = job
            self._resolver.add(job.entry, conflict=job.history.conflict)
        elif conclusion.next is Next.WAIT:
            self._room.fill()
            self._create_workers.add(job)
        elif conclusion.outcome is Outcome.FAILED and (halt := self._caps.fail(job.failure, job.failure_text)):
            self._ending.halt_target(halt)

    async def _retag(self, job: Job) -> None:
        entry = job.entry
        unsettled = entry and entry.code in {TAGGING, TAGS_REPEATED} and entry.tags_digest != job.row.tags_digest
        if entry and entry.sent and unsettled:
            # A change to another value may still be under way: it must not take effect after this one.
            await self._ending.sleep(self._policy.settle_s - entry.sent.age_s(self._target.clock.stamp()))
        try:
            async with self._target.tags.slot():
                self._tag_workers.took_slot()
                await self._tags.send(job)
        except (GateClosedError, WithheldError):
            self._observer.outcome_changed(Outcome.PENDING, job.counted)

    # Delete.

    async def _retire(self, entries: Sequence[Entry], why: str) -> None:
        """Record that the algorithms of ``entries`` are to be deleted."""
        for start in range(0, len(entries), LEFT_AT_ONCE):
            if self._stop.requested:
                self._observer.deletions_left(len(entries) - start)
                return
            chunk = entries[start : start + LEFT_AT_ONCE]
            self._target.lease.check()
            await self._target.ledger.record([entry.fact(Event.RETIRE, code=why) for entry in chunk])

    async def _delete_superseded(self, name: str) -> None:
        self._queue(await self._deletions.due([name]))

    def _queue(self, versions: Sequence[Version]) -> None:
        for version in versions:
            if version.arn not in self._queued:
                self._queued.add(version.arn)
                self._room.expect()
                self._observer.deletion_due()
                self._delete_workers.add(version)

    async def _delete(self, version: Version) -> None:
        gone = False
        try:
            async with self._target.deletes.slot():
                self._delete_workers.took_slot()
                gone = await self._deletions.delete(version) is Verdict.DONE
        except GateClosedError:
            pass
        finally:
            self._room.deleted(gone=gone)
            if not gone and self._stop.requested:
                self._observer.deletions_left(1)

    async def _delete_first(self, job: Job) -> None:
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

    async def _leave(self, job: Job) -> None:
        """Leave ``job`` planned, for a later run; what is parked stays so, and a replacement just stays away."""
        parked = job.parked and job.attempts == 0
        full = self._ending.halt is not None and self._ending.halt.reason is Reason.QUOTA
        self._observer.outcome_changed(Outcome.PARKED if parked and full else Outcome.PENDING)
        if parked or job.incoming or (job.entry is not None and job.entry.exists):
            return
        self._left.append(job)
        if len(self._left) >= LEFT_AT_ONCE:
            await self._leave_planned()

    async def _leave_planned(self) -> None:
        left, self._left = self._left, []
        target = self._target.name
        await self._target.ledger.record(
            [
                Fact(target, job.name, Event.PLAN, digest=job.row.digest, tags_digest=job.row.tags_digest)
                for job in left
            ],
        )

    # Resolve what has no answer.

    async def _question(self) -> None:
        """Take back what came over a connection that has turned out to mix up its replies."""
        # First, because nothing is planned any more that becomes ambiguous here.
        await self._leave_planned()
        for given, outcome in await self._doubts.raised():
            self._doubted[given.name] = given
            self._observer.outcome_changed(Outcome.AMBIGUOUS, outcome)

    async def _follow_doubted(self, given: Given, ruling: Ruling) -> None:
        """Count a definition that was in doubt; what turns out not to exist is left to the next run."""
        if ruling.decision is Decision.ABSENT:
            what = "it was answered by another's reply, and does not exist. Run again"
            outcome, problem = Outcome.PENDING, Problem("", 0, given.name, MIXED_UP, what, target=self._target.name)
        elif ruling.decision is Decision.TAKEN:
            name, target = given.name, self._target.name
            outcome, problem = Outcome.FAILED, Problem("", 0, name, ruling.code, ruling.message, target=target)
        else:
            self._observer.outcome_changed(Outcome.RECOVERED, Outcome.AMBIGUOUS)
            await self._delete_superseded(given.name)
            return
        self._observer.outcome_changed(outcome, Outcome.AMBIGUOUS)
        await self._problems.add([problem])

    async def _resolve(self) -> None:
        broken = 0
        while len(self._resolver) and broken < BROKEN_SWEEPS and self._may_resolve():
            sweep = await self._sweep_when_due()
            if sweep is None:
                break
            for unresolved, ruling in await self._resolver.apply(sweep):
                await self._follow(unresolved, ruling)
            await self._until_idle()
            await self._question()
            if (refusal := self._resolver.refusal) is not None:
                self._ending.halt_target(Halt(refusal.reason, str(refusal)))
            if sweep.unread or not sweep.complete:
                broken += 1
                if len(self._resolver) and broken < BROKEN_SWEEPS:
                    await self._stop.pause(self._policy.list_lag_s)
        self._observer.resolving_ended(len(self._resolver))

    def _may_resolve(self) -> bool:
        # At a full quota nothing can be created, but everything can be read.
        answers = self._ending.halt is None or self._ending.halt.reason is Reason.QUOTA
        ready = self._policy.wait or not self._resolver.due_in_s()
        return answers and ready and not self._stop.requested

    async def _sweep_when_due(self) -> Sweep | None:
        """The next sweep; None when a stop came first, or AWS refuses it."""
        until = self._target.clock.monotonic() + self._resolver.due_in_s()
        creates = counted(len(self._resolver), "unanswered create", "unanswered creates")
        self._observer.waiting_began(f"the settle time of {creates}", until)
        sweep = None
        with self._stop.ends():
            try:
                # A timer may fire a little early, and a sweep that begins too early proves nothing.
                while (delay_s := self._resolver.due_in_s()) > 0:  # noqa: ASYNC110  a timer, not a poll
                    await anyio.sleep(delay_s)
                sweep = await self._resolver.sweep()
            except CallError as error:
                hint = "Allow cleanrooms-ml:ListConfiguredModelAlgorithms and cleanrooms-ml:GetConfiguredModelAlgorithm"
                what = f"unanswered creates cannot be resolved: {error}. {hint}, then run again"
                self._ending.halt_target(Halt(Reason.DENIED, what))
            except IntegrityError as error:
                self._ending.halt_target(Halt(error.reason, str(error)))
        return sweep

    async def _follow(self, unresolved: Unresolved, ruling: Ruling) -> None:
        """Count a definition that a sweep resolved, or send it again if it is proven absent."""
        job = self._unanswered.pop(unresolved.entry.name, None)
        if ruling.found:
            for duplicate in ruling.duplicates:
                await self._problems.add_duplicate(ruling.found, duplicate)
        if job is None:
            if (given := self._doubted.pop(unresolved.entry.name, None)) is not None:
                await self._follow_doubted(given, ruling)
            return
        if ruling.decision is Decision.ABSENT and job.incoming:
            await self._replace_again(job)
        elif ruling.decision is Decision.ABSENT:
            await self._send_again(job)
        elif ruling.decision is Decision.TAKEN:
            self._observer.outcome_changed(Outcome.FAILED, Outcome.AMBIGUOUS)
            await self._problems.add_row(job.row, ruling.code, ruling.message)
        else:
            outcome = Outcome.RECOVERED if ruling.decision is Decision.RECOVERED else Outcome.ADOPTED
            await self._count_found(job, outcome)
            await self._delete_superseded(job.name)

    async def _count_found(self, job: Job, outcome: Outcome) -> None:
        """Count ``job``, whose entry a sweep has confirmed, as ``outcome``, or as drifted if it differs from that."""
        step = await self._plan_again(job)
        await self._target.ledger.record(step.facts)
        found = outcome if step.action in {Action.UNCHANGED, Action.UPDATE} else Outcome.DRIFTED
        self._observer.outcome_changed(found, Outcome.AMBIGUOUS)
        if found is Outcome.DRIFTED:
            await self._problems.add_row(job.row, Outcome.DRIFTED, f"{step.reason}. Run again")
        if step.entry is not None and (step.retag or step.action is Action.UPDATE):
            self._retag_besides(job.row, step.entry, found)

    async def _plan_again(self, job: Job) -> Step:
        """The step for ``job`` now that a sweep has decided on it."""
        target, name = self._target, job.name
        entry = (await target.ledger.look_up(target.name, [name]))[name]
        incoming = (await target.ledger.incoming(target.name)).get(name)
        planner = Planner(target.name, self._policy, target.ledger.ledger_id)
        return planner.plan(job.row, Situation(entry, incoming))

    async def _replace_again(self, job: Job) -> None:
        """Go on with ``job``, whose replacement is proven absent. An earlier run sent it, perhaps for other wishes."""
        step = await self._plan_again(job)
        if step.action is Action.REPLACE and not self._policy.delete_first and step.entry is not None:
            job.arn = step.entry.arn
            await self._send_again(job)
            return
        self._observer.outcome_changed(None, Outcome.AMBIGUOUS)
        for one in await self._recorded([Planned(job.row, step)]):
            await self._do(one)

    async def _send_again(self, job: Job) -> None:
        if job.history.unanswered <= UNANSWERED_LIMIT:
            self._observer.outcome_changed(None, Outcome.AMBIGUOUS)
            self._create_workers.add(job)
        else:
            times = job.history.unanswered
            reason = f"its create was sent {times} times without a reply, and none took effect. Run again later"
            await self._problems.add_row(job.row, "unresolved", reason)
            self._observer.outcome_changed(None, Outcome.AMBIGUOUS)
            await self._leave(job)
