"""Manifests: lines become definitions and problems, in batches, in memory that does not grow with the manifest.

An invalid line is a problem and does not stop the others. A name may occur only once in a manifest; see ``names.py``.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct, structs

from provisioner.core.problem import Problem
from provisioner.manifest.audience import Audience, Known
from provisioner.manifest.fingerprint import Fingerprint, marked
from provisioner.manifest.formats import jsonl_only
from provisioner.manifest.lines import blocks
from provisioner.manifest.names import SeenNames
from provisioner.manifest.parser import Rules, parse_line
from provisioner.manifest.problems import InvalidDefinitionError, LineProblem
from provisioner.manifest.sources import SpooledSource, raw_chunks, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from provisioner.manifest.definition import Canonical, Definition
    from provisioner.manifest.lines import Block
    from provisioner.manifest.sources import Objects

BATCH_LINES = 512
"""Lines of a batch, at most, unless a caller wants others."""
BATCH_BYTES = 512 * 1024
"""Bytes of lines after which a batch is full, however few lines they are: 512 lines of 256 KiB would be 128 MiB."""
BATCH_PROBLEMS = 1024
"""Problems after which a batch is full; one line has 101 at most."""


class Row(Struct, frozen=True):
    """A valid line of a manifest.

    Args:
        source: label of the source; safe to print.
        line: from 1.
        definition: with the defaults.
        canonical: its bytes and digests.
        targets: that it is for, of those that read the manifest under the same rules; None for all.
    """

    source: str
    line: int
    definition: Definition
    canonical: Canonical
    targets: frozenset[str] | None = None

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

    @property
    def tag_keys(self) -> str:
        """The keys of its tags, sorted, comma-separated."""
        return ",".join(sorted(self.definition.tags))


class Batch(Struct):
    """Some lines of a manifest, in order. Each that is not blank is a row, invalid, repeated, or for other targets.

    Args:
        rows: the valid lines.
        problems: what is wrong with the others; a line may have several.
        lines: how many there are, without blank ones.
        invalid: how many of them have a problem.
        repeated: how many repeat an earlier line; each has a notice.
        empty: sources that have ended without a single line; each has a notice.
        elsewhere: how many lines are for other targets only.
        unselected: how many valid lines have a name that is not selected.
        read_bytes: of all sources together, so far; compare it with :attr:`Manifest.size_bytes`.
    """

    rows: list[Row]
    problems: list[Problem]
    lines: int = 0
    invalid: int = 0
    repeated: int = 0
    empty: list[str] = []
    elsewhere: int = 0
    unselected: int = 0
    read_bytes: int = 0


class Manifest:
    """A manifest as one target reads it.

    Args:
        sources: paths, globs, ``s3://bucket/key`` or ``-``; gzip and zstd are unpacked.
        rules: the defaults and the ownership tag.
        stdin: what ``-`` reads; None is the process's own standard input.
        objects: opens S3; see :func:`provisioner.manifest.sources.resolve`.

    Raises:
        ManifestError: a source does not exist or cannot be read.
        ProvisionerError: S3 cannot be read.
    """

    def __init__(
        self,
        sources: Sequence[str],
        rules: Rules,
        *,
        stdin: BinaryIO | None = None,
        objects: Callable[[], Objects] | None = None,
    ) -> None:
        self.sources = resolve(sources, stdin, objects)
        self.rules = rules
        self.audience = Audience(Known({}))
        self.target: str | None = None
        self.chosen: Collection[str] | None = None
        self.selects: Callable[[str], bool] | None = None

    @property
    def repeatable(self) -> bool:
        """Whether :meth:`batches` may be called more than once: not for standard input and named pipes."""
        return all(source.repeatable for source in self.sources)

    @property
    def size_bytes(self) -> int | None:
        """How much there is to read, as it lies on disk; None when unknown."""
        sizes = [source.size_bytes for source in self.sources]
        return None if None in sizes else sum(size or 0 for size in sizes)

    def under(self, rules: Rules, audience: Audience) -> Manifest:
        """The same sources under other rules, for those who read it by them: with the lines of all these targets."""
        other = copy(self)
        other.rules = rules
        other.audience = audience
        return other

    def for_target(self, target: str | None) -> Manifest:
        """The same manifest with the lines for one target of its audience; None for all of its targets."""
        other = copy(self)
        other.target = target
        return other

    def only(self, names: Collection[str]) -> Manifest:
        """The same manifest with the definitions of ``names`` alone; its lines and problems are counted as before."""
        other = copy(self)
        other.chosen = names
        return other

    def selecting(self, selects: Callable[[str], bool] | None) -> Manifest:
        """The same manifest with the definitions whose names are selected; the others are counted. None: all are."""
        other = copy(self)
        other.selects = selects
        return other

    def spooled(self, *, files: bool = False) -> Manifest:
        """A manifest that may be read again and again: what can be read only once, or is a download, is copied to disk.

        Blocks until its end.

        Args:
            files: copy files too, so that every reading sees the same bytes.

        Raises:
            ScratchError: the disk is full.
            ManifestError: a source cannot be read.
            ProvisionerError: a remote source cannot be read.
        """
        other = copy(self)
        other.sources = [
            source if source.repeatable and not source.remote and not files else SpooledSource(source)
            for source in self.sources
        ]
        return other

    def holds(self, number: int) -> bool:
        """Whether :meth:`batches` has that batch, from 0, or its end after so many, without reading anything."""
        del number
        return False

    def fingerprint(self) -> str:
        """The fingerprint of the manifest as it is now; takes as long as reading it. See :class:`Fingerprint`.

        Raises:
            ManifestError: a source can no longer be read.
        """
        fingerprint = Fingerprint(self.rules)
        for source in self.sources:
            fingerprint.begin(source.label)
            for chunk in raw_chunks(source):
                fingerprint.update(chunk)
        return fingerprint.hexdigest()

    def marked(self, fingerprint: str) -> str:
        """What ``fingerprint`` becomes when a line names its targets: their choice depends on the configuration."""
        return marked(fingerprint, self.audience.mark(self.target or ""))

    def batches(self, size: int = BATCH_LINES, fingerprint: Fingerprint | None = None) -> Iterator[Batch]:
        """Read from the start. The iterator blocks on I/O; any thread may advance it, one at a time.

        Args:
            size: lines of a batch, at most. A source that is written while it is read (a pipe) gives smaller batches.
            fingerprint: is updated with everything that is read.

        Raises:
            ManifestError: a source can be read only once, and has been.
            ScratchError: the names cannot be stored.
        """
        for batch in self._all_batches(size, fingerprint):
            if self.selects is not None:
                rows = [row for row in batch.rows if self.selects(row.name)]
                batch.unselected = len(batch.rows) - len(rows)
                batch.rows = rows
            if self.chosen is not None:
                batch.rows = [row for row in batch.rows if row.name in self.chosen]
            yield batch

    def _all_batches(self, size: int, fingerprint: Fingerprint | None) -> Iterator[Batch]:
        names = SeenNames()
        on_bytes = fingerprint.update if fingerprint is not None else None
        try:
            assembler = _BatchAssembler(self, names, size, fingerprint)
            for source in self.sources:
                assembler.useful_bytes = 0
                if fingerprint is not None:
                    fingerprint.begin(source.label)
                for block in jsonl_only(blocks(source, lambda: assembler.useful_bytes, on_bytes), source):
                    yield from assembler.take(source.label, block)
                    if not source.repeatable and assembler.batch.lines:
                        yield assembler.full()
                assembler.end_source(source.label)
                assembler.read_before += source.size_bytes or 0
            if assembler.batch.lines or assembler.batch.problems:
                yield assembler.full()
        finally:
            names.close()


class _BatchAssembler:
    """Turns blocks of lines into batches.

    Attributes:
        batch: what has been read since the last batch.
        read_before: bytes of the sources before this one.
        useful_bytes: bytes of this source's lines that have become definitions.
    """

    def __init__(self, manifest: Manifest, names: SeenNames, size: int, fingerprint: Fingerprint | None) -> None:
        self._manifest = manifest
        self._rules = manifest.rules
        self._fingerprint = fingerprint
        self._names = names
        self._size = size
        self._bytes = 0
        self._order: dict[str, int] = {}
        self._empty = True
        self.read_before = 0
        self.useful_bytes = 0
        self.batch = Batch([], [])

    def full(self) -> Batch:
        """The batch, its names checked; a new one begins."""
        batch, self.batch = self.batch, Batch([], [], read_bytes=self.batch.read_bytes)
        if batch.rows:
            self._check_names(batch)
        if batch.lines:
            self.useful_bytes += self._bytes * (len(batch.rows) + batch.elsewhere) // batch.lines
        self._bytes = 0
        return batch

    def take(self, source: str, block: Block) -> Iterator[Batch]:
        """Read a block, and yield each batch that it fills."""
        begin, end = self.batch.read_bytes, self.read_before + block.read_bytes
        self._order.setdefault(source, len(self._order))
        self._empty = self._empty and not block.problem
        for place, line in enumerate(block.lines):
            if not line or line.isspace():
                continue
            self._read(source, block.first + place, line)
            batch = self.batch
            if batch.lines >= self._size or self._bytes > BATCH_BYTES or len(batch.problems) > BATCH_PROBLEMS:
                # A block may have many batches: who estimates by the bytes takes them for all lines.
                batch.read_bytes = begin + (end - begin) * (place + 1) // len(block.lines)
                yield self.full()
        self.batch.read_bytes = end
        if block.problem:
            self.batch.lines += 1
            self.batch.invalid += 1
            self.batch.problems.append(block.problem.at(source, block.first + len(block.lines)))

    def end_source(self, source: str) -> None:
        """Give a source without a single line a notice: it may be the wrong file, or a pipe whose writer failed."""
        if self._empty:
            message = "this source has no definitions; check that it is the right one"
            self.batch.problems.append(Problem(source, 1, "", "empty_source", message, column=1, severity="notice"))
            self.batch.empty.append(source)
        self._empty = True

    def _read(self, source: str, number: int, line: bytes) -> None:
        batch = self.batch
        batch.lines += 1
        self._empty = False
        self._bytes += len(line)
        try:
            definition, patterns = parse_line(line, self._rules)
        except InvalidDefinitionError as error:
            batch.invalid += 1
            batch.problems += [problem.at(source, number, error.name) for problem in error.problems]
        else:
            row = Row(source, number, definition, definition.canonical())
            if patterns:
                self._add_for(row, patterns)
            else:
                batch.rows.append(row)

    def _add_for(self, row: Row, patterns: tuple[str, ...]) -> None:
        """Add a row for the targets that ``patterns`` select."""
        manifest, batch = self._manifest, self.batch
        if self._fingerprint is not None and not self._fingerprint.mark:
            self._fingerprint.mark = manifest.audience.mark(manifest.target or "")
        targets = manifest.audience.of(patterns)
        if isinstance(targets, LineProblem):
            batch.invalid += 1
            batch.problems.append(targets.at(row.source, row.line, row.name))
        elif targets:
            batch.rows.append(structs.replace(row, targets=targets))
        else:
            batch.elsewhere += 1

    def _check_names(self, batch: Batch) -> None:
        """Remove the rows whose name occurred before, and those for other targets; report names that look alike."""
        found = []
        target = self._manifest.target
        if repetitions := self._names.add(batch.rows):
            found = [repetition.problem() for repetition in repetitions]
            here = [problem for one, problem in zip(repetitions, found, strict=True) if one.concerns(target)]
            batch.repeated += sum(problem.severity == "notice" for problem in here)
            batch.invalid += sum(problem.severity == "problem" for problem in here)
            removed = {id(one.row) for one in repetitions if one.concerns(target)}
            batch.rows = [row for row in batch.rows if id(row) not in removed]
        if target is not None and any(row.targets is not None for row in batch.rows):
            rows = [row for row in batch.rows if row.targets is None or target in row.targets]
            batch.elsewhere += len(batch.rows) - len(rows)
            batch.rows = rows
        for look_alike in self._names.look_alikes(batch.rows):
            found += look_alike.notices()
        if found:
            batch.problems += found
            batch.problems.sort(key=lambda problem: (self._order[problem.source], problem.line, problem.column))
