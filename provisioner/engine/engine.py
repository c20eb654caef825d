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

from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from provisioner.aws.faces import CallError
from provisioner.core.conclusion import UNANSWERED_LIMIT, Next
from provisioner.core.entry import Entry, Event, Fact, Outcome
from provisioner.core.planner import Action, plan
from provisioner.core.sweep import Decision
from provisioner.core.verdict import is_conflict
from provisioner.engine.breaker import Admission, Breaker
from provisioner.engine.ending import Ending
from provisioner.engine.first_contact import FirstContact
from provisioner.engine.job import Job
from provisioner.engine.observer import Halt
from provisioner.engine.operation import Create
from provisioner.engine.outcomes import count_found
from provisioner.engine.problems import ProblemLog
from provisioner.engine.resolver import Resolver
from provisioner.engine.sending import Sender, WithheldError
from provisioner.engine.workers import Workers
from provisioner.errors import IllegalTransitionError, IntegrityError, ProvisionerError, Reason
from provisioner.manifest.fingerprint import Fingerprint
from provisioner.pacing.gate import GateClosedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.core.planner import Step
    from provisioner.core.policy import Policy
    from provisioner.core.sweep import Ruling, Sweep, Unresolved
    from provisioner.engine.stop import Stop
    from provisioner.engine.target import OpenTarget
    from provisioner.manifest.reader import Batch, Manifest, Row

LEFT_AT_ONCE = 256
"""Definitions that one commit records as planned."""
BROKEN_SWEEPS = 3
"""Sweeps that may break off before the run gives up and leaves the rest ambiguous."""


class Engine:
    """Registers one manifest in one target.

    Args:
        target: in which to register.
        policy: the rules of the run.
        stop: requests an early end of all targets.
        workers: most creates under way at once.
    """

    def __init__(self, target: OpenTarget, policy: Policy, stop: Stop, *, workers: int) -> None:
        self._target = target
        self._policy = policy
        self._observer = target.observer
        self._limit = workers
        self._ending = Ending(target, stop)
        self._stop = stop
        self._breaker = Breaker(target.aws.endpoint)
        self._problems = ProblemLog(target.name, target.ledger, target.observer)
        self._sender = Sender(target, Create(target, policy), self._breaker, self._ending, self._problems)
        self._resolver = Resolver(target, policy)
        self._contact = FirstContact(target, policy, self._ending, self._problems)
        self._workers: Workers
        self._unanswered: dict[str, Job] = {}
        self._left: list[Job] = []
        self._needed = 0

    async def run(self, manifest: Manifest | None, *, report_problems: bool = True) -> str:
        """Register everything in ``manifest``, and resolve unanswered creates.

        Args:
            manifest: read in a thread, because reading may block; None only resolves.
            report_problems: whether this target's run keeps the manifest's problems; one of several targets does.

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
            self._workers = Workers(group, self._target.creates, self._limit, self._work)
            if manifest is None:
                self._observer.manifest_read()
            else:
                fingerprint = await self._read(manifest, report_problems=report_problems)
            await self._workers.until_idle()
            await self._resolve()
            await self._leave_planned()
            group.cancel_scope.cancel()
        return fingerprint

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
            await self._workers.until_few_wait()
        return ""

    async def _next(self, batches: Iterator[Batch]) -> Batch | None:
        return await anyio.to_thread.run_sync(next, batches, None, abandon_on_cancel=True)

    async def _plan(self, batch: Batch, size_bytes: int | None) -> None:
        target, ledger = self._target.name, self._target.ledger
        rows = await self._changed(batch.rows)
        self._expect(len(rows), batch.read_bytes, size_bytes)
        known = await ledger.look_up(target, [row.name for row in rows]) if rows else {}
        retry_failed = self._policy.retry_failed
        steps = [(row, plan(target, row, known.get(row.name), retry_failed=retry_failed)) for row in rows]
        await ledger.record([fact for _, step in steps for fact in step.facts])
        await self._count_unsent([(row, step) for row, step in steps if step.action is Action.NOTHING])
        for row, step in steps:
            entry = known.get(row.name)
            job = Job(row, entry.arn if entry else "")
            if step.action is Action.CREATE:
                self._workers.add(job)
            elif step.action is Action.RECONCILE and entry is not None:
                await self._wait_for_answer(job, entry)

    def _expect(self, needed: int, read_bytes: int, size_bytes: int | None) -> None:
        """Give the pacer an estimate of the length of the job, from the part of the manifest that was read."""
        self._needed += needed
        whole = max(1.0, size_bytes / read_bytes) if size_bytes and read_bytes else 1.0
        self._target.creates.expect(round(self._needed * whole))

    async def _changed(self, rows: list[Row]) -> list[Row]:
        """The rows that are not registered exactly so. In the daily case that is none of a million."""
        registered = await self._target.ledger.registered(self._target.name, [row.name for row in rows])
        changed = [row for row in rows if registered.get(row.name) != row.digest + row.tags_digest]
        if len(rows) > len(changed):
            self._observer.outcome_changed(Outcome.UNCHANGED, count=len(rows) - len(changed))
        return changed

    async def _count_unsent(self, steps: list[tuple[Row, Step]]) -> None:
        """Count what is not sent; problems of a whole batch at once, because a new default may make a million drift."""
        for _, step in steps:
            self._observer.outcome_changed(step.outcome)
        await self._problems.add_rows(
            [(row, step.outcome, step.reason) for row, step in steps if step.outcome is not Outcome.UNCHANGED]
        )

    async def _wait_for_answer(self, job: Job, entry: Entry) -> None:
        """Keep a definition whose earlier create is unanswered for the resolver, unless a resend is harmless."""
        if self._policy.resend_is_safe and not is_conflict(entry.code):
            message = f"names are {self._policy.names}: a resend is harmless"
            await self._target.ledger.record([Fact(entry.target, entry.name, Event.ABSENT, message=message)])
            self._resolver.forget(entry.name)
            self._workers.add(job)
        else:
            self._unanswered[job.name] = job
            self._observer.outcome_changed(Outcome.AMBIGUOUS)

    # Send.

    async def _work(self, job: Job) -> None:
        try:
            await self._send(job)
        except (GateClosedError, WithheldError):
            await self._leave(job)
        except IllegalTransitionError:
            # Unless it is a bug, there is a second writer: then the lease is lost, and that is the error to report.
            self._target.lease.check()
            raise

    async def _send(self, job: Job) -> None:
        if self._ending.halt or self._breaker.admission(job.role) is Admission.BLOCKED:
            raise WithheldError("nothing more is sent in this run")
        if await self._contact.has_outcome(job):
            return
        async with self._target.creates.slot():
            self._workers.took_slot()
            conclusion = await self._sender.send(job)
        if conclusion.next is Next.RESOLVE and job.entry is not None:
            self._unanswered[job.name] = job
            self._resolver.add(job.entry, conflict=job.history.conflict)

    async def _leave(self, job: Job) -> None:
        """Leave ``job`` planned, for a later run."""
        self._observer.outcome_changed(Outcome.PENDING)
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

    async def _resolve(self) -> None:
        broken = 0
        while len(self._resolver) and broken < BROKEN_SWEEPS and self._may_resolve():
            sweep = await self._sweep_when_due()
            if sweep is None:
                break
            for unresolved, ruling in await self._resolver.apply(sweep):
                await self._follow(unresolved, ruling)
            await self._workers.until_idle()
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
        self._observer.waiting_began(f"the settle time of {len(self._resolver)} unanswered creates", until)
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
            return
        if ruling.decision is Decision.ABSENT:
            await self._send_again(job)
        elif ruling.decision is Decision.TAKEN:
            self._observer.outcome_changed(Outcome.FAILED, Outcome.AMBIGUOUS)
            await self._problems.add_row(job.row, ruling.code, ruling.message)
        else:
            outcome = Outcome.RECOVERED if ruling.decision is Decision.RECOVERED else Outcome.ADOPTED
            await count_found(self._target, self._problems, job, outcome, Outcome.AMBIGUOUS)

    async def _send_again(self, job: Job) -> None:
        if job.history.unanswered <= UNANSWERED_LIMIT:
            self._observer.outcome_changed(None, Outcome.AMBIGUOUS)
            self._workers.add(job)
        else:
            times = job.history.unanswered
            reason = f"its create was sent {times} times without a reply, and none took effect. Run again later"
            await self._problems.add_row(job.row, "unresolved", reason)
            self._observer.outcome_changed(None, Outcome.AMBIGUOUS)
            await self._leave(job)
