"""``runs``: what past runs did, and whether one that has no end is still under way; what became of a job.

Needs neither AWS nor a lease.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import msgspec

from provisioner.commands.finding import find_run
from provisioner.errors import Reason, UsageError
from provisioner.exit_codes import ExitCode, code_for, reason_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from provisioner.core.pause import Pause
    from provisioner.ledger import Ledger, RunRecord
    from provisioner.ledger.jobs import JobRecord
    from provisioner.ledger.location import Location


class PastRun(msgspec.Struct, frozen=True):
    """A run that has begun.

    Attributes:
        record: what the ledger has of it.
        died: whether it ended without recording how.
    """

    record: RunRecord
    died: bool

    @property
    def status(self) -> Literal["ended", "running", "died"]:
        """In one word."""
        if self.record.ended_at is not None:
            return "ended"
        return "died" if self.died else "running"


async def past_runs(location: Location, ledger: Ledger, limit: int) -> list[PastRun]:
    """The latest runs, newest first."""
    return await _judged(location, ledger, lambda: ledger.runs(limit))


async def past_runs_of(location: Location, ledger: Ledger, run_ids: Sequence[str]) -> list[PastRun]:
    """The runs of these ids that the ledger still has, in their order."""

    async def read() -> list[RunRecord]:
        return [run for run_id in run_ids for run in await ledger.runs(1, prefix=run_id)]

    return await _judged(location, ledger, read)


async def past_run(location: Location, ledger: Ledger, text: str) -> PastRun:
    """The run that ``text`` names: its id, the beginning of its id, or ``last``.

    Raises:
        UsageError: there is none, or there are several.
    """
    run_id = (await find_run(ledger, text)).run_id
    (run,) = await _judged(location, ledger, lambda: ledger.runs(1, prefix=run_id))
    return run


async def _judged(location: Location, ledger: Ledger, read: Callable[[], Awaitable[list[RunRecord]]]) -> list[PastRun]:
    """What ``read`` finds, and which of these runs have died.

    A run is alive from before its beginning until after its end is recorded, so one without an end that is not alive
    has died. Each look is at another moment, and runs begin and end between them: what had no end before the look at
    who is alive must have none after it either.
    """
    runs = await read()
    before = {run.run_id for run in runs if run.ended_at is None}
    if not before:
        return [PastRun(run, died=False) for run in runs]
    latest = await ledger.runs(1)
    under_way = await location.under_way(latest[0].run_id) if latest else set[str]()
    return [
        PastRun(run, run.ended_at is None and run.run_id in before and run.run_id not in under_way)
        for run in await read()
    ]


async def find_job(location: Location, job: str) -> JobRecord:
    """What the ledger has of a job.

    Raises:
        UsageError: it has no such job, or can have none.
    """
    record = await location.jobs().find(job)
    if record is None:
        hint = "Its id is in the summary of each of its workers"
        raise UsageError(f"the ledger has no job {job!r}", where=location.name, hint=hint)
    return record


async def pauses_of(ledger: Ledger, record: JobRecord) -> dict[str, Pause]:
    """Of the targets of a job that have no result, those that are paused: no worker begins with them before the end."""
    now, pauses = time.time(), await ledger.pauses()
    left = [one.target for one in record.targets if not one.result and one.target in pauses]
    return {target: pauses[target] for target in left if pauses[target].until > now}


def exit_code_of(record: JobRecord) -> ExitCode:
    """The exit code that one run with all targets would end with so far."""
    codes = {one.exit_code for one in record.targets if one.exit_code}
    reasons = {reason_for(code) for code in codes}
    return code_for(reasons | ({Reason.UNFINISHED} if any(not one.result for one in record.targets) else set()))
