"""Jobs: several workers share the targets of one ``apply``; and what the ledger has of a job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import msgspec

from provisioner.config.settings import FleetSettings
from provisioner.engine.observer import Halt
from provisioner.errors import Reason, UsageError
from provisioner.exit_codes import ExitCode, code_for, reason_for
from provisioner.ledger.jobs import AUTO, Joining, TargetResult
from provisioner.ledger.lease import OvertakenError
from provisioner.ledger.location import locate
from provisioner.manifest.parser import Rules
from provisioner.report.events import job_joined, job_waiting
from provisioner.report.summary import JobPart

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from provisioner.commands.run import Order, Run
    from provisioner.ledger import Ledger
    from provisioner.ledger.jobs import Result, Share
    from provisioner.ledger.lease import Leases
    from provisioner.manifest.reader import Manifest
    from provisioner.report.statistics import Statistics

AT_ONCE = 50
"""Targets that a worker begins with at once: opening one takes some milliseconds."""
BUSY = 0.8
"""The share of a core from which on a worker takes targets one by one: more at once would slow down those that it has,
and leave none to a worker that begins later, on a machine that has time for them."""
CLAIM_EVERY_S = 0.5
"""Between two claims while there is something to claim, so that who begins a moment later gets a share."""
WAIT_S = 1.0
"""Between two looks whether there is something again: of a worker that died, or is done. Up to twice as long."""


def with_job(order: Order) -> Order:
    """``order`` with the job of which the run is a worker, or without one for a run of its own.

    Where the ledger can be used by several runs, who does the same at the same time does it together, unless it cannot
    be shared. A job that was named must be possible.

    Raises:
        UsageError: it is not.
        ConfigurationError: the ledger's location is wrong.
    """
    if not order.job:
        return order
    location = locate(order.settings.run.ledger)
    if order.job == AUTO:
        shared = location.has_jobs and _unshared(order) is None
        return order if shared else msgspec.structs.replace(order, job="")
    check_order(order)
    location.jobs()
    return order


def check_order(order: Order) -> None:
    """Make sure that the run can be a worker of a job.

    Raises:
        UsageError: it cannot.
    """
    if (refusal := _unshared(order)) is not None:
        raise refusal


def _unshared(order: Order) -> UsageError | None:
    """Why the run cannot be a worker of a job, None if it can."""
    what = hint = ""
    if "-" in order.sources:
        what, hint = (
            "each worker of a job reads the manifest, and only one process can read standard input",
            "Name a file",
        )
    elif order.selection.by_record:
        what, hint = (
            "the workers of a job change what the ledger has, so that a selection by it would differ between them",
            "Select by --name and --target alone, or leave out --job",
        )
    elif order.plan is not None:
        what, hint = "a saved plan is carried out by one run", "Leave out --job, or name the manifest"
    elif order.settings.lifecycle.max_delete and order.policy.deletes:
        what, hint = "several workers cannot keep to a common bound on deletions", "Leave out --max-delete, or --job"
    elif order.policy.deletes and not order.yes:
        what, hint = "a worker of a job cannot ask before it deletes", "Look at `provisioner plan`, then add --yes"
    elif order.settings.fleet.canary or order.settings.fleet.max_failed_targets != FleetSettings().max_failed_targets:
        what, hint = (
            "`canary` and `max_failed_targets` apply to a single run only",
            "Remove them from [fleet], or leave out --job",
        )
    return UsageError(what, hint=hint) if what else None


async def join(run: Run, ledger: Ledger, leases: Leases, manifest: Manifest) -> Share:
    """Be a worker of the job that ``run.order`` names.

    Raises:
        UsageError: there is a job of this id with another manifest or other options.
        LedgerLockedError: somebody else has one of its targets.
    """
    joining = Joining(
        run.order.job,
        await _fingerprint(run.order, manifest),
        run.run_id,
        run.started_at,
        tuple(target.name for target in run.order.targets),
    )
    share = await locate(run.order.settings.run.ledger).jobs().join(ledger, leases, joining)
    left = await share.left()
    run.job = JobPart(share.job, len(joining.targets), left, left, automatic=run.order.job == AUTO)
    job_joined(share.job, run.job.targets, run.job.left)
    return share


async def _fingerprint(order: Order, manifest: Manifest) -> str:
    """Of the manifest's bytes, and of what decides what is done with them."""
    read = await anyio.to_thread.run_sync(
        manifest.under(Rules(), manifest.audience).fingerprint, abandon_on_cancel=True
    )
    rules = [order.selection.names, order.policy, order.strict, order.settings.defaults, order.settings.lifecycle]
    return sha256(read.encode() + msgspec.json.encode(rules, order="sorted")).hexdigest()


Work = Callable[[list[str], Callable[[str], Awaitable[None]]], Awaitable[None]]


async def work_together(run: Run, share: Share, work: Work) -> None:
    """Do ``work`` with the targets that this worker gets, until each target is finished by somebody.

    The statistics of the run are then about what this worker had. What a stop leaves has no result, for others to take.

    Args:
        run: of the worker.
        share: its part of the job.
        work: with targets; calls back for each that has ended. What goes wrong with one alone is in its statistics.
    """
    worker = _Worker(run, share, work)
    async with anyio.create_task_group() as group:
        while not run.stop.requested and await worker.begin_some(group):
            with run.stop.ends():
                await worker.pause()
    # It was asked to do all of its targets: what others did, or did not, counts as well.
    codes = await share.exit_codes()
    run.reasons |= {Reason.UNFINISHED if code is None else reason_for(code) for code in codes if code != 0}
    if run.job is not None:
        bad = sum(bool(code) for code in codes)
        run.job = msgspec.structs.replace(run.job, left=codes.count(None), bad=bad)


class _Worker:
    """See :func:`work_together`."""

    def __init__(self, run: Run, share: Share, work: Work) -> None:
        self._run = run
        self._share = share
        self._work = work
        self._others = dict(run.statistics)
        self._active: set[str] = set()
        self._ended = anyio.Event()
        self._pause_s = CLAIM_EVERY_S
        self._told = 0
        self._seen = run.clock.monotonic(), run.clock.cpu()
        self._busy = False
        # So that workers do not all look at once.
        self._wait_s = WAIT_S * (1 + Random(run.run_id).random())  # noqa: S311
        run.statistics.clear()

    async def begin_some(self, group: TaskGroup) -> bool:
        """Begin with targets that are free; whether anything is left to do or to wait for."""
        self._ended = anyio.Event()
        room = self._run.order.settings.fleet.max_active_targets - len(self._active)
        claimed = await self._share.claim(min(room, 1 if self._is_busy() else AT_ONCE))
        for target in claimed:
            self._active.add(target)
            self._run.statistics[target] = self._others.pop(target)
        if claimed:
            group.start_soon(self._some, claimed)
        self._pause_s = CLAIM_EVERY_S if claimed else self._wait_s
        return bool(self._active) or await self._waits()

    def _is_busy(self) -> bool:
        """Whether this process has used so much CPU lately that it has no time for more targets."""
        (since, used), (now, cpu) = self._seen, (self._run.clock.monotonic(), self._run.clock.cpu())
        if now - since >= CLAIM_EVERY_S / 2:
            self._seen, self._busy = (now, cpu), cpu - used >= BUSY * (now - since)
        return self._busy

    async def _waits(self) -> bool:
        left = await self._share.left()
        if left and left != self._told:
            job_waiting(self._share.job, left)
        self._told = left
        if self._run.job is not None:
            self._run.job = msgspec.structs.replace(self._run.job, left=left)
        return bool(left)

    async def pause(self) -> None:
        """Wait until a target has ended since, or it is time to look again."""
        with anyio.move_on_after(self._pause_s):
            await self._ended.wait()

    async def _some(self, targets: list[str]) -> None:
        await self._work(targets, self._finish)
        for target in self._active & {*targets}:  # those that did not begin
            await self._finish(target)

    async def _finish(self, target: str) -> None:
        try:
            statistics = self._run.statistics[target]
            if (result := _result(self._run, statistics)) is not None:
                await self._share.finish(result)
            elif _paused(statistics):
                await self._share.leave(target)
        except OvertakenError as error:
            if not error.target:
                raise
            self._run.observers[target].target_halted(Halt(error.reason, str(error)))
        self._active.remove(target)
        self._ended.set()


def _result(run: Run, statistics: Statistics) -> TargetResult | None:
    """What became of a target, None if that is for another worker to say."""
    statistics.stopped = run.stop.requested
    statistics.close()
    reasons = statistics.reasons()
    left = run.stop.requested or _paused(statistics)
    if Reason.LOCKED in reasons or (left and Reason.UNFINISHED in reasons):
        return None
    code = code_for(reasons)
    return TargetResult(
        target=statistics.target,
        result=_word(statistics, code),
        exit_code=int(code),
        run_id=run.run_id,
        ended_at=run.clock.wall(),
        outcomes={str(outcome): number for outcome, number in statistics.outcomes.items() if number},
        message=statistics.halt.what if statistics.halt else "",
    )


def _paused(statistics: Statistics) -> bool:
    """Whether a pause has ended it: it is not tried again before `resume`, but that is no result."""
    return statistics.halt is not None and statistics.halt.pause is not None


def _word(statistics: Statistics, code: ExitCode) -> Result:
    if code is ExitCode.QUOTA:
        return "parked"
    if statistics.halt is not None:
        return "halted"
    words: dict[ExitCode, Result] = {
        ExitCode.DONE: "done",
        ExitCode.AMBIGUOUS: "ambiguous",
        ExitCode.UNFINISHED: "unfinished",
    }
    return words.get(code, "failed")
