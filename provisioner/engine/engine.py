"""One target from beginning to end: read, plan, send, record, and at the end resolve unanswered creates.

One reader streams the manifest, a batch at a time, and plans each batch against the ledger. What has to be created goes
to a pool of workers (:mod:`provisioner.engine.work`).

An unanswered create is never sent again before its absence is proven. It waits for the resolver while the rest of the
batch goes on; at its end the run waits for the settle time, sweeps the inventory, and sends again what is proven
absent (:mod:`provisioner.engine.answers`).

A run ends early in two ways. A *stop* (signal, deadline) concerns all targets: nothing new is sent, and what is in
flight is awaited. A *halt* concerns one target (a quota, credentials, a wrong endpoint): the same, but the manifest is
read to its end, so that the summary accounts for every definition. Either way what is left stays planned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from provisioner.core.entry import Entry, Outcome
from provisioner.core.first_contact import MISSING
from provisioner.core.planner import NOT_PLANNED, Action
from provisioner.engine.answers import Answers
from provisioner.engine.deletion_queue import DeletionQueue
from provisioner.engine.doubts import Doubts
from provisioner.engine.ending import Ending
from provisioner.engine.job import Job
from provisioner.engine.observer import Halt
from provisioner.engine.planning import Planned, Planning
from provisioner.engine.problems import ProblemLog
from provisioner.engine.resolver import Resolver
from provisioner.engine.room import Room
from provisioner.engine.work import Work, is_parked
from provisioner.errors import IntegrityError, ProvisionerError
from provisioner.manifest.fingerprint import Fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from provisioner.core.policy import Policy
    from provisioner.core.problem import Problem
    from provisioner.engine.inventory import Contents
    from provisioner.engine.stop import Stop
    from provisioner.engine.target import OpenTarget
    from provisioner.manifest.reader import Batch, Manifest, Row


_BAD = frozenset({Outcome.DRIFTED, Outcome.FAILED})
_DONE = frozenset({Action.UNCHANGED, Action.DRIFTED, Action.FAILED, Action.CONFLICT})
"""Steps that need nothing but their facts."""
PLANNED_AHEAD_S = 8.0
LEAST_AT_ONCE = 32
"""Definitions are planned for so long at the target's pace, and so many at least: each look into the ledger for them
takes a millisecond."""


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
        resolver = Resolver(target, policy)
        doubts = Doubts(target, resolver)
        room = Room()
        self._deletions = DeletionQueue(target, policy, self._ending, self._problems, room)
        self._work = Work(
            target,
            policy,
            self._ending,
            problems=self._problems,
            room=room,
            deletions=self._deletions,
            resolver=resolver,
            doubts=doubts,
            gone=MISSING if may_do is None else NOT_PLANNED,
        )
        self._answers = Answers(
            target,
            policy,
            self._ending,
            problems=self._problems,
            work=self._work,
            deletions=self._deletions,
            resolver=resolver,
            doubts=doubts,
            carry_out=self._carry_out,
        )
        self._resolver = resolver
        self._planning = Planning(target, policy, deleting=self._deletions.queued, contents=contents)
        self._read_rows = self._planned_rows = self._needed = 0

    async def run(
        self,
        manifest: Manifest | None,
        *,
        unreported: Callable[[Sequence[Problem]], Sequence[Problem]] = tuple,
        retire: Sequence[Entry] = (),
        why: str = "",
        only: Callable[[str], bool] | None = None,
        spare: Collection[str] = (),
    ) -> str:
        """Carry out everything that ``manifest`` needs, and resolve unanswered creates.

        Args:
            manifest: read in a thread, because reading may block; None only resolves.
            unreported: those of the problems of lines that are reported: of several targets, one reports each.
            retire: entries whose algorithms are to be deleted, before anything is created.
            why: the reason that is recorded for these.
            only: whether superseded versions of a name are deleted, if the policy deletes; None: those of all names.
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
            group.start_soon(self._ending.watch_pause)
            self._work.start(group, self._limit)
            self._deletions.start(group, self._limit)
            await self._deletions.retire(retire, why)
            await self._deletions.add_due(only=only, spare=spare)
            if self._policy.delete_first or self._policy.resend_is_safe:
                # A name can be used again only when its algorithm is gone.
                await self._deletions.workers.until_idle()
            if manifest is None:
                self._observer.manifest_read()
            else:
                fingerprint = await self._read(manifest, unreported)
            await self._work.until_idle()
            self._work.add_held_back()
            await self._work.until_idle()
            await self._answers.question()
            await self._answers.resolve()
            # A sweep may have found a replacement for which there was nothing else to do.
            await self._deletions.add_due(only=only, spare=spare)
            await self._work.until_idle()
            await self._work.leave_planned()
            group.cancel_scope.cancel()
        return fingerprint

    async def _read(self, manifest: Manifest, unreported: Callable[[Sequence[Problem]], Sequence[Problem]]) -> str:
        fingerprint = Fingerprint(manifest.rules)
        batches = manifest.batches(fingerprint=fingerprint)
        number = 0
        while not self._stop.requested:
            batch = None
            try:
                with self._stop.ends() as reading:
                    # Passing it on through a thread takes as long as a create.
                    batch = next(batches, None) if manifest.holds(number) else await self._next(batches)
            except ProvisionerError as error:
                # Handled here: if it left the task group, the creates in flight would be cancelled.
                self._ending.halt_target(Halt(error.reason, str(error)))
                break
            if reading.cancelled_caught:
                break
            if batch is None:
                self._observer.manifest_read()
                return fingerprint.hexdigest()
            number += 1
            self._observer.batch_read(batch, manifest.size_bytes)
            if problems := unreported(batch.problems):
                await self._problems.add(problems)
            self._read_rows += len(batch.rows)
            size, read = manifest.size_bytes, batch.read_bytes
            whole = max(1.0, size / read) if size and read else 1.0
            planned = 0
            while planned < len(batch.rows) and not self._stop.requested:
                rows = batch.rows[planned : planned + self._some()]
                await self._plan(rows, whole)
                planned += len(rows)
                await self._work.until_few_wait()
        return ""

    def _some(self) -> int:
        """How many definitions are planned at a time.

        So many that a fast target never waits for the next ones, and no more: a thousand slow targets would take
        seconds to begin, and megabytes for what they create much later. Where most definitions need nothing, more.
        """
        needed = max(LEAST_AT_ONCE, PLANNED_AHEAD_S * self._target.creates.rate)
        return round(needed * (1 + self._planned_rows) / (1 + self._needed))

    async def _next(self, batches: Iterator[Batch]) -> Batch | None:
        return await anyio.to_thread.run_sync(next, batches, None, abandon_on_cancel=True)

    async def _plan(self, rows: Sequence[Row], whole: float) -> None:
        """Plan ``rows``, and start what they need; ``whole`` is the manifest's size by the part that was read."""
        planned: list[Planned] = []
        with self._stop.ends() as planning, self._ending.until_paused() as unpaused:
            planned, registered = await self._planning.plan(rows)
        if planning.cancelled_caught or unpaused.cancelled_caught:
            return
        if registered:
            self._observer.outcome_changed(Outcome.UNCHANGED, count=registered)
        self._planned_rows += len(rows)
        self._needed += len(planned)
        self._expect(self._needed * self._read_rows / self._planned_rows, whole)
        if self._planning.failure is not None and any(one.withheld for one in planned):
            self._ending.halt_target(Halt(self._planning.failure.reason, str(self._planning.failure)))
        await self._carry_out(planned)

    def _expect(self, needed: float, whole: float) -> None:
        """Estimate the length of the job: so much of what was read needs something."""
        self._work.expect(round(needed))
        self._target.creates.expect(round(needed * whole))

    async def _carry_out(self, planned: Sequence[Planned]) -> None:
        """Record the facts of steps, and start what they need besides."""
        for one in await self._recorded(planned):
            await self._work.do(one)

    async def _recorded(self, planned: Sequence[Planned]) -> list[Planned]:
        """Make the facts of all steps durable, and count what needs nothing more; returns the steps that do."""
        allowed: list[Planned] = []
        withheld: list[Planned] = []
        for one in planned:
            may = not one.withheld and (self._may_do is None or self._may_do(one))
            (allowed if may else withheld).append(one)
        for one in withheld:
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
            await self._work.leave(Job(one.row, outcome=Outcome.PENDING, parked=is_parked(entry)))
        else:
            self._observer.outcome_changed(Outcome.PENDING)
