"""The rows of a SQLite ledger as they are stored, for copying it from or to another store."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Any

import msgspec

from provisioner.bulk import insert
from provisioner.errors import UsageError
from provisioner.ledger.sqlite.database import connect, errors_at, open_reader, storage_error, sync_directory
from provisioner.ledger.sqlite.reading import CHANGES
from provisioner.ledger.tables import TABLES

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.ledger.requests import ReplaceRows
    from provisioner.ledger.sqlite.database import Connection
    from provisioner.ledger.tables import Row


def rows(connection: Connection, table: str, after: Row | None, limit: int) -> list[Row]:
    """At most ``limit`` rows of ``table`` in the order of their keys, after the key ``after``."""
    condition, parameters = _within(table, after, None)
    sql = f"SELECT * FROM ({_of(table)}) WHERE {condition} ORDER BY {_key(table)} LIMIT {limit}"  # noqa: S608  constants
    place = _place_of_stamp(table)
    return [_mapped(row, place, msgspec.json.decode) for row in connection.execute(sql, parameters).fetchall()]


def replace_rows(connection: Connection, request: ReplaceRows) -> None:
    """Carry out ``request``, inside a transaction."""
    table, columns = request.table, TABLES[request.table].columns
    condition, parameters = _within(table, request.after, request.upto)
    if table == "changes":
        doomed = f"SELECT '{CHANGES}' || target FROM ({_of(table)}) WHERE {condition}"  # noqa: S608  constants
        connection.execute(f"DELETE FROM meta WHERE key IN ({doomed})", parameters)  # noqa: S608  constants
        insert(connection, "INSERT INTO meta VALUES", [(CHANGES + target, count) for target, count in request.rows])
        return
    names = [_stored_name(table, name) for name in columns]
    key = ", ".join(names[: TABLES[table].keys])
    doomed = f"SELECT {_key(table)} FROM ({_of(table)}) WHERE {condition}"  # noqa: S608  constants
    connection.execute(f"DELETE FROM {table} WHERE ({key}) IN ({doomed})", parameters)  # noqa: S608  constants
    place = _place_of_stamp(table)
    stored = [_mapped(row, place, lambda sent: msgspec.json.encode(sent).decode()) for row in request.rows]
    insert(connection, f"INSERT INTO {table} ({', '.join(names)}) VALUES", stored)


def back_up(ledger: Path, path: Path) -> None:
    """Write ``ledger`` as it is at this moment to the new file ``path``; a run may be writing to it.

    Raises:
        UsageError: there is a file of that name.
        LedgerError: there is no ledger.
        sqlite3.Error, OSError: it cannot be read, or the file cannot be written.
    """
    if path.exists():
        raise UsageError("there is a file here already", where=str(path), hint="Name a new one for the backup")
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        unfinished.unlink(missing_ok=True)
        unfinished.touch(0o600)
        with errors_at(ledger):
            reader = open_reader(ledger, connect)
        with contextlib.closing(reader) as connection:
            # A reading transaction: it sees one commit, and keeps no writer waiting.
            connection.execute("PRAGMA query_only = 0")
            try:
                connection.execute("VACUUM INTO ?", (os.fspath(unfinished),))
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CORRUPT:  # what is being written cannot be
                    raise storage_error(error, ledger) from error
                raise
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.rename(path)
        sync_directory(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _of(table: str) -> str:
    """The statement whose rows are those of ``table`` in every store."""
    if table == "changes":
        begin = len(CHANGES) + 1
        return f"""SELECT substr(key, {begin}) AS target, CAST(value AS INTEGER) AS commits FROM meta
            WHERE substr(key, 1, {len(CHANGES)}) = '{CHANGES}'"""  # noqa: S608  constants
    columns = ", ".join(f"{_stored_name(table, name)} AS {name}" for name in TABLES[table].columns)
    return f"SELECT {columns} FROM {table}"  # noqa: S608  constants


def _stored_name(table: str, column: str) -> str:
    return "rowid" if (table, column) == ("history", "seq") else column


def _key(table: str) -> str:
    return ", ".join(TABLES[table].key)


def _within(table: str, after: Row | None, upto: Row | None) -> tuple[str, list[Any]]:
    """The condition for keys in a range, and its parameters."""
    bounds = [(sign, bound) for sign, bound in ((">", after), ("<=", upto)) if bound is not None]
    conditions = [f"({_key(table)}) {sign} ({', '.join('?' * len(bound))})" for sign, bound in bounds]
    return " AND ".join(["1", *conditions]), [value for _, bound in bounds for value in bound]


def _place_of_stamp(table: str) -> int | None:
    columns = TABLES[table].columns
    return columns.index("sent") if "sent" in columns else None


def _mapped(row: Row, place: int | None, change: Any) -> Row:  # noqa: ANN401  a function of one value
    """``row`` with its stamp, if it has one, changed from text to JSON or back."""
    if place is None or row[place] is None:
        return tuple(row)
    return (*row[:place], change(row[place]), *row[place + 1 :])
