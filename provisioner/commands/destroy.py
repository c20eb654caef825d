"""``destroy``: deletes algorithms that this ledger created, by selection."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from provisioner.commands.confirmation import confirm
from provisioner.commands.session import session
from provisioner.commands.strays import strays_reported
from provisioner.core.versions import DESTROYED, Role, to_delete
from provisioner.engine.engine import Engine
from provisioner.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from provisioner.commands.run import Run
    from provisioner.core.entry import Entry
    from provisioner.core.selection import Selection
    from provisioner.engine.target import OpenTarget
    from provisioner.fleet.fleet import Fleet
    from provisioner.ledger import Ledger
    from provisioner.report.summary import Summary


class Selected(msgspec.Struct):
    """What a selection comes to.

    Attributes:
        entries: whose algorithms are deleted.
        names: whose superseded versions are deleted.
        superseded: how many these are.
        adopted: entries that are selected and stay, because their algorithms were taken over.
    """

    entries: list[Entry] = []
    names: set[str] = set()
    superseded: int = 0
    adopted: int = 0

    @property
    def count(self) -> int:
        """Algorithms that are deleted."""
        return len(self.entries) + self.superseded


async def destroy(run: Run, select: Callable[[Ledger], Awaitable[Selection]], found: dict[str, Selected]) -> Summary:
    """Delete the selected algorithms that this ledger created, and what is superseded under their names.

    Adopted ones are deleted only where the policy allows it. What is unresolved is resolved first, so that nothing is
    left behind.

    Args:
        run: whose policy may delete.
        select: which entries.
        found: gets what was selected, by target.
    """
    work = partial(carry_out, run, select=select, found=found)
    return await session(run, "destroy", work, makes=False)


async def carry_out(
    run: Run, fleet: Fleet, select: Callable[[Ledger], Awaitable[Selection]], found: dict[str, Selected]
) -> None:
    """Do that with the ledger and the targets of ``fleet``; see :func:`destroy`.

    Raises:
        DeletionsRefusedError, UnconfirmedError: see ``commands/confirmation.py``; nothing was deleted.
    """
    ledger, targets = fleet.ledger, run.order.targets
    chosen = await select(ledger)
    # A create that is about to be resolved changes its state and its run.
    unresolved = {
        (entry.target, entry.name)
        for target in targets
        async for entry in ledger.entries(target=target.name)
        if entry.unresolved and chosen.matches(entry)
    }

    async def resolve(target: OpenTarget) -> None:
        policy = msgspec.structs.replace(run.order.policy, deletes=False)
        await Engine(target, policy, run.stop, workers=1).run(None)

    async def delete(target: OpenTarget) -> None:
        here, statistics = found[target.name], run.statistics[target.name]
        engine = Engine(target, run.order.policy, run.stop, workers=run.order.settings.run.max_in_flight)
        async with strays_reported(run, target):
            await engine.run(None, retire=here.entries, why=DESTROYED, only=here.names.__contains__)
            statistics.pruned = statistics.deleted  # superseded versions too: it is `destroy` that deleted them

    await fleet.each(targets, resolve)
    targets = tuple(target for target in targets if not run.statistics[target.name].halt)
    if not run.stop.requested:
        for target in targets:
            found[target.name] = await _selected(run, ledger, target.name, chosen, unresolved)
        entries = sum(len(one.entries) for one in found.values())
        superseded = sum(one.superseded for one in found.values())
        why = f"{entries} registered, {superseded} superseded" if superseded else ""
        await confirm(run, entries + superseded, why, look="`provisioner list` with the same selection")
    if run.stop.requested:
        run.reasons.add(Reason.UNFINISHED)
        return
    await fleet.each(targets, delete)


async def _selected(
    run: Run, ledger: Ledger, target: str, chosen: Selection, unresolved: set[tuple[str, str]]
) -> Selected:
    adopted = run.order.policy.adopted
    found = Selected()
    async for entry in ledger.entries(target=target):
        if not (chosen.matches(entry) or (entry.target, entry.name) in unresolved):
            continue
        found.names.add(entry.name)
        if entry.exists and entry.adopted and not adopted:
            found.adopted += 1
        elif entry.exists:
            found.entries.append(entry)
    due = to_delete(await ledger.versions(target, roles={Role.SUPERSEDED}), 0, adopted=adopted)
    # What an interrupted `destroy` has begun, the next one finishes: its entries are in another state and run by now.
    found.names |= {one.name for one in due if one.reason == DESTROYED and chosen.covers(one)}
    found.superseded = sum(one.name in found.names for one in due)
    return found
