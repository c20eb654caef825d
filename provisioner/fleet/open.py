"""Opens a target for the engine: connection, account guard, gates, and what the pacer remembers."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import anyio
import msgspec
import structlog

from provisioner import aws
from provisioner.config.settings import PaceSettings
from provisioner.core.entry import State
from provisioner.core.ownership import read_arn
from provisioner.engine.site import Site
from provisioner.engine.tally import Halt
from provisioner.errors import (
    ConfigurationError,
    IntegrityError,
    LedgerError,
    LedgerLockedError,
    ProvisionerError,
    first_error,
)
from provisioner.pacing.gate import Gate
from provisioner.pacing.observed import Learned
from provisioner.pacing.pacer import PaceBounds, Pacer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from provisioner.commands.run import Run
    from provisioner.config.settings import Target
    from provisioner.engine.tally import Tally
    from provisioner.ledger import Ledger
    from provisioner.ledger.lease import Lease

CONNECT_TIMEOUT_S = 3.0
"""With a reply that may take 20 s it stays below the 24 s that a drain allows."""
LEARN_EVERY_S = 10.0
"""How often a run keeps what its pacers learned, so that a killed run does not forget it."""

log = structlog.get_logger()
_learned = msgspec.json.Decoder(Learned)


@asynccontextmanager
async def open_site(run: Run, ledger: Ledger, lease: Lease, target: Target) -> AsyncIterator[Site]:
    """Connect to ``target``; at the end, what its pacer learned is kept.

    Raises:
        ConfigurationError: the target cannot be what its configuration says.
        CredentialsError: there are no usable credentials.
        IntegrityError: the credentials are of another account than the configured one.
    """
    tally, settings = run.tallies[target.name], run.order.settings
    limits = aws.Limits(
        max_connections=settings.run.max_in_flight,
        connect_timeout_s=CONNECT_TIMEOUT_S,
        read_timeout_s=settings.run.read_timeout_s,
    )
    async with aws.connect(target, limits) as calls:
        tally.region = calls.region
        for notice in calls.notices:
            log.warning("target.notice", target=target.name, notice=notice)
        if target.account_id:
            tally.account_id = await _guard_account(calls, target)
        account_id = tally.account_id or calls.account_id
        run.places.take(target.name, endpoint=calls.endpoint, region=calls.region, account_id=account_id)
        await _guard_place(ledger, target, calls.region, tally)
        pacer = await _pacer(run, ledger, target, calls)
        gate = run.gates[target.name] = _gate(run, pacer)
        site = Site(
            target=target.name,
            account_id=target.account_id,
            ledger=ledger,
            lease=lease,
            aws=calls,
            creates=gate,
            reads=_gate(run, Pacer(_bounds(PaceSettings()), run.clock.monotonic())),
            clock=run.clock,
        )
        async with _remembering(run, ledger, target, pacer):
            yield site


@contextmanager
def contained(tally: Tally) -> Iterator[None]:
    """What goes wrong with one target alone halts it alone; what goes wrong with the ledger ends the run.

    Raises:
        LedgerError: the ledger is out of order, or its lock lost.
    """
    try:
        yield
    except (ProvisionerError, BaseExceptionGroup) as error:
        cause = first_error(error)
        if isinstance(cause, LedgerError | LedgerLockedError):
            raise cause from error
        log.error("target.halted", target=tally.target, why=str(cause))  # noqa: TRY400  users see no traceback
        tally.halt = tally.halt or Halt(cause.reason, str(cause))


async def _guard_account(calls: aws.Aws, target: Target) -> str:
    """Refuse to run against any other account than the configured one."""
    account_id = await calls.control.caller_account()
    if account_id != target.account_id:
        why = f"the credentials are of account {account_id}, the configuration says {target.account_id}"
        raise IntegrityError("this is the wrong account", where=target.name, why=why)
    return account_id


async def _guard_place(ledger: Ledger, target: Target, region: str, tally: Tally) -> None:
    """What the ledger calls by this target's name must lie where the target is now.

    Raises:
        ConfigurationError: the target was moved to another Region or account under its old name.
    """
    async for entry in ledger.entries(target=target.name, states=(State.CREATED, State.DRIFTED)):
        place = read_arn(entry.arn)
        account_id = tally.account_id or place.account_id
        if (place.region, place.account_id) != (region, account_id):
            why = f"the ledger has it in {place.region} ({place.account_id}), and now it is in {region} ({account_id})"
            hint = "Name another ledger, or give the new place a target of its own"
            raise ConfigurationError("the target has moved", where=target.name, why=why, hint=hint)
        tally.account_id = account_id
        return


async def _pacer(run: Run, ledger: Ledger, target: Target, calls: aws.Aws) -> Pacer:
    """The pacer of creates, warm from what an earlier run learned."""
    pace = run.order.settings.pace
    kept = await ledger.learned(target.name, "create")
    learned = _learned.decode(kept) if kept else None
    published = None
    if pace.service_quotas and learned is None and not target.endpoint_url:
        published = await calls.control.published_rate()
        log.info("pace.published", target=target.name, rate_per_s=published)
    if published:
        pace = msgspec.structs.replace(pace, initial_rate=published)
    return Pacer(_bounds(pace), run.clock.monotonic(), learned, run.clock.wall())


def _bounds(pace: PaceSettings) -> PaceBounds:
    return PaceBounds(initial_rate=pace.initial_rate, max_rate=pace.max_rate, share=pace.share)


def _gate(run: Run, pacer: Pacer) -> Gate:
    return Gate(pacer, max_in_flight=run.order.settings.run.max_in_flight, clock=run.clock.monotonic)


@asynccontextmanager
async def _remembering(run: Run, ledger: Ledger, target: Target, pacer: Pacer) -> AsyncIterator[None]:
    """Keep what the pacer learns, now and then and at the end."""

    async def keep() -> None:
        if (state := pacer.learned(run.clock.wall())) is not None:
            await ledger.learn(target.name, "create", msgspec.json.encode(state))

    async def keep_on() -> None:
        while True:
            await anyio.sleep(LEARN_EVERY_S)
            await keep()

    async with anyio.create_task_group() as group:
        group.start_soon(keep_on)
        yield
        group.cancel_scope.cancel()
    await keep()
