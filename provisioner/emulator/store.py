"""The state in an SQLite file with one owner at a time: an answered create survives the death of the process.

Each change is committed before its call is answered. ``synchronous=OFF`` hands a commit to the kernel without waiting
for the disk: a killed process loses nothing, a machine that loses power may. SQLite's exclusive lock, held as long as
the file is open, keeps a second process out and ends with its holder.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import msgspec

from provisioner.emulator.state import Algorithm
from provisioner.errors import LedgerError, LedgerLockedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APPLICATION_ID = 0x434D4145
"""Identifies a state file in SQLite's header: "CMAE"."""

VERSION = 1
_SCHEMA = (
    """
    CREATE TABLE algorithm (
        number INTEGER PRIMARY KEY, arn TEXT NOT NULL UNIQUE, name TEXT NOT NULL, account_id TEXT NOT NULL,
        region TEXT NOT NULL, created_at REAL NOT NULL, definition BLOB NOT NULL, tags BLOB NOT NULL, deleted_at REAL
    ) STRICT
    """,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)
_LOAD = """
SELECT arn, name, account_id, region, created_at, definition, tags, deleted_at FROM algorithm ORDER BY number
"""
_SAVE = """
INSERT INTO algorithm (arn, name, account_id, region, created_at, definition, tags, deleted_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (arn) DO UPDATE SET tags = excluded.tags, deleted_at = excluded.deleted_at
"""


class StateFileError(LedgerError):
    """The state file cannot be opened, read or written."""


class StateFileBusyError(LedgerLockedError):
    """Another process, or another endpoint of this process, holds the state file."""


class Store:
    """A state file, held until it is closed.

    Args:
        path: created with mode 0600 when it does not exist.

    Raises:
        StateFileBusyError: another endpoint holds it.
        StateFileError: it cannot be opened, or is not a state file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.touch(mode=0o600)
            # SQLite gives a relative ":memory:" or "file:x?mode=ro" a meaning of its own; an absolute path is a path.
            name = path.absolute()
            self._connection = sqlite3.connect(name, timeout=0, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise StateFileError("the state file cannot be opened", where=str(path), why=str(error)) from error
        try:
            self._open()
        except BaseException:
            self._connection.close()
            raise

    def load(self) -> Iterator[Algorithm]:
        """Everything that was ever saved, oldest first.

        Raises:
            StateFileError: it is damaged.
        """
        try:
            for row in self._connection.execute(_LOAD):
                yield _algorithm(row)
        except sqlite3.Error as error:
            raise StateFileError("the state file cannot be read", where=str(self.path), why=str(error)) from error

    def save(self, algorithm: Algorithm) -> None:
        """Saves a new algorithm, or the tags and the time of deletion of one that exists.

        Raises:
            StateFileError: it could not be saved; its call must fail.
        """
        key = (algorithm.arn, algorithm.name, algorithm.account_id, algorithm.region, algorithm.created_at)
        tags = msgspec.json.encode(algorithm.tags)
        try:
            self._connection.execute(_SAVE, (*key, bytes(algorithm.definition), tags, algorithm.deleted_at))
        except sqlite3.Error as error:
            raise StateFileError("the state file cannot be written", where=str(self.path), why=str(error)) from error

    def close(self) -> None:
        """Releases the file and leaves nothing beside it."""
        self._connection.close()

    def _open(self) -> None:
        try:
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA synchronous = OFF")
            self._connection.execute("BEGIN EXCLUSIVE")
            self._check_or_create()
            self._connection.execute("COMMIT")
            self._connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise StateFileBusyError(
                    "another endpoint holds the state file", where=str(self.path), hint="Wait until it ends, or stop it"
                ) from error
            raise StateFileError("the state file cannot be used", where=str(self.path), why=str(error)) from error
        except sqlite3.DatabaseError as error:
            raise self._not_ours(str(error)) from error

    def _check_or_create(self) -> None:
        """Nothing is written before the file is known to be ours or empty."""
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not tables:
            for statement in _SCHEMA:
                self._connection.execute(statement)
            return
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if (application, version) != (APPLICATION_ID, VERSION):
            raise self._not_ours("it is another database, or of another version")

    def _not_ours(self, why: str) -> StateFileError:
        return StateFileError(
            "not a state file of the embedded endpoint", where=str(self.path), why=why, hint="Name another file"
        )


def _algorithm(row: tuple[str, str, str, str, float, bytes, bytes, float | None]) -> Algorithm:
    arn, name, account_id, region, created_at, definition, tags, deleted_at = row
    labels: dict[str, str] = msgspec.json.decode(tags)
    return Algorithm(arn, name, account_id, region, created_at, msgspec.Raw(definition), labels, deleted_at)
