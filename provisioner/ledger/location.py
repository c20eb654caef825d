"""Which store a location names."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.errors import ConfigurationError
from provisioner.ledger.sqlite.store import SqliteLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from provisioner.ledger import Ledger


@contextlib.asynccontextmanager
async def open_ledger(
    location: str, *, readonly: bool = False, now: Callable[[], float] = time.time
) -> AsyncIterator[Ledger]:
    """The ledger at ``location``, closed at the end. A run takes its run lock first.

    Args:
        location: a path; the file is made when it is missing, unless ``readonly``.
        readonly: refuse to write; a run may be using the ledger meanwhile.
        now: the wall clock, seconds since the epoch.

    Raises:
        ConfigurationError: the location is of a kind that this version does not have.
        LedgerError: the ledger cannot be opened, is damaged, or of a newer version.
    """
    if location.startswith(("postgresql://", "postgres://")):
        raise ConfigurationError(
            "a PostgreSQL ledger is not available in this version",
            where="postgresql://…",
            hint="Give the path of a file, such as ledger.db",
        )
    ledger = await SqliteLedger.open(Path(location), readonly=readonly, now=now)
    try:
        yield ledger
    finally:
        await ledger.close()
