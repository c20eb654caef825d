"""Opens a ledger as a command does. For tests."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from provisioner.ledger.location import locate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from provisioner.ledger import Ledger


@asynccontextmanager
async def open_ledger(
    location: str, *, readonly: bool = False, now: Callable[[], float] = time.time
) -> AsyncIterator[Ledger]:
    """The ledger at ``location``: for writing, under its lease; or beside whoever writes."""
    found = locate(location, now=now)
    if readonly:
        async with found.read() as ledger:
            yield ledger
    else:
        async with found.lease(everything=True) as leases, found.open(leases) as ledger:
            yield ledger
