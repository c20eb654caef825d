"""What this ledger created and does not know of, under the name of an algorithm that turned out to be gone.

A ledger that went back in time (a restored backup, a rolled-back volume) names algorithms that were replaced since.
Whoever deletes them finds them gone, while what has taken their place lives on: it bears this ledger's tag, and no
entry names it. List is read for that, once, and only when something is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from provisioner.core.names import folded
from provisioner.core.problem import Problem
from provisioner.engine.inventory import Details

if TYPE_CHECKING:
    from collections.abc import Collection

    from provisioner.core.versions import Version
    from provisioner.engine.inventory import Contents, Inventory
    from provisioner.engine.target import OpenTarget


class Unrecorded:
    """Finds such algorithms in one target.

    Args:
        target: which one.
        inventory: reads it.
    """

    def __init__(self, target: OpenTarget, inventory: Inventory) -> None:
        self._target = target
        self._inventory = inventory
        self._reading = anyio.Lock()
        self._contents: Contents | None = None

    async def under_name_of(self, version: Version) -> Details:
        """Those under the name of ``version``, which Get does not find; ``unread`` has what may be one.

        Where List shows the version itself, and nothing was sent to delete it, that is ``unread``: one of them lags.

        May be cancelled at any point.

        Raises:
            CallError, IntegrityError, ConfigurationError: see :meth:`Inventory.details`.
            IncompleteListError: List could not be read to its end.
        """
        listed = (await self._read()).by_name.get(folded(version.name), [])
        ledger = self._target.ledger
        if not version.deletion and any(item.arn == version.arn for item in listed):
            return Details((), unread=frozenset({version.arn}))
        strangers = [item.arn for item in listed if not await ledger.named(item.arn)]
        if not strangers:
            return Details(())
        details = await self._inventory.details(strangers)
        under_way = await self._under_way({item.name for item in listed})
        ours = [
            one
            for one in details.found
            if one.tag
            and one.is_of(ledger.ledger_id)
            and one.tag.attempt not in under_way
            # Its reply may have been recorded since.
            and not await ledger.named(one.arn)
        ]
        return Details(tuple(sorted(ours, key=lambda one: one.age_order)), details.unread)

    async def _read(self) -> Contents:
        """What List shows, read once."""
        async with self._reading:
            if self._contents is None:
                self._contents = await self._inventory.contents()
        return self._contents

    async def _under_way(self, names: Collection[str]) -> set[str]:
        """Attempts whose algorithms are yet to be recorded."""
        ledger, target = self._target.ledger, self._target.name
        entries = await ledger.look_up(target, list(names))
        incoming = await ledger.incoming(target)
        known = [*entries.values(), *(incoming[name] for name in names if name in incoming)]
        return {one.attempt for one in known if one.unresolved}


def unrecorded(version: Version, target: str, arn: str) -> Problem:
    """The problem that ``arn`` lives on, while ``version``, which was to be deleted, is gone."""
    message = (
        f"{version.arn}, which was to be deleted, was gone already, and {arn}, which this ledger created under the "
        "same name, is not recorded, so it was not deleted. Record it: `provisioner verify --mark-unrecorded`"
    )
    return Problem("", 0, version.name, "unrecorded", message, target=target)
