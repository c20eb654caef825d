"""Commands in a world: apply, destroy, adopt, forget and rename-target as the product has them, in virtual time.

Only the frame is left out: the lock file, the threads of the store, the process. See :mod:`tests.faults.world`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from provisioner.commands import adopt, apply, destroy, forget
from provisioner.commands import ledger as ledgers
from provisioner.commands.run import Run
from provisioner.core.selection import Selection
from provisioner.exit_codes import ExitCode
from provisioner.fleet.fleet import Fleet
from provisioner.fleet.places import Places
from provisioner.ledger import RunRecord
from provisioner.ledger.unwritten import NoLeases
from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import Manifest
from tests.faults.invariants import check_nothing_due
from tests.faults.world import TARGET, Courier, DirectLedger, Order, VirtualClock, World, opened, wish_of
from tests.virtual_time import run as run_virtually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from provisioner.config.target import Target
    from provisioner.core.policy import Policy
    from provisioner.engine.target import OpenTarget
    from provisioner.report.summary import Summary

Command = Literal["apply", "destroy", "adopt", "forget", "rename-target"]
RENAMED = "renamed"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldFleet(Fleet):
    """One target, in a world.

    Attributes:
        world: where it is.
        order: how its calls fare.
    """

    world: World
    order: Order

    @asynccontextmanager
    async def open(self, target: Target) -> AsyncIterator[OpenTarget]:
        """See :class:`Fleet`."""
        clock, ledger = self.clock, self.ledger
        assert isinstance(clock, VirtualClock)
        assert isinstance(ledger, DirectLedger)
        courier = Courier(self.world, clock, self.order.point)
        yield opened(self.world, self.order, clock, ledger, courier, self.observers[target.name])


class Done(NamedTuple):
    """How a command ended: its exit code, its summary if it has one, and when (true time)."""

    code: int
    summary: Summary | None
    at: float


def rules_of(command: Command, policy: Policy) -> Policy:
    """``policy`` as the options of ``command`` change it; ``apply`` replaces and may delete."""
    if command == "apply":
        return msgspec.structs.replace(policy, on_change="replace", deletes=True)
    return msgspec.structs.replace(policy, adopt="same", deletes=command == "destroy")


def run(world: World, command: Command, order: Order) -> Done:
    """One run of ``command`` with everything that there is, and everything confirmed."""
    return run_virtually(_run(world, command, order))


async def _run(world: World, command: Command, order: Order) -> Done:
    clock = VirtualClock(order.base)
    ledger, wish = DirectLedger(order.ledger, clock.wall, order.point), wish_of(order)
    try:
        if command in {"forget", "rename-target"}:
            await _change(ledger, command)
            return Done(ExitCode.DONE, None, clock.true())
        run = Run(wish, clock=clock)
        fleet = WorldFleet(
            settings=wish.settings,
            ledger=ledger,
            leases=NoLeases(),
            clock=clock,
            observers=run.observers,
            places=await Places.load(ledger, {}),
            world=world,
            order=order,
        )
        await ledger.begin_run(RunRecord(run.run_id, command, run.started_at))
        await _carry_out(command, run, fleet, order)
        summary = run.summary()
        check_nothing_due(await ledger.versions(order.target), run.statistics[order.target], order.policy)
        await ledger.end_run(RunRecord(run.run_id, command, run.started_at, clock.wall(), summary.exit_code))
        return Done(summary.exit_code, summary, clock.true())
    finally:
        await ledger.close()


async def _carry_out(command: Command, run: Run, fleet: Fleet, order: Order) -> None:
    manifests = {order.target: Manifest([str(order.manifest)], Rules(ownership_tag=order.policy.ownership_tag))}
    if command == "destroy":
        await destroy.carry_out(run, fleet, _everything, {})
    elif command == "adopt":
        await adopt.carry_out(run, fleet, manifests, adopt.NotTaken())
    else:
        await apply.carry_out(run, fleet, manifests)


async def _change(ledger: DirectLedger, command: Command) -> None:
    """Change the ledger, and nothing else."""
    if command == "forget":
        await forget.carry_out(ledger, Selection(), _confirmed)
    else:
        await ledgers.carry_out(ledger, TARGET, RENAMED)


async def _everything(_: object) -> Selection:
    return Selection()


async def _confirmed(_: object) -> None:
    """Nobody is asked."""
