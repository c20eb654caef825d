"""The names of a manifest: each may occur once.

Ten million names do not fit in the memory that a run may use, so they are in a private temporary database on disk.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from msgspec import Struct

from provisioner.bulk import insert
from provisioner.core.problem import Problem
from provisioner.errors import printable
from provisioner.manifest.sources import ScratchError

if TYPE_CHECKING:
    from provisioner.manifest.reader import Row

_CACHE_KIB = 2048
"""Memory for the database; the rest is on disk."""
_DIGEST_STORED = 16
"""Hexadecimal digits of each digest that are stored: 64 bits tell two definitions of one name apart."""


class Repetition(Struct, frozen=True):
    """A row whose name occurred before.

    Args:
        row: the later one.
        source, line: of the first.
        same_definition, same_tags: whether the row repeats them too.
    """

    row: Row
    source: str
    line: int
    same_definition: bool
    same_tags: bool

    def problem(self) -> Problem:
        """A notice for a line that says the same again, a problem for one that contradicts the first."""
        row, first = self.row, f"{self.source}:{self.line}"
        name = printable(row.name)
        if self.same_definition and self.same_tags:
            message = f"this line repeats {first} (same name, same definition); remove one of them"
            return Problem(row.source, row.line, name, "repeated_name", message, column=1, severity="notice")
        different = []
        if not self.same_definition:
            different.append("a different definition")
        if not self.same_tags:
            different.append("different tags")
        message = f"this name is already used at {first} with {' and '.join(different)}"
        message += "; this line is ignored. Rename or remove one of them"
        return Problem(row.source, row.line, name, "conflicting_name", message, column=1)


class SeenNames:
    """The names so far: exact, and in the same memory for any number of them."""

    def __init__(self) -> None:
        # An empty name is a temporary file of SQLite's, deleted when it is closed; it is never synced or rolled back.
        # WITHOUT ROWID clusters the table by name: names that come sorted, as most do, are appended.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._sources: dict[str, int] = {}
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            f"PRAGMA cache_size = -{_CACHE_KIB}",
            "CREATE TABLE names (name TEXT PRIMARY KEY, digests TEXT, source INT, line INT) WITHOUT ROWID",
            "BEGIN",
        ):
            self._database.execute(statement)

    def close(self) -> None:
        """Delete the file."""
        self._database.close()

    def add(self, rows: list[Row]) -> list[Repetition]:
        """Store the names of ``rows``; returns the rows whose name occurred before.

        Raises:
            ScratchError: the disk is full.
        """
        sources = self._sources
        values = [
            (
                row.definition.name,
                row.canonical.digest[:_DIGEST_STORED] + row.canonical.tags_digest[:_DIGEST_STORED],
                sources.setdefault(row.source, len(sources)),
                row.line,
            )
            for row in rows
        ]
        try:
            before = self._database.total_changes
            insert(self._database, "INSERT OR IGNORE INTO names VALUES", values)
            if self._database.total_changes - before == len(rows):
                return []
            found = [self._compared(row) for row in rows]
        except sqlite3.Error as error:
            raise ScratchError(str(error)) from error
        return [one for one in found if (one.row.source, one.row.line) != (one.source, one.line)]

    def _compared(self, row: Row) -> Repetition:
        """The row beside the first of its name, which may be itself."""
        query = "SELECT digests, source, line FROM names WHERE name = ?"
        digests, source, line = self._database.execute(query, (row.definition.name,)).fetchone()
        same_definition = row.digest.startswith(digests[:_DIGEST_STORED])
        same_tags = row.tags_digest.startswith(digests[_DIGEST_STORED:])
        return Repetition(row, list(self._sources)[source], line, same_definition, same_tags)
