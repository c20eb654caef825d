"""The story of one target: read, plan, claim, create, record; and at the end, resolve what nobody knows.

One reader streams the manifest, a batch at a time, and plans each batch against the ledger. What has to be created
goes through a short queue (so that memory stays the same for any manifest) to workers. A worker takes a slot in flight
and a turn of the pacer, commits its intent, sends, judges the reply, and commits the result; only then does it count.
tenacity repeats this while the verdict allows it, with the pacer as its wait.

A create without a reply is never sent again before its absence is proven. It becomes a suspect of the reconciler, and
the rest of the batch goes on; the tail of the run waits for the settle time, sweeps, and sends again what is proven
absent.

A run ends early in two ways. A *stop* (signal, deadline) concerns all targets: nothing new is sent, what is in flight
is awaited. A *halt* concerns one target (a quota, credentials, a wrong endpoint, a broken integrity): the same, but the
manifest is read to its end, so that the summary tells of every definition. Either way what is left stays planned.
"""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, wait_random_exponential

from provisioner.aws.faces import CallError
from provisioner.core.entry import Entry, Event, Fact, Outcome, Stamp, State
from provisioner.core.ownership import OwnershipTag, attempt_ids, check_place, read_arn
from provisioner.core.planner import Action, plan
from provisioner.core.verdict import SKEW_CODES, Reply, Verdict, is_conflict, judge
from provisioner.engine.breaker import Breaker, is_about_role
from provisioner.engine.inventory import tell
from provisioner.engine.job import Job
from provisioner.engine.problems import Reporter, quota_text
from provisioner.engine.reconciler import Decision, Reconciler, facts_of
from provisioner.engine.tally import Halt
from provisioner.errors import CredentialsError, IllegalTransitionError, IntegrityError, ProvisionerError, Reason
from provisioner.manifest.fingerprint import Fingerprint
from provisioner.pacing.gate import GateClosedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import TaskGroup

    from provisioner.core.planner import Step
    from provisioner.engine.reconciler import Ruling, Suspect, Sweep
    from provisioner.engine.site import Policy, Site
    from provisioner.engine.stop import Stop
    from provisioner.engine.tally import Tally
    from provisioner.manifest.reader import Batch, Manifest, Row

QUEUE = 64
"""Planned definitions that wait for a worker, before another batch is planned: enough to hide its look-ups at thousands
a second."""
STALE_S = 5.0
"""A process that was stopped this long between its intent and its send makes a new intent, so that the settle time,
which counts from the intent, holds."""
LEAVE_AT_ONCE = 256
"""Definitions that are left planned in one commit."""
BROKEN_SWEEPS = 3
"""Sweeps that may break off before the tail of the run gives up, and leaves the rest ambiguous."""
EXPIRIES = 3
"""How often in a row one create may be refused for expired credentials, fresh ones in between."""
DOUBTS = 3
"""How often a definition's create may end in doubt, be proven absent and be sent again in one run."""
RETRY_MAX_S = 30.0
"""Longest wait after a call that never reached AWS; full jitter (Brooker, "Exponential Backoff And Jitter")."""
RESEND = frozenset({Verdict.THROTTLED, Verdict.NOT_CREATED})

_TOGETHER = nullcontext("")
"""What is on no probation is sent at the same time as others."""

log = structlog.get_logger()


class WithheldError(ProvisionerError):
    """Raised to a worker whose definition must not be sent in this run: its role or its target is refused."""

    reason = Reason.DENIED


class Engine:
    """Registers one manifest in one target.

    Args:
        site: the target's ledger, calls, gates and clock.
        policy: the rules of the run.
        tally: counts what happens.
        stop: tells when to end early; shared by all targets.
        workers: creates that may be under way at once, at most; a worker begins when all others have a slot.
    """

    def __init__(self, site: Site, policy: Policy, tally: Tally, stop: Stop, *, workers: int) -> None:
        self._site = site
        self._policy = policy
        self._tally = tally
        self._stop = stop
        self._workers = workers
        self._working = 0
        self._reconciler = Reconciler(site, policy, tally)
        self._breaker = Breaker(site.aws.endpoint)
        self._attempts = attempt_ids()
        self._doubtful: dict[str, Job] = {}
        self._left: list[Job] = []
        self._open = 0
        self._idle = anyio.Event()
        self._probes: dict[str, anyio.Lock] = {}
        self._reporter = Reporter(site.target, site.ledger, tally)
        self._ending = anyio.Event()
        # No stream, no queue: they wake somebody for each job, which takes up to a sixth of a create.
        self._jobs: deque[Job] = deque()
        self._more = anyio.Event()
        self._few = anyio.Event()
        self._log = log.bind(target=site.target)

    async def run(self, manifest: Manifest | None, *, report_problems: bool = True) -> None:
        """Register everything in ``manifest``, and resolve what nobody knows.

        Args:
            manifest: is read in a thread, for reading may block; None only resolves.
            report_problems: whether this target's run keeps the manifest's problems; one of several targets does.

        Raises:
            LedgerError: the ledger cannot be written.
            LedgerLockedError: the lease is lost.
        """
        await self._reconciler.load()
        async with anyio.create_task_group() as group:
            group.start_soon(self._close_gates_on_stop)
            self._add_worker(group)
            if manifest is None:
                self._tally.whole = True
            else:
                await self._read(manifest, report_problems=report_problems)
            await self._until_idle()
            await self._resolve()
            await self._leave_planned()
            group.cancel_scope.cancel()

    # Read and plan.

    async def _read(self, manifest: Manifest, *, report_problems: bool) -> None:
        fingerprint = Fingerprint(manifest.rules)
        batches = manifest.batches(fingerprint=fingerprint)
        while not self._stop.requested:
            batch = None
            try:
                with self._stop.ends() as reading:
                    batch = await self._next(batches)
            except ProvisionerError as error:
                # Not further up: the workers' group would cancel the creates in flight.
                self._halt(Halt(error.reason, str(error)))
                break
            if batch is None:
                self._tally.whole = not reading.cancelled_caught
                self._tally.fingerprint = fingerprint.hexdigest() if self._tally.whole else ""
                break
            self._tally.read(batch, manifest.size_bytes)
            await self._plan(batch, report_problems=report_problems)

    async def _next(self, batches: Iterator[Batch]) -> Batch | None:
        return await anyio.to_thread.run_sync(next, batches, None, abandon_on_cancel=True)

    async def _plan(self, batch: Batch, *, report_problems: bool) -> None:
        target = self._site.target
        rows = await self._unregistered(batch.rows)
        self._tally.outcomes[Outcome.UNCHANGED] += len(batch.rows) - len(rows)
        known = await self._site.ledger.look_up(target, [row.definition.name for row in rows]) if rows else {}
        retry_failed = self._policy.retry_failed
        steps = [(row, plan(target, row, known.get(row.definition.name), retry_failed=retry_failed)) for row in rows]
        facts = [fact for _, step in steps for fact in step.facts]
        if facts:
            await self._site.ledger.record(facts)
        if report_problems and batch.problems:
            await self._reporter.lines(batch.problems)
        await self._leave_as_it_is([(row, step) for row, step in steps if step.action is Action.NOTHING])
        for row, step in steps:
            if step.action is Action.CREATE:
                self._enqueue(Job(row))
            elif step.action is Action.RECONCILE:
                await self._suspect(Job(row), known.get(row.definition.name))
        self._site.creates.expect(self._tally.expected_creates)
        while len(self._jobs) > QUEUE:
            self._few = anyio.Event()
            await self._few.wait()

    async def _unregistered(self, rows: list[Row]) -> list[Row]:
        """Those with anything to plan: the daily case is that all of a million are registered as they are."""
        registered = await self._site.ledger.registered(self._site.target, [row.definition.name for row in rows])
        return [row for row in rows if registered.get(row.definition.name) != row.digest + row.tags_digest]

    async def _leave_as_it_is(self, steps: list[tuple[Row, Step]]) -> None:
        """Count what is not sent; tell of a whole batch at once, for a new default may let a million drift."""
        self._tally.outcomes.update(step.outcome for _, step in steps)
        told = [(row, step.outcome, step.reason) for row, step in steps if step.outcome is not Outcome.UNCHANGED]
        if told:
            await self._reporter.rows(told)

    async def _suspect(self, job: Job, entry: Entry | None) -> None:
        """A definition whose earlier create had no reply: it waits, unless sending again is harmless."""
        if entry is not None and self._policy.resend_is_safe and not is_conflict(entry.code):
            await self._release_doubt(entry)
            self._enqueue(job)
        else:
            self._doubtful[job.name] = job
            self._tally.outcomes[Outcome.AMBIGUOUS] += 1

    def _enqueue(self, job: Job) -> None:
        self._open += 1
        self._jobs.append(job)
        self._more.set()

    async def _next_job(self) -> Job:
        while not self._jobs:
            if self._more.is_set():
                self._more = anyio.Event()
            await self._more.wait()
        job = self._jobs.popleft()
        if len(self._jobs) == QUEUE:
            self._few.set()
        return job

    # Claim, create, record.

    def _add_worker(self, group: TaskGroup) -> None:
        self._working += 1
        group.start_soon(self._work, group)

    async def _work(self, group: TaskGroup) -> None:
        while True:
            job = await self._next_job()
            try:
                await self._register(job, group)
            except (GateClosedError, WithheldError):
                await self._leave(job)
            except IllegalTransitionError:
                # Two writers, if it is no bug: then the reason is that the ledger is not ours any more.
                self._site.lease.check()
                raise
            finally:
                self._open -= 1
                if not self._open:
                    self._idle.set()

    async def _register(self, job: Job, group: TaskGroup) -> None:
        if self._tally.halt or self._breaker.blocks(job.role):
            raise WithheldError("nothing more is sent in this run")
        async with self._site.creates.slot():
            if self._site.creates.in_flight >= self._working < self._workers:
                # Nobody is left to wait for the next job or slot.
                self._add_worker(group)
            verdict = await self._attempt(job)
            if verdict in RESEND:
                await self._resend(job, verdict)

    async def _resend(self, job: Job, verdict: Verdict) -> None:
        """Attempts after the first, driven by tenacity; most creates need none, and it takes 40 us to set up."""
        told = [verdict]

        async def attempt() -> Verdict:
            return told.pop() if told else await self._attempt(job)

        retrying = AsyncRetrying(
            retry=retry_if_result(RESEND.__contains__),
            wait=self._wait(job),
            sleep=self._sleep(job),
        )
        await retrying(attempt)

    async def _attempt(self, job: Job) -> Verdict:
        """Take a turn and make one attempt.

        Raises:
            GateClosedError: the run is stopping.
            WithheldError: the role is refused.
        """
        gate = self._site.creates
        while True:
            async with self._probation(job.role) as key:
                started_at = await gate.turn()
                if self._breaker.blocks(job.role):
                    gate.unused(started_at)
                    raise WithheldError("the role is refused", where=job.role)
                if self._breaker.probation(job.role) != key:
                    gate.unused(started_at)
                    continue
                job.verdict = await self._claim_and_create(job, started_at)
                return job.verdict

    async def _claim_and_create(self, job: Job, started_at: float) -> Verdict:
        gate, clock = self._site.creates, self._site.clock
        attempt, sent = next(self._attempts), clock.stamp()
        try:
            await self._site.ledger.record([self._intent(job, attempt, sent)])
        except BaseException:
            gate.unused(started_at)
            raise
        entry = self._entry(job, attempt, sent)
        if sent.age_s(clock.stamp()) > STALE_S:
            gate.unused(started_at)
            stale = Reply(code="stale", message="the process stood still before it was sent")
            await self._record(entry, Event.RELEASE, stale)
            return Verdict.NOT_CREATED
        self._tally.calls["create"] += 1
        self._tally.under_way += 1
        try:
            reply = await self._site.aws.creates.create(self._body(job, attempt), self._site.lease.check)
        except ProvisionerError:
            gate.unused(started_at)
            raise
        tell(gate, started_at, reply)
        verdict = self._judge(job, reply)
        self._breaker.told(job.role, reply, verdict, clock.monotonic())
        harmless = await self._settle(job, entry, verdict, reply)
        self._tally.under_way -= 1
        if self._breaker.halt:
            self._halt(self._breaker.halt)
        return Verdict.NOT_CREATED if harmless else verdict

    def _judge(self, job: Job, reply: Reply) -> Verdict:
        """The verdict; a signature refused for the clock is made again once, by the corrected clock."""
        if reply.code in SKEW_CODES and not job.skewed:
            job.skewed = True
            return Verdict.NOT_CREATED
        return judge(reply)

    def _intent(self, job: Job, attempt: str, sent: Stamp) -> Fact:
        row = job.row.canonical
        return Fact(
            self._site.target,
            job.name,
            Event.INTEND,
            digest=row.digest,
            tags_digest=row.tags_digest,
            attempt=attempt,
            sent=sent,
        )

    def _entry(self, job: Job, attempt: str, sent: Stamp) -> Entry:
        """The entry as the committed intent has left it."""
        row, target = job.row.canonical, self._site.target
        return Entry(target, job.name, State.SENT, row.digest, row.tags_digest, attempt=attempt, sent=sent)

    def _body(self, job: Job, attempt: str) -> bytes:
        key, row = self._policy.ownership_tag, job.row.canonical
        tag = OwnershipTag(self._site.ledger.ledger_id, row.digest, attempt)
        return row.request({key: str(tag)} if key else {})

    async def _settle(self, job: Job, entry: Entry, verdict: Verdict, reply: Reply) -> bool:
        """Make the result of an attempt durable, then count it; whether an ambiguous create may be sent again."""
        match verdict:
            case Verdict.CREATED:
                await self._created(entry, reply)
            case Verdict.THROTTLED:
                self._tally.calls["throttled"] += 1
                await self._record(entry, Event.RELEASE, reply)
            case Verdict.NOT_CREATED:
                await self._record(entry, Event.RELEASE, reply)
                await self._refresh(job, reply)
            case Verdict.REJECTED:
                await self._record(entry, Event.REJECT, reply)
                await self._count(job, Outcome.FAILED, reply)
            case Verdict.QUOTA:
                await self._record(entry, Event.PARK, reply)
                await self._count(job, Outcome.PARKED, reply)
                self._halt(Halt(Reason.QUOTA, quota_text(reply)))
            case Verdict.DENIED:
                await self._denied(job, entry, reply)
            case Verdict.AMBIGUOUS:
                return await self._doubt(job, entry, reply)
        return False

    async def _created(self, entry: Entry, reply: Reply) -> None:
        account_id = self._site.account_id or self._tally.account_id
        confirm = Fact(entry.target, entry.name, Event.CONFIRM, arn=reply.arn, after=entry.attempt)
        try:
            self._tally.account_id = check_place(reply.arn, region=self._site.aws.region, account_id=account_id)
            await self._site.ledger.record([confirm])
        except IntegrityError as error:
            await self._record(entry, Event.DOUBT, Reply(status=reply.status, code="integrity", message=str(error)))
            self._tally.outcomes[Outcome.AMBIGUOUS] += 1
            self._halt(Halt(error.reason, str(error)))
            return
        self._tally.outcomes[Outcome.CREATED] += 1

    async def _denied(self, job: Job, entry: Entry, reply: Reply) -> None:
        self._tally.denied = True
        if is_about_role(reply):
            await self._record(entry, Event.REJECT, reply)
            await self._count(job, Outcome.FAILED, reply)
        else:
            await self._record(entry, Event.RELEASE, reply)
            self._tally.outcomes[Outcome.PENDING] += 1

    async def _doubt(self, job: Job, entry: Entry, reply: Reply) -> bool:
        """Nobody knows: never sent again before absence is proven, or where the service itself prevents a second."""
        conflict = reply.status == 409  # noqa: PLR2004  Conflict
        await self._record(entry, Event.DOUBT, reply)
        self._log.warning("create.unanswered", name=job.name, why=str(reply))
        job.doubts += 1
        if self._policy.resend_is_safe and not conflict and job.doubts <= DOUBTS:
            await self._release_doubt(entry)
            return True
        self._doubtful[job.name] = job
        self._tally.outcomes[Outcome.AMBIGUOUS] += 1
        self._reconciler.add(entry, conflict=conflict)
        return False

    async def _count(self, job: Job, outcome: Outcome, reply: Reply) -> None:
        self._tally.outcomes[outcome] += 1
        await self._reporter.row(job.row, reply.code or outcome, str(reply))

    async def _release_doubt(self, entry: Entry) -> None:
        """Plan a doubtful create again where the service lets no second algorithm of its name come to be."""
        message = f"names are {self._policy.names}: sending again is harmless"
        await self._site.ledger.record([Fact(entry.target, entry.name, Event.ABSENT, message=message)])
        self._reconciler.forget(entry.name)

    async def _refresh(self, job: Job, reply: Reply) -> None:
        """Fetch fresh credentials where that helps; where it does not, the target halts."""
        if not reply.expired:
            return
        job.expiries += 1
        why = str(reply)
        try:
            if job.expiries < EXPIRIES and await self._site.aws.refresh_credentials():
                return
        except CredentialsError as error:
            why = str(error)
        self._tally.denied = True
        self._halt(Halt(Reason.DENIED, f"the credentials have expired and there are no newer ones: {why}"))

    async def _record(self, entry: Entry, event: Event, reply: Reply) -> None:
        code = reply.code or str(reply.status or reply.loss)
        sent = entry.sent.until(self._site.clock.stamp()) if entry.sent and event is Event.DOUBT else None
        fact = Fact(entry.target, entry.name, event, sent=sent, code=code, message=reply.message, after=entry.attempt)
        await self._site.ledger.record([fact])

    def _wait(self, job: Job) -> Callable[[RetryCallState], float]:
        """The wait of tenacity: the pacer's next turn after a throttle, full jitter after a call that never arrived."""
        jitter = wait_random_exponential(multiplier=0.5, max=RETRY_MAX_S)

        def wait(state: RetryCallState) -> float:
            return self._site.creates.wait(state) if job.verdict is Verdict.THROTTLED else jitter(state)

        return wait

    def _sleep(self, job: Job) -> Callable[[float], Awaitable[None]]:
        async def sleep(seconds: float) -> None:
            if job.verdict is Verdict.THROTTLED:
                await self._site.creates.sleep(seconds)
            else:
                await self._pause(seconds)

        return sleep

    async def _pause(self, seconds: float) -> None:
        """Sleep, but no longer than until the run ends early."""
        with anyio.move_on_after(seconds):
            await self._ending.wait()

    def _probation(self, role: str) -> AbstractAsyncContextManager[str]:
        """One create at a time for what is on probation; yields what the breaker says once the wait is over."""
        key = self._breaker.probation(role)
        return self._alone(key, role) if key else _TOGETHER

    @asynccontextmanager
    async def _alone(self, key: str, role: str) -> AsyncIterator[str]:
        async with self._probes.setdefault(key, anyio.Lock()):
            if key == "*":
                await self._pause(self._breaker.probe_delay_s())
            yield self._breaker.probation(role)

    # End early.

    async def _close_gates_on_stop(self) -> None:
        await self._stop.wait()
        self._log.warning("run.stopping", reason=self._stop.reason, in_flight=self._site.creates.in_flight)
        self._tally.stopped = True
        self._close()

    def _halt(self, halt: Halt) -> None:
        if self._tally.halt is None:
            self._tally.halt = halt
            self._log.error("target.halted", why=halt.what, reason=halt.reason)
            self._close()

    def _close(self) -> None:
        self._ending.set()
        self._site.creates.close()

    async def _leave(self, job: Job) -> None:
        """What is not sent in this run stays planned."""
        self._tally.outcomes[Outcome.PENDING] += 1
        self._left.append(job)
        if len(self._left) >= LEAVE_AT_ONCE:
            await self._leave_planned()

    async def _leave_planned(self) -> None:
        left, self._left = self._left, []
        await self._site.ledger.record(
            [
                Fact(
                    self._site.target,
                    job.name,
                    Event.PLAN,
                    digest=job.row.digest,
                    tags_digest=job.row.tags_digest,
                )
                for job in left
            ],
        )

    async def _until_idle(self) -> None:
        while self._open:
            self._idle = anyio.Event()
            await self._idle.wait()

    # Resolve what nobody knows.

    async def _resolve(self) -> None:
        broken = 0
        while len(self._reconciler) and broken < BROKEN_SWEEPS and self._may_resolve():
            sweep = await self._sweep_when_due()
            if sweep is None:
                break
            for suspect, ruling in await self._reconciler.settle(sweep):
                await self._rule(suspect, ruling)
            await self._until_idle()
            if (refusal := self._reconciler.refusal) is not None:
                self._halt(Halt(refusal.reason, str(refusal)))
            if sweep.unread or not sweep.complete:
                broken += 1
                await self._stop.pause(self._policy.list_lag_s)
        self._tally.waiting = ""
        self._tally.open = len(self._reconciler)

    def _may_resolve(self) -> bool:
        parked = self._tally.halt is None or self._tally.halt.reason is Reason.QUOTA
        ready = self._policy.wait or not self._reconciler.due_in_s()
        return parked and ready and not self._stop.requested

    async def _sweep_when_due(self) -> Sweep | None:
        """The next sweep; None when a stop came first, or AWS cannot be asked."""
        delay_s = self._reconciler.due_in_s()
        self._tally.waiting_until = self._site.clock.monotonic() + delay_s
        self._tally.waiting = f"{len(self._reconciler)} unanswered creates to settle"
        self._log.info("reconcile.waiting", suspects=len(self._reconciler), seconds=round(delay_s, 1))
        sweep = None
        with self._stop.ends():
            try:
                # A timer may fire a little early, and a sweep before its time proves nothing.
                while (delay_s := self._reconciler.due_in_s()) > 0:  # noqa: ASYNC110  a timer, not a poll
                    await anyio.sleep(delay_s)
                sweep = await self._reconciler.sweep()
            except CallError as error:
                self._tally.denied = True
                hint = "allow cleanrooms-ml:ListConfiguredModelAlgorithms and cleanrooms-ml:GetConfiguredModelAlgorithm"
                self._halt(Halt(Reason.DENIED, f"unanswered creates cannot be resolved: {error}; {hint}"))
            except IntegrityError as error:
                self._halt(Halt(error.reason, str(error)))
        return sweep

    async def _rule(self, suspect: Suspect, ruling: Ruling) -> None:
        """Count what a sweep resolved, and send again what it proved absent."""
        self._tally.resolved[ruling.decision.value] += 1
        job = self._doubtful.pop(suspect.entry.name, None)
        if ruling.found:
            for duplicate in ruling.duplicates:
                await self._reporter.duplicate(ruling.found, duplicate)
        if job is None:
            return
        if ruling.decision is Decision.ABSENT:
            self._tally.outcomes[Outcome.AMBIGUOUS] -= 1
            await self._again(job)
        elif ruling.decision is Decision.TAKEN:
            self._tally.move(Outcome.AMBIGUOUS, Outcome.FAILED)
            message = facts_of(suspect.entry, ruling)[0].message
            await self._reporter.row(job.row, "name_taken", message)
        else:
            await self._adopted(job)

    async def _again(self, job: Job) -> None:
        if job.doubts <= DOUBTS:
            self._enqueue(job)
        else:
            reason = f"its create ended in doubt {job.doubts} times and was proven absent each time; run again later"
            await self._reporter.row(job.row, "unresolved", reason)
            await self._leave(job)

    async def _adopted(self, job: Job) -> None:
        """What was found may be of an older definition than the manifest's: then it has drifted."""
        entries = await self._site.ledger.look_up(self._site.target, [job.name])
        entry = entries[job.name]
        self._tally.account_id = read_arn(entry.arn).account_id
        step = plan(self._site.target, job.row, entry, retry_failed=False)
        await self._site.ledger.record(step.facts)
        if step.outcome is Outcome.DRIFTED:
            self._tally.move(Outcome.AMBIGUOUS, Outcome.DRIFTED)
            await self._reporter.row(job.row, step.outcome, step.reason)
        else:
            self._tally.move(Outcome.AMBIGUOUS, Outcome.ADOPTED)
