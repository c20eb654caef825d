"""``forget``: removes entries from the ledger and leaves AWS alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from provisioner.errors import LedgerError
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
        existing: how many of these named an algorithm that AWS keeps.
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
    async with location.lease(lock_timeout_s) as lease, location.open(lease) as ledger:
        chosen = await select(ledger)
        entries = [entry async for entry in ledger.entries() if chosen.matches(entry)]
        incoming = {target: await _unresolved(ledger, target) for target in {entry.target for entry in entries}}
        gone = [entry for entry in entries if not (entry.unresolved or entry.name in incoming[entry.target])]
        found = Forgotten(len(gone), sum(entry.exists for entry in gone), len(entries) - len(gone))
        await confirm(found)
        await _remove(ledger, gone)
    return found


async def _unresolved(ledger: Ledger, target: str) -> set[str]:
    return {name for name, entry in (await ledger.incoming(target)).items() if entry.unresolved}


async def _remove(ledger: Ledger, entries: list[Entry]) -> None:
    for target in sorted({entry.target for entry in entries}):
        names = [entry.name for entry in entries if entry.target == target]
        for start in range(0, len(names), AT_ONCE):
            await ledger.forget(target, names[start : start + AT_ONCE])
