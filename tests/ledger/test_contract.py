"""Every store keeps the whole contract. A new store is one more class here, with these four fixtures."""

from __future__ import annotations

import functools
import sqlite3
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ledger.contract import LedgerContract
from tests.ledger.opening import open_ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from provisioner.ledger import Ledger
    from tests.ledger.contract.facts import Put, Rival, Store

FIRST = Path(__file__).with_name("schema-1.sql")
"""A ledger as the first schema has it, by ``sqlite3 .dump``."""


def script(path: Path, sql: str) -> None:
    """Run ``sql`` on the database at ``path``."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(sql)


class TestSqlite(LedgerContract):
    """The contract, for the SQLite store."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """The ledger of the test."""
        return tmp_path / "ledger.db"

    @pytest.fixture
    def store(self, path: Path) -> Store:
        """Opens the ledger."""
        return functools.partial(open_ledger, str(path))

    @pytest.fixture
    def rival(self, path: Path) -> Rival:
        """A run that begins after somebody has deleted the lock file."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[Ledger]:
            path.with_name("ledger.db.lock").unlink()
            async with open_ledger(str(path)) as ledger:
                yield ledger

        return opened

    @pytest.fixture
    def older(self, path: Path) -> Put:
        """The dump of the first schema."""
        return functools.partial(script, path, FIRST.read_text())

    @pytest.fixture
    def newer(self, path: Path) -> Put:
        """A number in the file's header."""
        return functools.partial(script, path, "PRAGMA user_version = 99")
