"""The lines of a source, in blocks, in memory that does not grow with the source.

Whatever goes wrong with the bytes is a problem on the line where it happens; the lines before it are used.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from msgspec import Struct

from provisioner.errors import printable
from provisioner.manifest.decompression import CountingReader, unpacked
from provisioner.manifest.problems import LineProblem
from provisioner.manifest.sources import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provisioner.manifest.sources import Source

MAX_LINE = CHUNK
"""Bytes of a line without its line ending; the contract for hostile input, and twice the longest definition. Not less
than a chunk, so that only a line that began in an earlier chunk can be too long."""
MAX_SKIPPED = 64 * 1024 * 1024
"""Bytes of one line that are skipped in search of its end; a longer one means that the file is not JSONL, and the rest
is not read. A slow disk (100 MB/s) takes under a second for them."""
MAX_RATIO = 100
"""Decompressed bytes for one compressed byte, beyond which a source is a decompression bomb; the contract for hostile
input. Definitions do not count: manifests made from a template compress 140-fold with gzip and 500-fold with zstd."""
_RATIO_FROM = 3 * 512 * 1024
"""Decompressed bytes before the ratio is checked: more than can be read without being known to be definitions yet."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Block(Struct, frozen=True):
    """Some whole lines of a source.

    Args:
        first: the number of the first line, from 1.
        lines: without their line feeds; a carriage return before one is kept.
        problem: what is wrong with the line after these; None when nothing is.
        read_bytes: read from this source so far, as it lies on disk.
        beginning: of the line with the problem, when that is that it is too long.
    """

    first: int
    lines: list[bytes]
    problem: LineProblem | None
    read_bytes: int
    beginning: bytes = b""


def blocks(
    source: Source, useful_bytes: Callable[[], int], on_bytes: Callable[[bytes], object] | None = None
) -> Iterator[Block]:
    """The lines of ``source``, in blocks; a problem that ends the source comes last.

    A source that has disappeared since the start is such a problem too, not an error: a run that is under way must go
    on with what it has.

    Args:
        source: what to read.
        useful_bytes: returns how many bytes of its lines have become definitions so far.
        on_bytes: called with every chunk that is read, as it lies on disk.

    Raises:
        ManifestError: it can be read only once, and has been.
    """
    try:
        raw = source.open()
    except OSError as error:
        yield Block(1, [], _broken(error), 0)
        return
    with raw:
        reader = CountingReader(raw, on_bytes)
        yield from _Splitter(reader, source.suffix, useful_bytes).blocks()


class _Splitter:
    """Splits a source into lines."""

    def __init__(self, reader: CountingReader, suffix: str, useful_bytes: Callable[[], int]) -> None:
        self._reader = reader
        self._suffix = suffix
        self._read: Callable[[], bytes] | None = None
        self._useful_bytes = useful_bytes
        self._next_line = 1
        self._unpacked_bytes = 0
        self._pushed_back = b""

    def blocks(self) -> Iterator[Block]:
        """See :func:`blocks`."""
        carry = b""
        try:
            while chunk := self._chunk():
                *lines, carry = (carry + chunk).split(b"\n")
                if lines and _is_too_long(lines[0]):
                    long = lines.pop(0)
                    yield self._block([], _too_long(len(long)), long)
                yield self._block(lines)
                if _is_too_long(carry):
                    yield self._block([], _too_long(self._skip(carry)), carry)
                    carry = b""
        except _BrokenError as broken:
            yield self._block([], broken.problem, broken.beginning)
            return
        if carry:
            yield self._block([carry])

    def _block(self, lines: list[bytes], problem: LineProblem | None = None, beginning: bytes = b"") -> Block:
        first = self._next_line
        self._next_line += len(lines) + (problem is not None)
        if first == 1:
            beginning = beginning.removeprefix(_BYTE_ORDER_MARK)
            lines[:1] = [line.removeprefix(_BYTE_ORDER_MARK) for line in lines[:1]]
        return Block(first, lines, problem, self._reader.read_bytes, beginning)

    def _skip(self, beginning: bytes) -> int:
        """Skip to the end of a line that begins with ``beginning``; returns its length.

        Raises:
            _BrokenError: it does not end soon enough.
        """
        length = len(beginning)
        while chunk := self._chunk():
            end = chunk.find(b"\n")
            if end >= 0:
                self._pushed_back = chunk[end + 1 :]
                return length + end
            length += len(chunk)
            if length > MAX_SKIPPED:
                what = f"this line has more than {MAX_SKIPPED // 2**20} MiB: this is not JSONL; the rest is not read"
                raise _BrokenError(_line_problem("line_too_long", what), beginning)
        return length

    def _chunk(self) -> bytes:
        """The next bytes, at most CHUNK of them, b"" at the end.

        Raises:
            _BrokenError: they cannot be read.
        """
        if self._pushed_back:
            chunk, self._pushed_back = self._pushed_back, b""
            return chunk
        try:
            if self._read is None:
                self._read = unpacked(self._reader, self._suffix)
            chunk = self._read()
        except (OSError, EOFError, zlib.error) as error:
            raise _BrokenError(_broken(error)) from error
        self._unpacked_bytes += len(chunk)
        useless = self._unpacked_bytes - self._useful_bytes()
        if useless > _RATIO_FROM and useless > MAX_RATIO * self._reader.read_bytes:
            what = f"this source unpacks to more than {MAX_RATIO} times its size"
            message = f"{what}; the rest is not read. If you trust it, unpack it first"
            raise _BrokenError(_line_problem("compression_bomb", message))
        return chunk


class _BrokenError(Exception):
    """Nothing more of a source can be used."""

    def __init__(self, problem: LineProblem, beginning: bytes = b"") -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.beginning = beginning


def _is_too_long(line: bytes) -> bool:
    """Whether a line is too long; a carriage return at its end does not count."""
    return len(line) > MAX_LINE and len(line) - line.endswith(b"\r") > MAX_LINE


def _too_long(length: int) -> LineProblem:
    message = f"this line has {length} bytes, at most {MAX_LINE} are allowed; write one definition per line"
    message += " (for a JSON array: jq -c '.[]' FILE > definitions.jsonl)"
    return _line_problem("line_too_long", message)


def _broken(error: OSError | EOFError | zlib.error) -> LineProblem:
    why = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
    return _line_problem("source_broken", f"the rest of the source cannot be read: {printable(why)}; restore the file")


def _line_problem(code: str, message: str) -> LineProblem:
    """A problem of a line as a whole."""
    return LineProblem(1, "", code, message)
