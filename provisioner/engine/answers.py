"""What becomes of creates without an answer, or with one that is in doubt: sweeps decide, and the run goes on.

An unanswered create is never sent again before its absence is proven.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from provisioner.aws.faces import CallError
from provisioner.core.conclusion import UNANSWERED_LIMIT
from provisioner.core.entry import Outcome
from provisioner.core.planner import Action, Planner, Situation
from provisioner.core.problem import Problem
from provisioner.core.sweep import Decision
from provisioner.engine.doubts import MIXED_UP
from provisioner.engine.observer import Halt
from provisioner.engine.planning import Planned
from provisioner.errors import IntegrityError, Reason, counted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from provisioner.core.planner import Step
    from provisioner.core.policy import Policy
    from provisioner.core.sweep import Ruling, Sweep, Unresolved
    from provisioner.engine.deletion_queue import DeletionQueue
    from provisioner.engine.doubts import Doubts, Given
    from provisioner.engine.ending import Ending
    from provisioner.engine.job import Job
    from provisioner.engine.problems import ProblemLog
    from provisioner.engine.resolver import Resolver
    from provisioner.engine.target import OpenTarget
    from provisioner.engine.work import Work

BROKEN_SWEEPS = 3
"""Sweeps that may break off before the run gives up and leaves the rest ambiguous."""


class Answers:
    """Finds out what became of the creates of one target.

    Args:
        target: which one.
        policy: the rules of the run.
        ending: of the run in this target.
        problems: records what turns out to be wrong.
        work: does what follows.
        deletions: of what a replacement that was found has replaced.
        resolver: knows what is unanswered.
        doubts: what came over a connection that mixes up its replies.
        carry_out: records steps, and does them.
    """

    def __init__(  # noqa: PLR0913  the parts that a run consists of
        self,
        target: OpenTarget,
        policy: Policy,
        ending: Ending,
        *,
        problems: ProblemLog,
        work: Work,
        deletions: DeletionQueue,
        resolver: Resolver,
        doubts: Doubts,
        carry_out: Callable[[Sequence[Planned]], Awaitable[None]],
    ) -> None:
        self._target = target
        self._policy = policy
        self._ending = ending
        self._problems = problems
        self._work = work
        self._deletions = deletions
        self._resolver = resolver
        self._doubts = doubts
        self._carry_out = carry_out
        self._doubted: dict[str, Given] = {}

    async def question(self) -> None:
        """Take back what came over a connection that has turned out to mix up its replies."""
        # First, because nothing is planned any more that becomes ambiguous here.
        await self._work.leave_planned()
        for given, outcome in await self._doubts.raised():
            self._doubted[given.name] = given
            self._target.observer.outcome_changed(Outcome.AMBIGUOUS, outcome)

    async def _follow_doubted(self, given: Given, ruling: Ruling) -> None:
        """Count a definition that was in doubt; what turns out not to exist is left to the next run."""
        if ruling.decision is Decision.ABSENT:
            what = "the reply to its create belonged to another create, and it does not exist. Run again"
            outcome, problem = Outcome.PENDING, Problem("", 0, given.name, MIXED_UP, what, target=self._target.name)
        elif ruling.decision is Decision.TAKEN:
            name, target = given.name, self._target.name
            outcome, problem = Outcome.FAILED, Problem("", 0, name, ruling.code, ruling.message, target=target)
        else:
            self._target.observer.outcome_changed(Outcome.RECOVERED, Outcome.AMBIGUOUS)
            await self._deletions.add_due([given.name])
            return
        self._target.observer.outcome_changed(outcome, Outcome.AMBIGUOUS)
        await self._problems.add([problem])

    async def resolve(self) -> None:
        """Wait for the settle time, sweep the inventory, and go on with what it decides, until all is resolved."""
        broken = 0
        while len(self._resolver) and broken < BROKEN_SWEEPS and self._may_resolve():
            sweep = await self._sweep_when_due()
            if sweep is None:
                break
            for unresolved, ruling in await self._resolver.apply(sweep):
                await self._follow(unresolved, ruling)
            await self._work.until_idle()
            await self.question()
            if (refusal := self._resolver.refusal) is not None:
                self._ending.halt_target(Halt(refusal.reason, str(refusal)))
            if sweep.unread or not sweep.complete:
                broken += 1
                if len(self._resolver) and broken < BROKEN_SWEEPS:
                    await self._ending.stop.pause(self._policy.list_lag_s)
        self._target.observer.resolving_ended(len(self._resolver))

    def _may_resolve(self) -> bool:
        # At a full quota nothing can be created, but everything can be read.
        answers = self._ending.halt is None or self._ending.halt.reason is Reason.QUOTA
        ready = self._policy.wait or not self._resolver.due_in_s()
        return answers and ready and not self._ending.stop.requested

    async def _sweep_when_due(self) -> Sweep | None:
        """The next sweep; None when a stop came first, or AWS refuses it."""
        until = self._target.clock.monotonic() + self._resolver.due_in_s()
        creates = counted(len(self._resolver), "unanswered create", "unanswered creates")
        self._target.observer.waiting_began(f"the settle time of {creates}", until)
        sweep = None
        with self._ending.stop.ends(), self._ending.until_paused():
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
        job = self._work.unanswered.pop(unresolved.entry.name, None)
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
            self._target.observer.outcome_changed(Outcome.FAILED, Outcome.AMBIGUOUS)
            await self._problems.add_row(job.row, ruling.code, ruling.message)
        else:
            outcome = Outcome.RECOVERED if ruling.decision is Decision.RECOVERED else Outcome.ADOPTED
            await self._count_found(job, outcome)
            await self._deletions.add_due([job.name])

    async def _count_found(self, job: Job, outcome: Outcome) -> None:
        """Count ``job``, whose entry a sweep has confirmed, as ``outcome``, or as drifted if it differs from that."""
        step = await self._plan_again(job)
        await self._target.ledger.record(step.facts)
        found = outcome if step.action in {Action.UNCHANGED, Action.UPDATE} else Outcome.DRIFTED
        self._target.observer.outcome_changed(found, Outcome.AMBIGUOUS)
        if found is Outcome.DRIFTED:
            await self._problems.add_row(job.row, Outcome.DRIFTED, f"{step.reason}. Run again")
        if step.entry is not None and (step.retag or step.action is Action.UPDATE):
            self._work.retag_besides(job.row, step.entry, found)

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
        self._target.observer.outcome_changed(None, Outcome.AMBIGUOUS)
        await self._carry_out([Planned(job.row, step)])

    async def _send_again(self, job: Job) -> None:
        if job.history.unanswered <= UNANSWERED_LIMIT:
            self._target.observer.outcome_changed(None, Outcome.AMBIGUOUS)
            self._work.add(job)
        else:
            times = job.history.unanswered
            reason = f"its create was sent {times} times without a reply, and none took effect. Run again later"
            await self._problems.add_row(job.row, "unresolved", reason)
            self._target.observer.outcome_changed(None, Outcome.AMBIGUOUS)
            await self._work.leave(job)
