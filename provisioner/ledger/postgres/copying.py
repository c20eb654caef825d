"""The rows of a PostgreSQL ledger as they are stored, for copying it from or to another store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioner.ledger.postgres.connection import Statement
from provisioner.ledger.postgres.text import decode, encode, read, written
from provisioner.ledger.tables import TABLES

if TYPE_CHECKING:
    from provisioner.ledger.postgres.reading import Read
    from provisioner.ledger.requests import ReplaceRows
    from provisioner.ledger.tables import Row


async def rows(ask: Read, table: str, after: Row | None, limit: int) -> list[Row]:
    """At most ``limit`` rows of ``table`` in the order of their keys, after the key ``after``."""
    columns = TABLES[table].columns
    condition, parameters = _within(table, after, None)
    names = ", ".join(f"{name}::text" if name == "sent" else name for name in columns)
    sql = f"SELECT {names} FROM {table} WHERE {condition} ORDER BY {_key(table)} LIMIT {limit}"  # noqa: S608  constants
    found = await ask(sql, *parameters)
    return [tuple(_plain(name, value) for name, value in zip(columns, row, strict=True)) for row in found]


def replacing(request: ReplaceRows) -> list[Statement]:
    """The statements that carry out ``request``."""
    table, columns = request.table, TABLES[request.table].columns
    condition, parameters = _within(table, request.after, request.upto)
    statements = [Statement(f"DELETE FROM {table} WHERE {condition}", parameters)]  # noqa: S608  constants
    if request.rows:
        values = f"({', '.join('%s::json' if name == 'sent' else '%s' for name in columns)})"
        names = ", ".join(columns)
        sql = f"INSERT INTO {table} ({names}) VALUES {', '.join([values] * len(request.rows))}"  # noqa: S608  constants
        statements.append(Statement(sql, tuple(_stored(value) for row in request.rows for value in row)))
    if table == "history":
        # What happens from now on comes after what was copied.
        following = "SELECT setval(pg_get_serial_sequence('history', 'seq'), (SELECT max(seq) FROM history))"
        statements.append(Statement(following))
    return statements


def _key(table: str) -> str:
    return ", ".join(TABLES[table].key)


def _within(table: str, after: Row | None, upto: Row | None) -> tuple[str, tuple[Any, ...]]:
    """The condition for keys in a range, and its parameters."""
    bounds = [(sign, bound) for sign, bound in ((">", after), ("<=", upto)) if bound is not None]
    conditions = [f"({_key(table)}) {sign} ({', '.join(['%s'] * len(bound))})" for sign, bound in bounds]
    return " AND ".join(["true", *conditions]), tuple(_stored(value) for _, bound in bounds for value in bound)


def _plain(column: str, value: Any) -> Any:  # noqa: ANN401  values of SQL
    if column == "sent":
        return value and decode(value, dict[str, Any])
    return read(value) if isinstance(value, str) else value


def _stored(value: Any) -> Any:  # noqa: ANN401  values of SQL
    if isinstance(value, dict):
        return encode(value)
    return written(value) if isinstance(value, str) else value
