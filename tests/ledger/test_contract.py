"""Every store keeps the whole contract. A new store is one more class here."""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.ledger.contract import LedgerContract
from tests.ledger.opening import open_ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from provisioner.ledger import Ledger
    from tests.ledger.contract.facts import Rival, Store


class TestSqlite(LedgerContract):
    """The contract, for the SQLite store."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        """Opens the ledger of the test."""
        return functools.partial(open_ledger, str(tmp_path / "ledger.db"))

    @pytest.fixture
    def rival(self, tmp_path: Path) -> Rival:
        """A run that begins after somebody has deleted the lock file."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[Ledger]:
            (tmp_path / "ledger.db.lock").unlink()
            async with open_ledger(str(tmp_path / "ledger.db")) as ledger:
                yield ledger

        return opened
