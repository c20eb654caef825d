"""``reconcile``: resolves unanswered creates now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from provisioner.commands.session import session
from provisioner.engine.engine import Engine

if TYPE_CHECKING:
    from provisioner.commands.run import Run
    from provisioner.engine.target import OpenTarget
    from provisioner.fleet.fleet import Fleet
    from provisioner.report.summary import Summary


async def reconcile(run: Run) -> Summary:
    """Resolve every entry of the selected targets whose algorithm may or may not exist. Nothing is deleted."""
    policy = msgspec.structs.replace(run.order.policy, deletes=False)

    async def resolve(target: OpenTarget) -> None:
        await Engine(target, policy, run.stop, workers=1).run(None)

    async def work(fleet: Fleet) -> None:
        await fleet.each(run.order.targets, resolve)

    return await session(run, "reconcile", work, makes=False)
