"""Where a manifest's bytes come from: files, globs, standard input, ``.gz`` and ``.zst``, read as lines in flat memory.

A source is resolved before anything is sent (a missing file, a glob without a match), and read in blocks of whole
lines. Whatever goes wrong with its bytes is a :class:`Trouble` on a line: the lines before it count.
"""

from __future__ import annotations

import glob
import gzip
import io
import os
import stat
import sys
import tempfile
import weakref
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from msgspec import Struct

from provisioner.errors import DISTRIBUTION, ManifestError, ProvisionerError, Reason, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MAX_LINE = 256 * 1024
"""Bytes of a line without its end; the contract for hostile input. The longest definition has less than half of it."""
MAX_SKIPPED = 64 * 1024 * 1024
"""Bytes of one line that are read in search of its end; beyond them the file is no JSONL, and is given up. At the
slowest disk worth the name (100 MB/s) that is under a second."""
MAX_RATIO = 100
"""Bytes out for one byte in, before a compressed source is a bomb; the contract for hostile input. What became
definitions is not counted: manifests made from a template compress 140-fold with gzip and 500-fold with zstd."""
_RATIO_FROM = 3 * 512 * 1024
"""Bytes out before the ratio is looked at: what may be read and not yet be known to be definitions, and some more."""
_CHUNK = MAX_LINE
"""Bytes a read; not more than MAX_LINE, so that only a line that began in an earlier chunk can be too long."""
_ZSTD_WINDOW = 8 * 1024 * 1024
"""Largest window of a zstd frame: what RFC 8878 asks decoders to support, and what levels 1 to 19 use."""
_ZSTD_STEP = 256
"""Bytes given to zstd at once: its densest block makes 128 KiB of 4 bytes, so that a step makes 8 MiB at most."""
_MARK = b"\xef\xbb\xbf"


class ScratchError(ProvisionerError):
    """The temporary files that a run needs beside the ledger cannot be written."""

    reason = Reason.LEDGER

    def __init__(self, why: str) -> None:
        super().__init__(
            "a temporary file cannot be written",
            where=_scratch_folder(),
            why=why,
            hint="Free the disk or set TMPDIR to another one, then run again",
        )


class Trouble(Struct, frozen=True):
    """What is wrong with the bytes of one line, or of the rest of a source.

    Args:
        code: ``line_too_long``, ``compression_bomb`` or ``source_broken``.
        message: what, why and what to do; safe to print.
    """

    code: str
    message: str


class Block(Struct, frozen=True):
    """Some whole lines of a source.

    Args:
        first: the number of the first line, from 1.
        lines: without their line feeds; a carriage return before one is kept.
        trouble: what is wrong with the line after these; None when nothing is.
        read_bytes: read from this source so far, compressed if it is.
    """

    first: int
    lines: list[bytes]
    trouble: Trouble | None
    read_bytes: int


class Source(Protocol):
    """Bytes with a name.

    Attributes:
        label: its name for people; safe to print.
        suffix: ``.gz``, ``.zst`` or another ending of its name, in lower case.
        size_bytes: how much there is to read, None when that is not known.
        repeatable: whether :meth:`open` may be called more than once.
    """

    label: str
    suffix: str
    size_bytes: int | None
    repeatable: bool

    def open(self) -> BinaryIO:
        """A fresh reader at the start, to be closed by the caller.

        Raises:
            OSError: it cannot be opened (any more).
            ManifestError: it can be read only once, and has been.
        """
        ...


class FileSource:
    """A file, or a named pipe."""

    def __init__(self, path: str) -> None:
        self._path = path
        # Doubled, so that no two files have one label: an escaped character and its escape may both be in a name.
        self.label = printable(path.replace("\\", r"\\"), 4096)
        self.suffix = Path(path).suffix.lower()
        status = os.stat(path)  # noqa: PTH116 - raises ValueError for a NUL in the path on every version
        self.identity = (status.st_dev, status.st_ino)
        self.repeatable = stat.S_ISREG(status.st_mode)
        self.size_bytes = status.st_size if self.repeatable else None
        if self.repeatable:
            self.open().close()

    def open(self) -> BinaryIO:
        """See :class:`Source`."""
        return open(self._path, "rb", buffering=0)  # noqa: PTH123 - not Path.open, which buffers


class StreamSource:
    """Standard input, or another stream that can be read once; it is left open."""

    label = "-"
    suffix = ""
    size_bytes: int | None = None
    repeatable = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream: BinaryIO | None = stream

    def open(self) -> BinaryIO:
        """See :class:`Source`."""
        if self._stream is None:
            raise ManifestError("standard input can be read only once", where=self.label)
        stream, self._stream = self._stream, None
        return _Borrowed(stream)  # type: ignore[return-value]  # a RawIOBase reads like a BinaryIO


class SpooledSource:
    """A copy, on disk and without a name, of a source that can be read only once; any number may read it at a time.

    Raises:
        ScratchError: the copy cannot be written.
        ManifestError: the source cannot be read.
    """

    repeatable = True

    def __init__(self, source: Source) -> None:
        self.label, self.suffix = source.label, source.suffix
        try:
            descriptor, path = tempfile.mkstemp(prefix="provisioner-", dir=_scratch_folder())
            os.unlink(path)  # noqa: PTH108 - a name as mkstemp gives it
        except OSError as error:
            raise ScratchError(str(error)) from error
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)
        self.size_bytes: int | None = 0
        try:
            with source.open() as stream:
                while chunk := _read_some(stream, _CHUNK):
                    self.size_bytes += _append(descriptor, chunk)
        except OSError as error:
            raise _unreadable(source.label, error) from error

    def open(self) -> BinaryIO:
        """See :class:`Source`."""
        return _At(self, self._descriptor)  # type: ignore[return-value]  # a RawIOBase reads like a BinaryIO


def resolve(names: Sequence[str], stdin: BinaryIO | None) -> list[Source]:
    """The sources that the arguments of a command name; a file that is named twice is read once.

    Args:
        names: paths, globs (``**`` too; matches in the order of their names) or ``-``. A path that exists is never
            read as a glob.
        stdin: what ``-`` reads; None is the process's own.

    Raises:
        ManifestError: a name has nothing behind it that can be read.
    """
    found: dict[object, Source] = {}
    for name in names:
        if name == "-":
            found.setdefault("-", StreamSource(stdin or sys.stdin.buffer))
        else:
            for path in _paths(name):
                source = _file(path)
                found.setdefault(source.identity, source)
    if not found:
        raise ManifestError("no manifest is named", hint="Name a file, a glob, or - for standard input")
    return list(found.values())


def blocks(source: Source, useful: Callable[[], int], seen: Callable[[bytes], object] | None = None) -> Iterator[Block]:
    """The lines of ``source``, in blocks; trouble that ends the source comes last.

    Args:
        source: what to read.
        useful: tells how many bytes of its lines became definitions so far.
        seen: is given every byte that was read, as it lies on disk.

    Raises:
        ManifestError: it cannot be opened (any more), or has been read and cannot be read twice.
    """
    try:
        raw = source.open()
    except OSError as error:
        raise _unreadable(source.label, error) from error
    with raw:
        counted = _Counted(raw, seen)
        yield from _Splitter(counted, _READERS.get(source.suffix, _plain)(counted), useful).blocks()


def raw_chunks(source: Source) -> Iterator[bytes]:
    """The bytes of ``source`` as they lie on disk.

    Raises:
        ManifestError: it cannot be opened or read (any more).
    """
    try:
        with source.open() as raw:
            while chunk := raw.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise _unreadable(source.label, error) from error


class _Splitter:
    """Cuts what ``read`` gives into lines."""

    def __init__(self, counted: _Counted, read: Callable[[], bytes], useful: Callable[[], int]) -> None:
        self._counted = counted
        self._read = read
        self._useful = useful
        self._next = 1
        self._made = 0
        self._pushed_back = b""

    def blocks(self) -> Iterator[Block]:
        """See :func:`blocks`."""
        carry = b""
        try:
            while chunk := self._chunk():
                *lines, carry = (carry + chunk).split(b"\n")
                if lines and _over(lines[0]):
                    yield self._block([], _too_long(len(lines.pop(0))))
                yield self._block(lines)
                if _over(carry):
                    yield self._block([], _too_long(self._skip(len(carry))))
                    carry = b""
        except _BrokenError as broken:
            yield self._block([], broken.trouble)
            return
        if carry:
            yield self._block([carry])

    def _block(self, lines: list[bytes], trouble: Trouble | None = None) -> Block:
        first = self._next
        self._next += len(lines) + (trouble is not None)
        if first == 1 and lines and lines[0].startswith(_MARK):
            lines[0] = lines[0][len(_MARK) :]
        return Block(first, lines, trouble, self._counted.read_bytes)

    def _skip(self, length: int) -> int:
        """Read on to the end of a line of which ``length`` bytes were read; its length.

        Raises:
            _BrokenError: it does not end soon enough.
        """
        while chunk := self._chunk():
            end = chunk.find(b"\n")
            if end >= 0:
                self._pushed_back = chunk[end + 1 :]
                return length + end
            length += len(chunk)
            if length > MAX_SKIPPED:
                what = f"a line of more than {MAX_SKIPPED // 2**20} MiB"
                raise _BrokenError("line_too_long", f"{what}: this is no JSONL, and the rest of it is not read")
        return length

    def _chunk(self) -> bytes:
        """The next bytes, at most _CHUNK of them, empty at the end.

        Raises:
            _BrokenError: they cannot be read.
        """
        if self._pushed_back:
            chunk, self._pushed_back = self._pushed_back, b""
            return chunk
        try:
            chunk = self._read()
        except (OSError, EOFError, zlib.error) as error:
            why = printable(str(error) or type(error).__name__)
            raise _BrokenError("source_broken", f"the rest cannot be read: {why}; restore the file") from error
        self._made += len(chunk)
        idle = self._made - self._useful()
        if idle > _RATIO_FROM and idle > MAX_RATIO * self._counted.read_bytes:
            what = f"compressed more than {MAX_RATIO}-fold"
            raise _BrokenError("compression_bomb", f"{what}: the rest is not read; unpack it if you trust it")
        return chunk


class _BrokenError(Exception):
    """Nothing more of a source can be used."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.trouble = Trouble(code, message)


class _Counted:
    """A reader that counts."""

    def __init__(self, raw: BinaryIO, seen: Callable[[bytes], object] | None) -> None:
        self._raw = raw
        self._seen = seen
        self.read_bytes = 0

    def read(self, size: int = _CHUNK) -> bytes:
        """At most ``size`` bytes, as soon as there are some."""
        chunk = _read_some(self._raw, size)
        self.read_bytes += len(chunk)
        if self._seen is not None:
            self._seen(chunk)
        return chunk


def _plain(counted: _Counted) -> Callable[[], bytes]:
    return counted.read


def _gzip(counted: _Counted) -> Callable[[], bytes]:
    unpacked = gzip.GzipFile(fileobj=counted, mode="rb")  # type: ignore[call-overload]  # it calls read alone
    return lambda: unpacked.read1(_CHUNK)


def _zstd(counted: _Counted) -> Callable[[], bytes]:
    pieces = _zstd_pieces(counted)
    return lambda: next(pieces, b"")


def _zstd_pieces(counted: _Counted) -> Iterator[bytes]:
    """The unpacked bytes, a few at a time.

    Raises:
        OSError: they are damaged.
        EOFError: they end too early.
    """
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    frame = None
    while packed := counted.read():
        while packed:
            frame = frame or decompressor.decompressobj()
            step, packed = packed[:_ZSTD_STEP], packed[_ZSTD_STEP:]
            try:
                made = frame.decompress(step)
            except zstandard.ZstdError as error:
                raise OSError(str(error)) from error
            yield from (made[at : at + _CHUNK] for at in range(0, len(made), _CHUNK))
            if frame.eof:
                packed, frame = frame.unused_data + packed, None
    if frame is not None:
        raise EOFError("the compressed file ends before its end-of-stream marker")


_READERS: dict[str, Callable[[_Counted], Callable[[], bytes]]] = {".gz": _gzip, ".zst": _zstd}


class _Borrowed(io.RawIOBase):
    """A stream that is not ours to close."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        return _read_some(self._stream, size)


class _At(io.RawIOBase):
    """Reads a descriptor that others read too, from a position of its own."""

    def __init__(self, owner: object, descriptor: int) -> None:
        self._owner = owner  # keeps the descriptor open
        self._descriptor = descriptor
        self._position = 0

    def read(self, size: int = -1, /) -> bytes:
        chunk = os.pread(self._descriptor, size, self._position)
        self._position += len(chunk)
        return chunk


def _read_some(stream: BinaryIO, size: int) -> bytes:
    """At most ``size`` bytes, as soon as there are some: a slow writer's lines are not held back."""
    read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    return read(size)


def _append(descriptor: int, chunk: bytes) -> int:
    """Write all of ``chunk``; its length.

    Raises:
        ScratchError: the disk is full.
    """
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        raise ScratchError(str(error)) from error
    return len(chunk)


def _scratch_folder() -> str:
    """TMPDIR, else /var/tmp, which is a disk where /tmp is often memory."""
    folder = os.environ.get("TMPDIR", "/var/tmp")  # noqa: S108 - files there have no name that one could guess
    return folder if os.access(folder, os.W_OK) else tempfile.gettempdir()


def _paths(name: str) -> list[str]:
    """The files that a path or a glob names.

    Raises:
        ManifestError: there is none.
    """
    try:
        if os.path.lexists(name) or not glob.has_magic(name):
            return [name]
        matches = sorted(path for path in glob.glob(name, recursive=True) if not Path(path).is_dir())  # noqa: PTH207
    except ValueError as error:
        raise _unreadable(name, error) from error
    if not matches:
        raise ManifestError("the glob matches no file", where=name, hint="Check the pattern and the folder")
    return matches


def _file(path: str) -> FileSource:
    """The file at ``path``, proven to be there.

    Raises:
        ManifestError: it cannot be read.
    """
    try:
        if Path(path).is_dir():
            raise ManifestError("this is a folder", where=path, hint=f'Name the files in it, such as "{path}/*.jsonl"')
        source = FileSource(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if source.suffix == ".zst":
        _require_zstd(path)
    return source


def _require_zstd(path: str) -> None:
    try:
        import zstandard  # noqa: F401
    except ImportError as error:
        raise ManifestError(
            "reading .zst needs the zstandard library",
            where=path,
            hint=f"Install it with: pip install '{DISTRIBUTION}[zstd]'",
        ) from error


def _unreadable(name: str, error: OSError | ValueError) -> ManifestError:
    why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return ManifestError("the manifest cannot be read", where=name, why=why, hint="Check the path and its permissions")


def _over(line: bytes) -> bool:
    """Whether a line is too long, the carriage return at its end not counted."""
    return len(line) > MAX_LINE and len(line) - line.endswith(b"\r") > MAX_LINE


def _too_long(length: int) -> Trouble:
    message = f"a line of {length} bytes, at most {MAX_LINE} are allowed; write one definition a line"
    return Trouble("line_too_long", message)
