"""Every store keeps the whole contract. A new store is one more class here."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from provisioner.ledger.location import open_ledger
from tests.ledger.contract import LedgerContract

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledger.contract.facts import Store


class TestSqlite(LedgerContract):
    """The contract, for the SQLite store."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        """Opens the ledger of the test."""
        return functools.partial(open_ledger, str(tmp_path / "ledger.db"))
