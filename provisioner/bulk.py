"""Inserts many rows with few statements.

The sqlite3 module releases the GIL for every step of a statement, and may wait 5 ms to get it back beside a busy thread
(``sys.getswitchinterval``); ``executemany`` does so once for each row.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

ROWS_PER_STATEMENT = 64
"""64 rows of 12 columns stay below the 999 parameters that SQLite allowed before 3.32. Each number of rows is a
statement of its own, so a connection's statement cache should have room for all of them."""


class Executes(Protocol):
    """What is needed of a connection."""

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> object:
        """Run one statement."""
        ...


def insert(connection: Executes, head: str, rows: Sequence[Sequence[Any]], tail: str = "") -> None:
    """Insert ``rows``, 15 columns each at most, in their order.

    Args:
        connection: inside a transaction, if the rows are to be there all or none.
        head: the statement up to and including VALUES.
        rows: the values of each.
        tail: what follows the values, such as ON CONFLICT.

    Raises:
        sqlite3.Error: some of the rows may be inserted.
    """
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        chunk = rows[start : start + ROWS_PER_STATEMENT]
        connection.execute(_statement(head, len(chunk), len(chunk[0]), tail), list(chain.from_iterable(chunk)))


@lru_cache(maxsize=4 * ROWS_PER_STATEMENT)
def _statement(head: str, rows: int, columns: int, tail: str) -> str:
    places = f"({','.join('?' * columns)})"
    return f"{head} {','.join([places] * rows)} {tail}"
