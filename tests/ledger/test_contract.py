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
from tests.pgbouncer import pooled_ledger
from tests.postgres import Ledger as Postgres
from tests.postgres import empty_ledger, fresh_ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from provisioner.ledger import Ledger
    from tests.ledger.contract.facts import Put, Rival, Store

FIRST = Path(__file__).with_name("schema-1.sql")
"""A ledger as the first schema has it, by ``sqlite3 .dump``."""
FIRST_OF_POSTGRES = FIRST.with_name("postgres-schema-1.sql")
"""The same by ``pg_dump``, shortened."""


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
    def where(self, path: Path) -> str:
        """Its path."""
        return str(path)

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


class TestPostgres(LedgerContract):
    """The contract, for the PostgreSQL store."""

    examples = 8

    @pytest.fixture
    def postgres(self, request: pytest.FixtureRequest) -> Postgres:
        """The ledger of the test."""
        return fresh_ledger() if {"older", "newer"} & {*request.fixturenames} else empty_ledger()

    @pytest.fixture
    def where(self, postgres: Postgres) -> str:
        """Its URL."""
        return postgres.url

    @pytest.fixture
    def store(self, postgres: Postgres) -> Store:
        """Opens the ledger."""
        return functools.partial(open_ledger, postgres.url)

    @pytest.fixture
    def rival(self, postgres: Postgres) -> Rival:
        """A run that begins after the lease of another has expired."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[Ledger]:
            postgres.execute("UPDATE workers SET expires_at = now()")
            async with open_ledger(postgres.url) as ledger:
                yield ledger

        return opened

    @pytest.fixture
    def older(self, postgres: Postgres) -> Put:
        """The dump of the first schema."""
        sql = FIRST_OF_POSTGRES.read_text().replace("LEDGER", postgres.schema)
        return functools.partial(_executed, postgres, sql)

    @pytest.fixture
    def newer(self, postgres: Postgres) -> Put:
        """A number in the table ``meta``."""
        return functools.partial(_executed, postgres, "UPDATE meta SET value = '99' WHERE key = 'schema'")


@pytest.mark.torture
class TestPostgresBehindPgBouncer(TestPostgres):
    """The same through a proxy that pools transactions."""

    @pytest.fixture
    def postgres(self, request: pytest.FixtureRequest) -> Postgres:
        """The ledger of the test."""
        pooled = pooled_ledger()
        if not {"older", "newer"} & {*request.fixturenames}:
            return pooled
        fresh = fresh_ledger()
        return fresh._replace(url=pooled.url.replace(pooled.schema, fresh.schema))


def _executed(postgres: Postgres, sql: str) -> None:
    postgres.execute(sql)
