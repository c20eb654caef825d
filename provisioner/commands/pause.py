"""``pause`` and ``resume``: a target that runs leave alone for a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.config.tables import nearest
from provisioner.errors import UsageError
from provisioner.ledger.location import locate

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from provisioner.config.settings import Settings
    from provisioner.core.pause import Pause


async def pause(settings: Settings, targets: Sequence[str], pause: Pause) -> None:
    """Pause ``targets``; a pause that they have already is replaced.

    Args:
        settings: with the ledger's location.
        targets: names of the configuration or of the ledger.
        pause: until when, and why.

    Raises:
        UsageError: neither the configuration nor the ledger has such a target.
        LedgerError: there is no ledger, or it cannot be written.
    """
    location = locate(settings.run.ledger)
    async with location.read() as ledger:
        known = {*settings.targets, *await ledger.counts(), *await ledger.places()}
    _refuse_unknown(targets, known)
    await location.pause(dict.fromkeys(targets, pause))


async def resume(settings: Settings, targets: Sequence[str], *, now: float) -> Mapping[str, Pause | None]:
    """End the pauses of ``targets``; returns what they were, None for a target that was not paused.

    Args:
        settings: with the ledger's location.
        targets: names of the configuration or of the ledger.
        now: seconds since the epoch.

    Raises:
        UsageError, LedgerError: as :func:`pause`.
    """
    location = locate(settings.run.ledger)
    async with location.read() as ledger:
        pauses = {name: one for name, one in (await ledger.pauses()).items() if one.until > now}
        known = {*settings.targets, *await ledger.counts(), *await ledger.places(), *pauses}
    _refuse_unknown(targets, known)
    await location.pause(dict.fromkeys(targets))
    return {name: pauses.get(name) for name in targets}


def _refuse_unknown(targets: Sequence[str], known: Collection[str]) -> None:
    for name in targets:
        if name not in known:
            hint = nearest(name, sorted(known), "There are {}")
            raise UsageError(f"neither the configuration nor the ledger has a target {name!r}", hint=hint)
