"""The frame of every command that writes to a ledger: leases, ledger, record of the run, summary."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from provisioner import aws
from provisioner.commands.finding import fates_of
from provisioner.commands.manifests import manifests_for
from provisioner.engine.stop import DRAIN_S
from provisioner.errors import LedgerError, LedgerLockedError, ProvisionerError, first_error
from provisioner.fleet.fleet import Fleet
from provisioner.fleet.organizations import keep
from provisioner.fleet.places import Places
from provisioner.ledger import RunRecord
from provisioner.ledger.location import locate
from provisioner.ledger.unwritten import NoLeases, UnwrittenLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import BinaryIO

    from provisioner.commands.run import Run
    from provisioner.ledger import Ledger
    from provisioner.ledger.lease import Leases
    from provisioner.ledger.location import Location
    from provisioner.manifest.reader import Manifest
    from provisioner.report.summary import Summary


Work = Callable[[Fleet], Awaitable[None]]
Enter = Callable[["Ledger", "Leases"], Awaitable[None]]
"""How a run comes by its targets."""

SAMPLES_EVERY_S = 15.0
"""How often a run keeps its samples: a commit, and for a thousand targets some milliseconds of encoding."""
CLOSED_BY_S = 24.6
"""From the request to stop to the end of the last commit and the close, within the promised 25 s. Without it, a disk
that hangs in a sync would hold the process for as long as it hangs."""


async def with_manifests(
    run: Run, then: Callable[[dict[str, Manifest]], Awaitable[Summary]], *, stdin: BinaryIO | None, twice: bool
) -> Summary:
    """Open the manifest for every target, then do ``then`` with them by target, unless the run is stopped meanwhile.

    An error ends the run and is part of the summary.

    Args:
        run: with the sources.
        then: the rest of the run.
        stdin: read for ``-``.
        twice: whether it is read twice: then it is copied, since a pipe ends and a file may change between the passes.
    """
    order = run.order
    read = partial(manifests_for, order.sources, order.settings, order.targets, stdin=stdin, copied=twice)
    manifests: dict[str, Manifest] = {}
    async with deadline(run):
        try:
            with run.stop.ends():
                manifests = await anyio.to_thread.run_sync(read, abandon_on_cancel=True)
        except ProvisionerError as error:
            return run.summary(error=error)
    return await then(manifests) if manifests else run.summary()


async def session(
    run: Run,
    command: str,
    work: Work,
    *,
    makes: bool = True,
    enter: Enter | None = None,
    built: Callable[[], bool] | None = None,
) -> Summary:
    """Do ``work`` with the ledger of ``run`` under the leases of its targets, record the run, and return its summary.

    An error ends the work and is part of the summary.

    Args:
        run: with the ledger's location.
        command: for the record of the run.
        work: gets the fleet of the run.
        makes: whether the command makes a ledger if there is none.
        enter: takes the targets; by default all of them, from the beginning to the end.
        built: for a command that builds a new ledger: whether it is whole after the work. If not, it is discarded.
    """
    run.command = command
    async with deadline(run):
        try:
            location = locate(run.order.settings.run.ledger, awaited=True)
            with run.stop.ends():
                if not makes and not await location.exists():
                    hint = "Name it with --ledger, or make one with `provisioner apply`"
                    raise LedgerError("there is no ledger here", where=location.name, hint=hint)
        except ProvisionerError as error:
            return run.summary(error=error)
        return await _leased(run, _Session(work, location, enter or partial(_take_all, run), built))


async def looking(run: Run, work: Work, *, blank: bool = False) -> Summary:
    """Do ``work`` without a lease and without writing anything; the ledger need not exist, and a run may be using it.

    Args:
        run: with the ledger's location; it is not recorded.
        work: gets the fleet of the run.
        blank: for a command that needs no ledger: it sees an empty one, whatever there is.
    """

    async def look() -> Summary:
        location = locate(run.order.settings.run.ledger, awaited=True)
        async with AsyncExitStack() as stack:
            with run.stop.ends() as waiting:
                exists = not blank and await location.exists()
                ledger = UnwrittenLedger(await stack.enter_async_context(location.read()) if exists else None)
            if waiting.cancelled_caught:
                return run.summary()
            sharing = await stack.enter_async_context(aws.Sharing())
            return await _done(run, ledger, work(await _fleet(run, ledger, NoLeases(), sharing)))

    async with deadline(run):
        try:
            return await look()
        except ProvisionerError as error:
            return run.summary(error=error)


@asynccontextmanager
async def deadline(run: Run) -> AsyncIterator[None]:
    """Request a stop when the deadline of the run, counted from its start, passes inside the block.

    An error that leaves the block arrives in an exception group, so the block should handle its own.
    """
    async with anyio.create_task_group() as group:
        group.start_soon(_watch_deadline, run)
        yield
        group.cancel_scope.cancel()


async def _watch_deadline(run: Run) -> None:
    deadline_s = run.order.settings.run.deadline_s
    if deadline_s is not None:
        await anyio.sleep(max(0.0, deadline_s - run.elapsed_s))
        run.stop.request(f"the deadline of {run.order.settings.run.deadline} has passed")


async def _leased(run: Run, session: _Session) -> Summary:
    try:
        async with _closing(run, session.location) as stack:
            with run.stop.ends() as waiting:
                held = session.location.lease(run.order.lock_timeout_s, everything=session.built is not None)
                leases = await stack.enter_async_context(held)
                opened = await stack.enter_async_context(session.open(leases))
                await session.enter(opened.ledger, leases)
                await opened.ledger.begin_run(RunRecord(run.run_id, run.command, run.started_at))
                if run.order.listing is not None:
                    await keep(opened.ledger, run.order.listing)
            if waiting.cancelled_caught:
                return run.summary()
            async with aws.Sharing() as sharing, _sampling(run, opened.ledger):
                fleet = await _fleet(run, opened.ledger, leases, sharing)
                summary = await _done(run, opened.ledger, session.work(fleet))
            with run.stop.ends_by(CLOSED_BY_S):
                ended_at = run.clock.wall()
                await opened.ledger.keep_samples(run.recorder.samples().encoded())
                await opened.ledger.end_run(
                    RunRecord(run.run_id, run.command, run.started_at, ended_at, summary.exit_code, summary.json())
                )
                if session.built is not None and session.built():
                    await opened.finish()
            return summary
    except ProvisionerError as error:
        return run.summary(error=error)


@asynccontextmanager
async def _sampling(run: Run, ledger: Ledger) -> AsyncIterator[None]:
    """Keep the samples of the run now and then, for who looks at it while it goes on, and in case that it dies.

    An error that leaves the block arrives in an exception group.
    """

    async def keep_on() -> None:
        while True:
            await anyio.sleep(SAMPLES_EVERY_S)
            with suppress(LedgerError, LedgerLockedError):  # the run meets it, too, and reports it
                await ledger.keep_samples(run.recorder.samples().encoded())

    async with anyio.create_task_group() as group:
        group.start_soon(keep_on)
        yield
        group.cancel_scope.cancel()


@asynccontextmanager
async def _closing(run: Run, location: Location) -> AsyncIterator[AsyncExitStack]:
    """Close what is entered, within the time that a stopped run may take.

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
            hint = "Check its disk or its server, then run again: that run resolves what was under way"
            raise LedgerError("the ledger does not answer", where=location.name, hint=hint)


@dataclass(frozen=True, slots=True)
class _Session:
    """See :func:`session`."""

    work: Work
    location: Location
    enter: Enter
    built: Callable[[], bool] | None

    @asynccontextmanager
    async def open(self, leases: Leases) -> AsyncIterator[_Opened]:
        """Open the ledger, or begin to build it."""
        if self.built is None:
            async with self.location.open(leases) as ledger:
                yield _Opened(ledger, _nothing)
        else:
            async with self.location.build(leases) as building:
                yield _Opened(building.ledger, building.finish)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A ledger, and the call that gives a new one its name."""

    ledger: Ledger
    finish: Callable[[], Awaitable[None]]


async def _take_all(run: Run, ledger: Ledger, leases: Leases) -> None:
    del ledger
    await leases.take([target.name for target in run.order.targets])


async def _nothing() -> None:
    """Finish a ledger that exists already: nothing to do."""


async def _fleet(run: Run, ledger: Ledger, leases: Leases, sharing: aws.Sharing) -> Fleet:
    settings = run.order.settings
    return Fleet(
        settings=settings,
        ledger=ledger,
        leases=leases,
        clock=run.clock,
        observers=run.observers,
        places=await Places.load(ledger, settings.targets),
        sharing=sharing,
        stop=run.stop,
        failed=lambda name: run.statistics[name].failed,
        embedded=run.order.embedded,
    )


async def _done(run: Run, ledger: Ledger, work: Awaitable[None]) -> Summary:
    error = None
    try:
        with run.stop.ends(DRAIN_S):
            await work
    except (ProvisionerError, BaseExceptionGroup) as raised:
        error = first_error(raised)
    with suppress(LedgerError), run.stop.ends_by(CLOSED_BY_S):
        policy = run.order.policy
        run.superseded = await fates_of(ledger, run.statistics, policy.keep, adopted=policy.adopted)
    return run.summary(error=error)
