"""Schemas: from nothing, from an older one, from a newer one; all steps with their record or none."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from provisioner.errors import LedgerError
from provisioner.ledger.location import locate
from provisioner.ledger.postgres import migrations, schema
from provisioner.ledger.sqlite import database
from provisioner.ledger.sqlite.database import connect, migrate
from provisioner.ledger.sqlite.migrations import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from tests.ledger.contract.facts import all_of
from tests.ledger.opening import open_ledger
from tests.postgres import fresh_ledger

FIRST = Path(__file__).with_name("schema-1.sql")
"""A ledger as the first released schema has it, by ``sqlite3 .dump``."""


def version_of(path: Path) -> int:
    """The schema version in the file."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def one_more(monkeypatch: pytest.MonkeyPatch, *statements: str) -> None:
    """Let there be one more step than there is."""
    monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, statements))
    monkeypatch.setattr(database, "SCHEMA_VERSION", SCHEMA_VERSION + 1)


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A ledger of the first schema."""
    path = tmp_path / "l.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIRST.read_text())
    return path


async def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    """What a kill right after the creation leaves behind is empty: readers say so, and the next run makes a ledger."""
    path = tmp_path / "l.db"
    path.touch()
    with contextlib.closing(connect(path, "ro")) as reader, pytest.raises(LedgerError, match="the ledger is empty"):
        database.prepare_reader(reader)
    async with open_ledger(str(path)) as ledger:
        assert await all_of(ledger) == []

    assert version_of(path) == SCHEMA_VERSION
    assert int.from_bytes(path.read_bytes()[68:72], "big") == APPLICATION_ID


async def test_a_step_is_made_once(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new step changes an old ledger at its first open and not again."""
    one_more(monkeypatch, "ALTER TABLE entries ADD COLUMN colour TEXT")
    for _ in range(2):
        async with open_ledger(str(first)) as ledger:
            assert len(await all_of(ledger)) == 2

        assert version_of(first) == SCHEMA_VERSION + 1


async def test_a_step_that_fails_leaves_no_trace(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a statement fails, those before it are undone, of earlier steps too: no reader meets a half-made schema."""
    one_more(monkeypatch, "ALTER TABLE entries ADD COLUMN colour TEXT", "this is no SQL")
    with pytest.raises(LedgerError):
        async with open_ledger(str(first)):
            pass
    with contextlib.closing(sqlite3.connect(first)) as connection:
        columns = {row[1] for row in connection.execute("PRAGMA table_info (entries)")}

    assert (version_of(first), "colour" in columns) == (1, False)


async def test_a_new_ledger_is_made_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in PostgreSQL: what ends before the last step leaves no schema behind."""
    postgres = fresh_ledger()
    monkeypatch.setattr(schema, "MIGRATIONS", (*migrations.MIGRATIONS[:-1], ("this is no SQL",)))
    with pytest.raises(LedgerError):
        async with locate(postgres.url).lease():
            pass

    assert postgres.execute(f"SELECT to_regnamespace('{postgres.schema}') IS NULL") == [(True,)]


def test_two_processes_may_migrate_at_once(tmp_path: Path) -> None:
    """Who comes second finds the work done."""
    path = tmp_path / "l.db"
    path.touch()
    with contextlib.closing(connect(path, "rw")) as one, contextlib.closing(connect(path, "rw")) as other:
        migrate(one)
        migrate(other)

    assert version_of(path) == SCHEMA_VERSION
