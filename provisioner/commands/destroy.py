"""``destroy``: deletes algorithms that this ledger created, by selection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from provisioner.commands.plan import confirm
from provisioner.commands.session import session
from provisioner.core.versions import DESTROYED, Role, to_delete
from provisioner.engine.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from provisioner.commands.run import Run
    from provisioner.core.entry import Entry
    from provisioner.core.selection import Selection
    from provisioner.engine.target import OpenTarget
    from provisioner.fleet.fleet import Fleet
    from provisioner.ledger import Ledger
    from provisioner.report.summary import Summary


async def destroy(run: Run, select: Callable[[Ledger], Awaitable[Selection]]) -> Summary:
    """Delete the selected algorithms that this ledger created, and what is superseded under their names.

    Adopted ones are deleted only where the policy allows it. What is unresolved is resolved first, so that nothing is
    left behind.

    Args:
        run: whose policy may delete.
        select: which entries.
    """

    async def work(fleet: Fleet) -> None:
        chosen = await select(fleet.ledger)
        await fleet.each(run.order.targets, resolve)
        entries = {target.name: await _entries(run, fleet.ledger, target.name, chosen) for target in run.order.targets}
        older = sum([await _older(run, fleet.ledger, target.name) for target in run.order.targets])
        count = sum(map(len, entries.values()))
        why = f"{count} that the ledger names" + (f", {older} that were replaced or pruned" if older else "")
        await confirm(run, count + older, why)

        async def delete(target: OpenTarget) -> None:
            engine = Engine(target, run.order.policy, run.stop, workers=run.order.settings.run.max_in_flight)
            await engine.run(None, retire=entries[target.name], why=DESTROYED)

        going = [target for target in run.order.targets if not run.statistics[target.name].halt]
        await fleet.each(going, delete)

    async def resolve(target: OpenTarget) -> None:
        policy = msgspec.structs.replace(run.order.policy, deletes=False)
        await Engine(target, policy, run.stop, workers=1).run(None)

    return await session(run, "destroy", work, makes=False)


async def _entries(run: Run, ledger: Ledger, target: str, chosen: Selection) -> list[Entry]:
    return [
        entry
        async for entry in ledger.entries(target=target)
        if entry.exists and chosen.matches(entry) and (run.order.policy.adopted or not entry.adopted)
    ]


async def _older(run: Run, ledger: Ledger, target: str) -> int:
    versions = await ledger.versions(target, roles={Role.SUPERSEDED})
    return len(to_delete(versions, 0, adopted=run.order.policy.adopted))
