"""What every command that writes to a ledger begins and ends with: lock, ledger, record of the run, summary."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from provisioner.engine.stop import DRAIN_S
from provisioner.errors import LedgerError, ProvisionerError, first_error
from provisioner.fleet.fleet import Fleet
from provisioner.fleet.places import Places
from provisioner.ledger import RunRecord
from provisioner.ledger.location import locate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from provisioner.commands.run import Run
    from provisioner.ledger import Ledger
    from provisioner.ledger.lease import Lease
    from provisioner.ledger.location import Location
    from provisioner.report.summary import Summary


Work = Callable[[Fleet], Awaitable[None]]

CLOSED_BY_S = 24.6
"""From the wish to stop to the end of the last commit and the close, within the 25 s that are promised. A disk that
hangs in a sync needs longer, and would hold the process for as long as it hangs."""


async def session(
    run: Run,
    command: str,
    work: Work,
    *,
    makes: bool = True,
    built: Callable[[], bool] | None = None,
) -> Summary:
    """Do ``work`` with the ledger of ``run`` under its lease, record the run, and return its summary.

    An error ends the work and stands in the summary.

    Args:
        run: whose ledger.
        command: for the record.
        work: takes the fleet of the run.
        makes: whether the command may begin without a ledger.
        built: for a command that makes a ledger from nothing: whether it is whole after the work. If not, there is
            none afterwards.
    """
    try:
        location = locate(run.order.settings.run.ledger)
        if not makes and not await location.exists():
            hint = "Name it with --ledger, or make one with `provisioner apply`"
            raise LedgerError("there is no ledger here", where=location.name, hint=hint)
    except ProvisionerError as error:
        return run.summary(error=error)
    async with deadline(run):
        return await _leased(run, _Session(command, work, location, built))


@asynccontextmanager
async def deadline(run: Run) -> AsyncIterator[None]:
    """Request a stop when the deadline of the run, counted from its start, passes inside the block.

    The block handles its own errors: an error that leaves it arrives in a group.
    """
    async with anyio.create_task_group() as group:
        group.start_soon(_watch_deadline, run)
        yield
        group.cancel_scope.cancel()


async def _watch_deadline(run: Run) -> None:
    deadline_s = run.order.settings.run.deadline_s
    if deadline_s is not None:
        await anyio.sleep(deadline_s - run.elapsed_s)
        run.stop.request(f"the deadline of {run.order.settings.run.deadline} is over")


async def _leased(run: Run, session: _Session) -> Summary:
    try:
        async with _closing(run, session.location) as stack:
            with run.stop.ends() as waiting:
                lease = await stack.enter_async_context(session.location.lease(run.order.lock_timeout_s))
                opened = await stack.enter_async_context(session.open(lease))
                await opened.ledger.begin_run(RunRecord(run.run_id, session.command, run.started_at))
            if waiting.cancelled_caught:
                return run.summary()
            summary = await _done(run, session.work(await _fleet(run, opened.ledger, lease)))
            with run.stop.ends_by(CLOSED_BY_S):
                ended_at = run.clock.wall()
                await opened.ledger.end_run(
                    RunRecord(run.run_id, session.command, run.started_at, ended_at, summary.exit_code, summary.json())
                )
                if session.built is not None and session.built():
                    await opened.finish()
            return summary
    except ProvisionerError as error:
        return run.summary(error=error)


@asynccontextmanager
async def _closing(run: Run, location: Location) -> AsyncIterator[AsyncExitStack]:
    """Close what is entered, but wait no longer than a stopped run may take.

    Raises:
        LedgerError: it did not close in time.
    """
    stack = AsyncExitStack()
    try:
        yield stack
    finally:
        with run.stop.ends_by(CLOSED_BY_S) as closing:
            await stack.aclose()
        if closing.cancelled_caught:
            hint = "Look at the disk that it is on, and run again: what was under way is resolved then"
            raise LedgerError("the ledger's disk does not answer", where=location.name, hint=hint)


@dataclass(frozen=True, slots=True)
class _Session:
    """See :func:`session`."""

    command: str
    work: Work
    location: Location
    built: Callable[[], bool] | None

    @asynccontextmanager
    async def open(self, lease: Lease) -> AsyncIterator[_Opened]:
        """The ledger, to be finished if it is being built."""
        if self.built is None:
            async with self.location.open(lease) as ledger:
                yield _Opened(ledger, _nothing)
        else:
            async with self.location.build(lease) as building:
                yield _Opened(building.ledger, building.finish)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A ledger, and what gives it its name when it has none yet."""

    ledger: Ledger
    finish: Callable[[], Awaitable[None]]


async def _nothing() -> None:
    """A ledger that was there needs no finish."""


async def _fleet(run: Run, ledger: Ledger, lease: Lease) -> Fleet:
    settings = run.order.settings
    return Fleet(
        settings=settings,
        ledger=ledger,
        lease=lease,
        clock=run.clock,
        observers=run.observers,
        places=await Places.load(ledger, settings.targets),
        embedded=run.order.embedded,
    )


async def _done(run: Run, work: Awaitable[None]) -> Summary:
    try:
        with run.stop.ends(DRAIN_S):
            await work
    except (ProvisionerError, BaseExceptionGroup) as error:
        return run.summary(error=first_error(error))
    return run.summary()
