"""``forget``: removes entries from the ledger and leaves AWS alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from provisioner.commands.finding import selected
from provisioner.commands.run import new_run_id
from provisioner.core.versions import Role
from provisioner.errors import LedgerError
from provisioner.ledger import RunRecord
from provisioner.ledger.location import locate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from provisioner.config.settings import Settings
    from provisioner.core.entry import Entry
    from provisioner.core.selection import Selection
    from provisioner.ledger import Ledger

AT_ONCE = 256
"""Entries in one commit."""


class Forgotten(msgspec.Struct, frozen=True):
    """What ``forget`` removed.

    Attributes:
        entries: how many.
        existing: how many algorithms they named that AWS keeps, superseded ones included.
        unresolved: how many were left because a create of theirs has no answer yet.
    """

    entries: int
    existing: int
    unresolved: int


async def forget(
    settings: Settings,
    select: Callable[[Ledger], Awaitable[Selection]],
    confirm: Callable[[Forgotten], Awaitable[None]],
    *,
    lock_timeout_s: float = 0.0,
) -> Forgotten:
    """Remove the selected entries.

    What is unresolved stays: its algorithm may exist, and nothing else knows of it.

    Args:
        settings: with the ledger's location.
        select: which entries.
        confirm: is asked before anything is removed; raises to prevent it.
        lock_timeout_s: seconds to wait for another run to release the ledger.

    Raises:
        LedgerError: there is no ledger, or it cannot be written.
        LedgerLockedError: another run holds it.
    """
    location = locate(settings.run.ledger)
    if not await location.exists():
        raise LedgerError("there is no ledger here", where=location.name, hint="Name it with --ledger")
    async with location.lease(lock_timeout_s) as leases, location.open(leases) as ledger:
        chosen = await _concerned(ledger, await select(ledger))
        await leases.take(chosen.targets)
        return await carry_out(ledger, chosen, confirm)


async def _concerned(ledger: Ledger, chosen: Selection) -> Selection:
    """``chosen``, restricted to the targets of which it selects something: others may be in use."""
    if chosen.targets:
        return chosen
    found = {entry.target async for entry in selected(ledger, chosen)}
    return msgspec.structs.replace(chosen, targets=frozenset(found))


async def carry_out(ledger: Ledger, chosen: Selection, confirm: Callable[[Forgotten], Awaitable[None]]) -> Forgotten:
    """Remove what is ``chosen`` from ``ledger``; see :func:`forget`."""
    entries = [entry async for entry in ledger.entries() if chosen.matches(entry)]
    incoming = {target: await _unresolved(ledger, target) for target in {entry.target for entry in entries}}
    gone = [entry for entry in entries if not (entry.unresolved or entry.name in incoming[entry.target])]
    existing = sum(entry.exists for entry in gone) + await _superseded(ledger, gone)
    found = Forgotten(len(gone), existing, len(entries) - len(gone))
    if gone:
        await confirm(found)
        await _recorded(ledger, gone)
    return found


async def _superseded(ledger: Ledger, gone: list[Entry]) -> int:
    """How many superseded versions are forgotten with ``gone``."""
    names = {(entry.target, entry.name) for entry in gone}
    versions = [await ledger.versions(target, roles={Role.SUPERSEDED}) for target in {target for target, _ in names}]
    return sum((one.target, one.name) in names for some in versions for one in some)


async def _recorded(ledger: Ledger, gone: list[Entry]) -> None:
    """Remove ``gone``, as a run: what changes entries is in the ledger's list of runs."""
    started_at = time.time()
    run = RunRecord(new_run_id(started_at), "forget", started_at)
    await ledger.begin_run(run)
    await _remove(ledger, gone)
    await ledger.end_run(msgspec.structs.replace(run, ended_at=time.time(), exit_code=0))


async def _unresolved(ledger: Ledger, target: str) -> set[str]:
    return {name for name, entry in (await ledger.incoming(target)).items() if entry.unresolved}


async def _remove(ledger: Ledger, entries: list[Entry]) -> None:
    for target in sorted({entry.target for entry in entries}):
        names = [entry.name for entry in entries if entry.target == target]
        for start in range(0, len(names), AT_ONCE):
            await ledger.forget(target, names[start : start + AT_ONCE])
