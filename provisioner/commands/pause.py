"""``pause`` and ``resume``: targets that runs leave alone for a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.config.tables import nearest
from provisioner.core.targets import choose
from provisioner.errors import UsageError
from provisioner.ledger.location import locate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.config.settings import Settings
    from provisioner.core.pause import Pause
    from provisioner.ledger import Ledger


async def pause(settings: Settings, patterns: Sequence[str], pause: Pause) -> tuple[str, ...]:
    """Pause the targets that ``patterns`` select; a pause that one has already is replaced. Returns their names.

    Args:
        settings: with the ledger's location.
        patterns: of targets of the configuration or of the ledger.
        pause: until when, and why.

    Raises:
        UsageError: neither the configuration nor the ledger has such a target.
        LedgerError: there is no ledger, or it cannot be written.
    """
    location = locate(settings.run.ledger)
    async with location.read() as ledger:
        chosen = await _chosen(settings, ledger, patterns)
    await location.pause(dict.fromkeys(chosen, pause))
    return chosen


async def resume(settings: Settings, patterns: Sequence[str], *, now: float) -> Mapping[str, Pause | None]:
    """End the pauses of those targets; returns what they were, None for a target that was not paused.

    Args:
        settings: with the ledger's location.
        patterns: of targets of the configuration or of the ledger.
        now: seconds since the epoch.

    Raises:
        UsageError, LedgerError: as :func:`pause`.
    """
    location = locate(settings.run.ledger)
    async with location.read() as ledger:
        chosen = await _chosen(settings, ledger, patterns)
        pauses = {name: one for name, one in (await ledger.pauses()).items() if one.until > now}
    await location.pause(dict.fromkeys(chosen))
    return {name: pauses.get(name) for name in chosen}


async def _chosen(settings: Settings, ledger: Ledger, patterns: Sequence[str]) -> tuple[str, ...]:
    ours = settings.tags
    theirs = sorted({*await ledger.counts(), *await ledger.places(), *await ledger.pauses()} - ours.keys())
    chosen = choose(patterns, {**ours, **{name: {} for name in theirs}})
    if chosen.unmatched is not None:
        hint = nearest(chosen.unmatched, [*ours, *theirs], "There are {}")
        raise UsageError(f"neither the configuration nor the ledger has a target {chosen.unmatched!r}", hint=hint)
    if not chosen.names:
        raise UsageError(
            "no target is selected", hint="The patterns with ! exclude all that the others select: leave one out"
        )
    return chosen.names
