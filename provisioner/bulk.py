"""Inserts many rows with few statements.

The sqlite3 module lets go of the interpreter's lock for every step of a statement, and may wait 5 ms to have it back
beside a busy thread; ``executemany`` does so once for each row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROWS_PER_STATEMENT = (64, 16, 4, 1)
"""64 rows of 12 columns stay under the 999 parameters that an older SQLite allows."""


class Executes(Protocol):
    """A connection, as far as it is needed here."""

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> object:
        """Run one statement."""
        ...


def insert(connection: Executes, head: str, rows: Sequence[Sequence[Any]], tail: str = "") -> None:
    """Insert ``rows``, 15 columns each at most, in their order.

    Args:
        connection: inside a transaction, if the rows are to be there all or none.
        head: the statement up to and including VALUES.
        rows: the values.
        tail: what follows the values.

    Raises:
        sqlite3.Error: some of the rows may be inserted.
    """
    start = 0
    for size in _ROWS_PER_STATEMENT:
        while len(rows) - start >= size:
            chunk = rows[start : start + size]
            start += size
            places = f"({','.join('?' * len(chunk[0]))})"
            sql = f"{head} {','.join([places] * size)} {tail}"
            connection.execute(sql, [value for row in chunk for value in row])
