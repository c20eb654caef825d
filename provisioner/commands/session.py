"""What every command that writes to a ledger begins and ends with: lock, ledger, record of the run, summary."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from provisioner.engine.stop import DRAIN_S
from provisioner.errors import LedgerError, ProvisionerError, first_error
from provisioner.ledger import RunRecord
from provisioner.ledger.location import open_ledger
from provisioner.ledger.sqlite.lock import RunLock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from provisioner.commands.run import Run
    from provisioner.engine.site import Lease
    from provisioner.ledger import Ledger
    from provisioner.report.summary import Summary


async def session(
    run: Run, command: str, work: Callable[[Ledger, Lease], Awaitable[None]], *, makes: bool = True
) -> Summary:
    """Do ``work`` with the ledger of ``run`` under its lock, remember the run, and tell how it went.

    An error of ours ends the work and stands in the summary. Only a command that ``makes`` ledgers begins without one.
    """
    path = run.order.settings.run.ledger
    if not makes and not await anyio.Path(path).exists():
        hint = "Name it with --ledger, or make one with `provisioner apply`"
        return run.summary(error=LedgerError("there is no ledger here", where=path, hint=hint))
    async with deadline(run):
        return await _locked(run, command, work)


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


async def _locked(run: Run, command: str, work: Callable[[Ledger, Lease], Awaitable[None]]) -> Summary:
    path = run.order.settings.run.ledger
    try:
        async with AsyncExitStack() as stack:
            lease = RunLock(Path(path), run.order.lock_timeout_s)
            with run.stop.ends() as waiting:
                await stack.enter_async_context(lease)
            if waiting.cancelled_caught:
                return run.summary()
            ledger = await stack.enter_async_context(open_ledger(path))
            began = RunRecord(run.run_id, command, run.started_at)
            await ledger.begin_run(began)
            summary = await _done(run, work(ledger, lease))
            ended = RunRecord(
                run.run_id,
                command,
                run.started_at,
                run.clock.wall(),
                summary.exit_code,
                summary.json(),
            )
            await ledger.end_run(ended)
            return summary
    except ProvisionerError as error:
        return run.summary(error=error)


async def _done(run: Run, work: Awaitable[None]) -> Summary:
    try:
        with run.stop.ends(DRAIN_S):
            await work
    except (ProvisionerError, BaseExceptionGroup) as error:
        return run.summary(error=first_error(error))
    return run.summary()
