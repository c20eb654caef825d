"""The names of a manifest: each may occur once, and names that look alike are worth a notice.

Ten million names do not fit in the memory that a run may use, so they are in a private temporary database on disk.
"""

from __future__ import annotations

import sqlite3
import unicodedata
from typing import TYPE_CHECKING

from msgspec import Struct

from provisioner.bulk import insert
from provisioner.core.names import folded
from provisioner.core.problem import Problem
from provisioner.errors import printable
from provisioner.manifest.sources import ScratchError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.manifest.reader import Row

_CACHE_KIB = 2048
"""Memory for the database; the rest is on disk."""
_NAMES = """CREATE TABLE names (name TEXT, audience INT, digests TEXT, source INT, line INT,
    PRIMARY KEY (name, audience)) WITHOUT ROWID"""
_DIGEST_STORED = 16
"""Hexadecimal digits of each digest that are stored: 64 bits tell two definitions of one name apart."""


class Repetition(Struct, frozen=True):
    """A row whose name occurred before.

    Args:
        row: the later one.
        source, line: of the first.
        same_definition, same_tags: whether the row repeats them too.
        targets: for which both lines are; None for all.
    """

    row: Row
    source: str
    line: int
    same_definition: bool
    same_tags: bool
    targets: frozenset[str] | None = None

    def concerns(self, target: str | None) -> bool:
        """Whether the row repeats another one for ``target``; None is any."""
        return target is None or self.targets is None or target in self.targets

    def problem(self) -> Problem:
        """A notice for a line that says the same again, a problem for one that contradicts the first."""
        row, first = self.row, f"{self.source}:{self.line}"
        name = printable(row.name)
        if self.targets is not None:
            more = f" and {len(self.targets) - 1} more" if len(self.targets) > 1 else ""
            first = f"{first} for target {min(self.targets)}{more}"
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


class LookAlike(Struct, frozen=True):
    """A row whose name looks like an earlier one.

    Args:
        row: the later one.
        name, source, line: of the earlier one.
    """

    row: Row
    name: str
    source: str
    line: int

    def notices(self) -> list[Problem]:
        """A notice at each of the two lines."""
        row, what = self.row, _difference(self.row.name, self.name)
        places = ((self.source, self.line, self.name), (row.source, row.line, row.name))
        return [
            Problem(
                source,
                line,
                printable(name),
                "similar_name",
                f'differs from "{printable(other)}" at {other_source}:{other_line} only in {what}; both are used. If'
                " they are the same algorithm, remove one of them",
                column=1,
                severity="notice",
            )
            for (source, line, name), (other_source, other_line, other) in (places, places[::-1])
        ]


def _difference(one: str, other: str) -> str:
    if one.strip() == other.strip():
        return "leading or trailing spaces"
    if one.casefold() == other.casefold():
        return "upper and lower case"
    if unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other):
        return "Unicode normal form"
    return "case, spaces or Unicode normal form"


class SeenNames:
    """The names so far: exact, and in the same memory for any number of them.

    Raises:
        ScratchError: the temporary database cannot be made.
    """

    def __init__(self) -> None:
        # An empty name is a temporary file of SQLite's, deleted when it is closed; it is never synced or rolled back.
        # WITHOUT ROWID clusters the table by name: names that come sorted, as most do, are appended.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._sources: dict[str, int] = {}
        self._audiences: dict[frozenset[str] | None, int] = {None: 0}
        self._any_variants = False
        statements = (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            f"PRAGMA cache_size = -{_CACHE_KIB}",
            _NAMES,
            "CREATE TABLE variants (folded TEXT PRIMARY KEY, name TEXT, source INT, line INT) WITHOUT ROWID",
            "BEGIN",
        )
        try:
            for statement in statements:
                self._database.execute(statement)
        except sqlite3.Error as error:
            self._database.close()
            raise ScratchError(str(error)) from error

    def close(self) -> None:
        """Delete the file."""
        self._database.close()

    def add(self, rows: list[Row]) -> list[Repetition]:
        """Store the names of ``rows``; returns the rows whose name occurred before for one of their targets.

        Raises:
            ScratchError: the disk is full.
        """
        sources, audiences = self._sources, self._audiences
        values = [
            (
                row.definition.name,
                audiences.setdefault(row.targets, len(audiences)),
                row.canonical.digest[:_DIGEST_STORED] + row.canonical.tags_digest[:_DIGEST_STORED],
                sources.setdefault(row.source, len(sources)),
                row.line,
            )
            for row in rows
        ]
        try:
            before = self._database.total_changes
            insert(self._database, "INSERT OR IGNORE INTO names VALUES", values)
            if self._database.total_changes - before == len(rows) and len(audiences) == 1:
                return []
            known = list(audiences)
            return [one for row in rows if (one := self._compared(row, known)) is not None]
        except sqlite3.Error as error:
            raise ScratchError(str(error)) from error

    def look_alikes(self, rows: list[Row]) -> list[LookAlike]:
        """The ``rows`` whose name differs from an earlier one only in case, outer white space or normal form.

        A name that is its own folded form is found under itself. Only the others, few in most manifests, are stored a
        second time, under their folded form.

        Args:
            rows: what has just been added, without repetitions.

        Raises:
            ScratchError: the disk is full.
        """
        keys = {row.name: folded(row.name) for row in rows}
        try:
            suspects = self._colliding([row for row in rows if keys[row.name] != row.name], keys)
            if self._any_variants:
                suspects |= self._stored("SELECT folded FROM variants WHERE folded", keys)
            earlier = [(row, self._earlier(row, keys[row.name])) for row in rows if keys[row.name] in suspects]
        except sqlite3.Error as error:
            raise ScratchError(str(error)) from error
        return [LookAlike(row, *first) for row, first in earlier if first is not None]

    def _colliding(self, variants: list[Row], keys: dict[str, str]) -> set[str]:
        """Store the names that are not their own folded form; returns the folded forms that stand for two names."""
        if not variants:
            return set()
        before = self._database.total_changes
        values = [(keys[row.name], row.name, self._sources[row.source], row.line) for row in variants]
        insert(self._database, "INSERT OR IGNORE INTO variants VALUES", values)
        folded_forms = [keys[row.name] for row in variants]
        self._any_variants = True
        if self._database.total_changes - before < len(variants):
            return set(folded_forms)
        return self._stored("SELECT name FROM names WHERE name", folded_forms)

    def _stored(self, query: str, values: Iterable[str]) -> set[str]:
        given = list(values)
        return {value for (value,) in self._database.execute(f"{query} IN ({','.join('?' * len(given))})", given)}

    def _earlier(self, row: Row, key: str) -> tuple[str, str, int] | None:
        """Name, source and line of the first name with the folded form ``key``, if that is before ``row``."""
        query = (
            "SELECT source, line, name FROM names WHERE name = ?"
            " UNION ALL SELECT source, line, name FROM variants WHERE folded = ? ORDER BY 1, 2"
        )
        source, line, name = self._database.execute(query, (key, key)).fetchone()
        before = (source, line) < (self._sources[row.source], row.line)
        # Of its own name there may be an earlier row for other targets.
        return (name, list(self._sources)[source], line) if before and name != row.name else None

    def _compared(self, row: Row, audiences: list[frozenset[str] | None]) -> Repetition | None:
        """The row beside the first of its name for one of its targets; None if it is itself the first for all.

        Args:
            row: has been stored.
            audiences: that rows have, by number.
        """
        query = "SELECT digests, audience, source, line FROM names WHERE name = ? ORDER BY source, line"
        here = (self._sources[row.source], row.line)
        first: tuple[str, int, int] | None = None
        common: frozenset[str] | None = frozenset()
        for digests, audience, source, line in self._database.execute(query, (row.definition.name,)):
            if (source, line) >= here:
                break
            shared = _both(row.targets, audiences[audience])
            if shared is None or shared:
                first = first or (digests, source, line)
                common = None if shared is None or common is None else common | shared
        if first is None:
            return None
        digests, source, line = first
        same_definition = row.digest.startswith(digests[:_DIGEST_STORED])
        same_tags = row.tags_digest.startswith(digests[_DIGEST_STORED:])
        return Repetition(row, list(self._sources)[source], line, same_definition, same_tags, common)


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    """The targets of both; None is all."""
    if one is None or other is None:
        return other if one is None else one
    return one & other
