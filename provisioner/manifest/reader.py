"""Manifests: sources of lines -> definitions and problems, in batches, in memory that does not grow with the manifest.

A line that is not valid is a problem and stops no other. A name stands once in a manifest: which names were there is
kept in a private temporary database on disk, because ten million of them do not fit in the memory that a run may have.
"""

from __future__ import annotations

import sqlite3
from copy import copy
from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct

from provisioner.bulk import insert
from provisioner.core.problem import Problem
from provisioner.errors import printable
from provisioner.manifest.definition import Canonical, Definition, InvalidDefinitionError, Rules, parse
from provisioner.manifest.fingerprint import Fingerprint
from provisioner.manifest.sources import ScratchError, SpooledSource, blocks, raw_chunks, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from provisioner.manifest.sources import Block


BATCH_BYTES = 512 * 1024
"""Bytes of lines after which a batch is full, however few they are: 512 lines of 256 KiB would be 128 MiB."""
BATCH_PROBLEMS = 1024
"""Problems after which a batch is full; one line has 101 at most."""
_NAMES_CACHE_KIB = 2048
"""Memory for the names; the rest is on disk."""
_NAME_SHOWN = 128
"""Characters of a name in a problem; a valid name has 63 at most."""


class Row(Struct, frozen=True):
    """A valid line.

    Args:
        source: the file, safe to print.
        line: from 1.
        definition: what stands there, the defaults included.
        canonical: its bytes and digests.
    """

    source: str
    line: int
    definition: Definition
    canonical: Canonical

    @property
    def name(self) -> str:
        """The algorithm's name."""
        return self.definition.name

    @property
    def digest(self) -> str:
        """Of the definition without its tags."""
        return self.canonical.digest

    @property
    def tags_digest(self) -> str:
        """Of its tags."""
        return self.canonical.tags_digest


class Batch(Struct):
    """Some lines of a manifest, in order. Each line that is not blank is a row, invalid or repeated.

    Args:
        rows: the valid lines.
        problems: what is wrong with the others; a line may have several.
        lines: how many there were, blank ones left out.
        invalid: how many of them have a problem.
        repeated: how many say again what an earlier line said; each has a notice.
        read_bytes: of all sources together, so far; compare it with :attr:`Manifest.size_bytes`.
    """

    rows: list[Row]
    problems: list[Problem]
    lines: int = 0
    invalid: int = 0
    repeated: int = 0
    read_bytes: int = 0


class Manifest:
    """A manifest as one target reads it.

    Args:
        sources: paths, globs or ``-``; ``.gz`` and ``.zst`` are unpacked.
        rules: the defaults and the ownership tag.
        stdin: what ``-`` reads; None is the process's own standard input.

    Raises:
        ManifestError: a source is not there or cannot be read.
    """

    def __init__(self, sources: Sequence[str], rules: Rules, *, stdin: BinaryIO | None = None) -> None:
        self.sources = resolve(sources, stdin)
        self.rules = rules

    @property
    def repeatable(self) -> bool:
        """Whether :meth:`batches` may be called more than once: not for standard input and named pipes."""
        return all(source.repeatable for source in self.sources)

    @property
    def size_bytes(self) -> int | None:
        """How much there is to read, as it lies on disk; None when that is not known."""
        sizes = [source.size_bytes for source in self.sources]
        return None if None in sizes else sum(size or 0 for size in sizes)

    def under(self, rules: Rules) -> Manifest:
        """The same sources, read by other rules."""
        other = copy(self)
        other.rules = rules
        return other

    def spooled(self) -> Manifest:
        """A manifest that may be read again: what could not be is copied to disk first. Blocks until its end.

        Raises:
            ScratchError: the disk is full.
            ManifestError: a source cannot be read.
        """
        other = copy(self)
        other.sources = [source if source.repeatable else SpooledSource(source) for source in self.sources]
        return other

    def fingerprint(self) -> str:
        """What the manifest says now, at the speed of reading it; see :class:`Fingerprint`.

        Raises:
            ManifestError: a source cannot be opened any more.
        """
        fingerprint = Fingerprint(self.rules)
        for source in self.sources:
            fingerprint.begin(source.label)
            for chunk in raw_chunks(source):
                fingerprint.update(chunk)
        return fingerprint.hexdigest()

    def batches(self, size: int = 512, fingerprint: Fingerprint | None = None) -> Iterator[Batch]:
        """Read from the start. The iterator blocks on I/O; it may be advanced from any thread, one at a time.

        Args:
            size: the most lines in a batch. A source that is written while it is read (a pipe) gives smaller ones.
            fingerprint: takes in everything that is read.

        Raises:
            ManifestError: a source cannot be opened any more, or be read a second time.
            ScratchError: the names cannot be kept.
        """
        names = _Names()
        seen = fingerprint.update if fingerprint is not None else None
        try:
            reader = _Reader(self.rules, names, size)
            for source in self.sources:
                reader.useful = 0
                if fingerprint is not None:
                    fingerprint.begin(source.label)
                for block in blocks(source, lambda: reader.useful, seen):
                    yield from reader.take(source.label, block)
                    if not source.repeatable and reader.batch.lines:
                        yield reader.full()
                reader.read_before += source.size_bytes or 0
            if reader.batch.lines:
                yield reader.full()
        finally:
            names.close()


class _Reader:
    """Turns blocks of lines into batches.

    Attributes:
        batch: what has been read and not been handed out.
        read_before: bytes of the sources that came before this one.
        useful: bytes of this source's lines that became definitions.
    """

    def __init__(self, rules: Rules, names: _Names, size: int) -> None:
        self._rules = rules
        self._names = names
        self._size = size
        self._bytes = 0
        self._order: dict[str, int] = {}
        self.read_before = 0
        self.useful = 0
        self.batch = Batch([], [])

    def full(self) -> Batch:
        """Hand the batch out, its names checked, and begin a new one."""
        batch, self.batch = self.batch, Batch([], [], read_bytes=self.batch.read_bytes)
        if batch.rows:
            self._sift(batch)
            self.useful += self._bytes * len(batch.rows) // batch.lines
        self._bytes = 0
        return batch

    def take(self, source: str, block: Block) -> Iterator[Batch]:
        """Read a block into the batch, and hand it out whenever it is full."""
        self.batch.read_bytes = self.read_before + block.read_bytes
        self._order.setdefault(source, len(self._order))
        for number, line in enumerate(block.lines, block.first):
            if not line or line.isspace():
                continue
            self._read(source, number, line)
            batch = self.batch
            if batch.lines >= self._size or self._bytes > BATCH_BYTES or len(batch.problems) > BATCH_PROBLEMS:
                yield self.full()
        if block.trouble:
            batch = self.batch
            batch.lines += 1
            batch.invalid += 1
            number = block.first + len(block.lines)
            batch.problems.append(Problem(source, number, "", block.trouble.code, block.trouble.message, column=1))

    def _read(self, source: str, number: int, line: bytes) -> None:
        batch = self.batch
        batch.lines += 1
        self._bytes += len(line)
        try:
            definition = parse(line, self._rules)
        except InvalidDefinitionError as error:
            batch.invalid += 1
            batch.problems += _problems(source, number, error)
        else:
            batch.rows.append(Row(source, number, definition, definition.canonical()))

    def _sift(self, batch: Batch) -> None:
        """Take out the rows whose name was there before, and say so."""
        earlier = self._names.admit(batch.rows)
        if not earlier:
            return
        for row, first in earlier:
            problem = _repetition(row, first)
            batch.problems.append(problem)
            batch.repeated += problem.severity == "notice"
            batch.invalid += problem.severity == "problem"
        out = {id(row) for row, _ in earlier}
        batch.rows = [row for row in batch.rows if id(row) not in out]
        batch.problems.sort(key=lambda problem: (self._order[problem.source], problem.line, problem.column))


class _First(Struct, frozen=True):
    """Where a name stood first, and what of it a later line says again."""

    source: str
    line: int
    same_definition: bool
    same_tags: bool


class _Names:
    """The names of a manifest so far, on disk: exact, and in the same memory for any number of them.

    The table is clustered by name, so that names which come sorted, as most do, are appended. Beside each stand 64
    bits of each digest, which is plenty to tell two contents of one name apart.
    """

    def __init__(self) -> None:
        # An empty name is a temporary file of SQLite's, deleted when it is closed; it is never synced or rolled back.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._sources: dict[str, int] = {}
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            f"PRAGMA cache_size = -{_NAMES_CACHE_KIB}",
            "CREATE TABLE names (name TEXT PRIMARY KEY, digests TEXT, source INT, line INT) WITHOUT ROWID",
            "BEGIN",
        ):
            self._database.execute(statement)

    def close(self) -> None:
        """Delete the file."""
        self._database.close()

    def admit(self, rows: list[Row]) -> list[tuple[Row, _First]]:
        """Keep the names of ``rows``; those that were there before, with where.

        Raises:
            ScratchError: the disk is full.
        """
        sources = self._sources
        values = [
            (
                row.definition.name,
                row.canonical.digest[:16] + row.canonical.tags_digest[:16],
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
            firsts = [self._first(row) for row in rows]
        except sqlite3.Error as error:
            raise ScratchError(str(error)) from error
        return [
            (row, first)
            for row, first in zip(rows, firsts, strict=True)
            if (row.source, row.line) != (first.source, first.line)
        ]

    def _first(self, row: Row) -> _First:
        query = "SELECT digests, source, line FROM names WHERE name = ?"
        digests, source, line = self._database.execute(query, (row.definition.name,)).fetchone()
        same_definition, same_tags = row.digest.startswith(digests[:16]), row.tags_digest.startswith(digests[16:])
        return _First(list(self._sources)[source], line, same_definition, same_tags)


def _problems(source: str, line: int, error: InvalidDefinitionError) -> list[Problem]:
    name = printable(error.name, _NAME_SHOWN)
    return [
        Problem(
            source,
            line,
            name,
            fault.code,
            f"{fault.path}: {fault.message}" if fault.path else fault.message,
            column=fault.column,
        )
        for fault in error.faults
    ]


def _repetition(row: Row, first: _First) -> Problem:
    where = f"{first.source}:{first.line}"
    name = printable(row.definition.name)
    changed = [
        what
        for what, same in (("another definition", first.same_definition), ("other tags", first.same_tags))
        if not same
    ]
    if not changed:
        message = f"this name and definition stand at {where} already; the line is not needed"
        return Problem(row.source, row.line, name, "repeated_name", message, column=1, severity="notice")
    message = f"this name stands at {where} already, with {' and '.join(changed)}"
    message += "; the line is not used: rename or remove one of them"
    return Problem(row.source, row.line, name, "conflicting_name", message, column=1)
