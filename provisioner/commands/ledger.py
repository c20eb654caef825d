"""``ledger``: operations on the ledger itself. AWS is not called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from provisioner.config.settings import Target
from provisioner.errors import LedgerError, UsageError
from provisioner.ledger.location import locate

if TYPE_CHECKING:
    from provisioner.config.settings import Settings
    from provisioner.ledger import Ledger


class Renamed(msgspec.Struct, frozen=True):
    """A target that was renamed.

    Attributes:
        old, new: its names.
        entries: how many moved.
    """

    old: str
    new: str
    entries: int


async def rename_target(settings: Settings, old: str, new: str, *, lock_timeout_s: float = 0.0) -> Renamed:
    """Move everything that the ledger holds of target ``old`` to ``new``; nothing changes in AWS.

    The same rename once more, after a process that died before it could say so, changes nothing.

    Raises:
        UsageError: ``new`` cannot be the name of a target, or the ledger does not know ``old``.
        LedgerError: there is no ledger, or it has entries of ``new``.
        LedgerLockedError: a run holds the ledger.
    """
    _refuse_name(new)
    location = locate(settings.run.ledger)
    if not await location.exists():
        raise LedgerError("there is no ledger here", where=location.name, hint="Name it with --ledger")
    async with location.lease(lock_timeout_s) as lease, location.open(lease) as ledger:
        return await carry_out(ledger, old, new)


async def carry_out(ledger: Ledger, old: str, new: str) -> Renamed:
    """Do that in ``ledger``; see :func:`rename_target`."""
    counts = await ledger.counts()
    known = {*counts, *await ledger.places()}
    if old not in known:
        if new in known and await _was_renamed(ledger, old, new):
            return Renamed(old, new, sum(counts.get(new, {}).values()))
        hint = f"It has {', '.join(sorted(known)) or 'no targets at all'}"
        raise UsageError(f"the ledger has no target {old!r}", hint=hint)
    await ledger.rename_target(old, new)
    return Renamed(old, new, sum(counts.get(old, {}).values()))


async def _was_renamed(ledger: Ledger, old: str, new: str) -> bool:
    """Whether this rename is done, and nothing has happened since: a rename gives both names the same count."""
    return 0 < await ledger.changes(old) == await ledger.changes(new)


def _refuse_name(name: str) -> None:
    try:
        msgspec.convert({"name": name}, Target)
    except msgspec.ValidationError as error:
        hint = "It is a name as in [targets.NAME] of the configuration"
        raise UsageError(f"a target cannot be called {name!r}", why=str(error), hint=hint) from error
