"""Where a manifest's bytes come from: files, globs, standard input, objects in S3, and copies of them on disk.

Sources are resolved before anything is sent, so that a missing file or a glob without a match stops a run at the start.
"""

from __future__ import annotations

import glob
import io
import os
import select
import stat
import sys
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

from provisioner.core.objects import is_object, object_name
from provisioner.errors import DISTRIBUTION, ManifestChangedError, ManifestError, ProvisionerError, Reason, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from provisioner.core.objects import ObjectName

AnySource = TypeVar("AnySource", bound="Source")

CHUNK = 256 * 1024
"""Bytes to read at once."""
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - files there have no name
ZSTD_MISSING = f"the zstandard library is not installed; install it with: pip install '{DISTRIBUTION}[zstd]'"


class ScratchError(ProvisionerError):
    """A temporary file, which a run needs beside the ledger, cannot be written."""

    reason = Reason.LEDGER

    def __init__(self, why: str) -> None:
        super().__init__(
            "cannot write a temporary file",
            where=_scratch_folder() or "no directory for temporary files is writable",
            why=why,
            hint="Free some space, or set TMPDIR to a writable directory, then run again",
        )


class Source(Protocol):
    """Bytes with a name.

    Attributes:
        label: its name for people; safe to print.
        suffix: ``.gz``, ``.zst`` or another ending of its name, in lower case.
        size_bytes: how much there is to read, None when that is not known.
        repeatable: whether :meth:`open` may be called more than once.
        remote: whether each reading is a download.
    """

    label: str
    suffix: str
    size_bytes: int | None
    repeatable: bool
    remote: bool

    def open(self) -> BinaryIO:
        """A new reader at the start; the caller closes it.

        Raises:
            OSError: it cannot be opened, or no longer; also when it is read.
            ManifestError: it can be read only once, and has been.
            ProvisionerError: also when it is read: a remote source cannot be read, or has been replaced.
        """
        ...


class Objects(Protocol):
    """Where objects in S3 come from."""

    def source(self, name: ObjectName) -> Source:
        """The object ``name`` as it is now; a later reading of anything else fails.

        Raises:
            ProvisionerError: it cannot be read.
        """
        ...


class FileSource:
    """A file, or a named pipe."""

    remote = False

    def __init__(self, path: str) -> None:
        self._path = path
        # Backslashes are doubled, so that no two files have the same label: one name may contain a control
        # character, and another the escape sequence of it.
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
    remote = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream: BinaryIO | None = stream

    def open(self) -> BinaryIO:
        """See :class:`Source`."""
        if self._stream is None:
            raise ManifestError("standard input can be read only once", where=self.label)
        stream, self._stream = self._stream, None
        return _UnclosedReader(stream)  # type: ignore[return-value]  # a RawIOBase reads like a BinaryIO


class SpooledSource:
    """A copy of a source in a temporary file without a name; any number of readers may read it at a time.

    Raises:
        ScratchError: the copy cannot be written.
        ManifestError: the source cannot be read, or is a file that changes meanwhile: the copy would be a part of it.
        ProvisionerError: a remote source cannot be read, or was replaced.
    """

    repeatable = True
    remote = False

    def __init__(self, source: Source) -> None:
        self.label, self.suffix = source.label, source.suffix
        try:
            # Without a name the copy disappears with the process, even when that is killed.
            file = tempfile.TemporaryFile(buffering=0, dir=_scratch_folder())  # noqa: SIM115 - open as long as the source
        except OSError as error:
            raise ScratchError(error.strerror or str(error)) from error
        self._descriptor = file.fileno()
        weakref.finalize(self, file.close)
        self.size_bytes: int | None = 0
        try:
            with source.open() as stream:
                watched = source.repeatable and not source.remote  # a remote one watches over itself
                before = _version(stream) if watched else None
                while chunk := read_some(stream, CHUNK):
                    self.size_bytes += _append(self._descriptor, chunk)
                changed = watched and _version(stream) != before
        except OSError as error:
            raise _unreadable(source.label, error) from error
        if changed:
            raise ManifestChangedError(source.label)

    def open(self) -> BinaryIO:
        """See :class:`Source`."""
        return _DescriptorReader(self, self._descriptor)  # type: ignore[return-value]  # a RawIOBase reads like a BinaryIO


def resolve(names: Sequence[str], stdin: BinaryIO | None, objects: Callable[[], Objects] | None = None) -> list[Source]:
    """The sources that a command's arguments name; what is named twice is read once.

    Args:
        names: paths, globs (``**`` too; matches are sorted), ``s3://bucket/key`` or ``-``. A path that exists is never
            a glob.
        stdin: what ``-`` reads; None is the process's own.
        objects: is called once if an object in S3 is named; None is for a manifest that has none.

    Raises:
        ManifestError: a name refers to nothing that can be read.
        ProvisionerError: an object in S3 cannot be read.
    """
    found: dict[object, Source] = {}
    opened = objects() if objects is not None and any(map(is_object, names)) else None
    for name in names:
        if name == "-":
            found.setdefault("-", _standard_input(stdin))
        elif opened is not None and is_object(name):
            if name not in found:
                found[name] = _readable(opened.source(object_name(name)))
        else:
            for path in _paths(name):
                source = _file(path)
                found.setdefault(source.identity, source)
    if not found:
        raise ManifestError("no manifest given", hint="Name a file, a glob, s3://bucket/key, or - for standard input")
    return list(found.values())


def raw_chunks(source: Source) -> Iterator[bytes]:
    """The bytes of ``source`` as they lie on disk.

    Raises:
        ManifestError: it cannot be opened or read, or no longer.
    """
    try:
        with source.open() as raw:
            while chunk := raw.read(CHUNK):
                yield chunk
    except OSError as error:
        raise _unreadable(source.label, error) from error


class _UnclosedReader(io.RawIOBase):
    """Reads a stream and leaves it open: standard input belongs to the process."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        return read_some(self._stream, size)


class _DescriptorReader(io.RawIOBase):
    """Reads a shared file descriptor, with a position of its own."""

    def __init__(self, owner: object, descriptor: int) -> None:
        self._owner = owner  # which closes the descriptor when it is collected
        self._descriptor = descriptor
        self._position = 0

    def read(self, size: int = -1, /) -> bytes:
        chunk = os.pread(self._descriptor, size, self._position)
        self._position += len(chunk)
        return chunk


def read_some(stream: BinaryIO, size: int) -> bytes:
    """At most ``size`` bytes, as soon as there are some, so that the lines of a slow writer are used at once."""
    read: Callable[[int], bytes | None] = getattr(stream, "read1", stream.read)
    raw = getattr(stream, "raw", stream)
    chunk = read(size)
    if chunk or _blocks(stream):
        return chunk or b""
    # Node and some CI runners hand on pipes that do not block. There a raw reader returns None for "nothing yet", and a
    # buffered one b"", as at the end; its buffer is empty then, so that the raw reader below it can say which it is.
    # The descriptor is left as it is: the parent shares its mode.
    chunk = None if raw is not stream else chunk
    while chunk is None:
        ready = select.poll()
        ready.register(stream.fileno(), select.POLLIN)
        ready.poll()
        chunk = raw.read(size)
    return chunk


def _blocks(stream: BinaryIO) -> bool:
    """Whether a read waits for bytes; so does everything that has no descriptor."""
    try:
        return os.get_blocking(stream.fileno())
    except (OSError, ValueError):
        return True


def _version(stream: BinaryIO) -> tuple[int, int]:
    """What changes with the content of a file that is written in place; one that replaces it is another file."""
    status = os.fstat(stream.fileno())
    return status.st_size, status.st_mtime_ns


def _append(descriptor: int, chunk: bytes) -> int:
    """Write all of ``chunk``; returns its length.

    Raises:
        ScratchError: the disk is full.
    """
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        raise ScratchError(error.strerror or str(error)) from error
    return len(chunk)


def _scratch_folder() -> str | None:
    """TMPDIR, else /var/tmp, which is on disk where /tmp is often in memory; None when no folder can be written.

    A container with a read-only root and no volume has shared memory at least.
    """
    folder = os.environ.get("TMPDIR") or "/var/tmp"  # noqa: S108 - files there have no name
    if os.access(folder, os.W_OK):
        return folder
    try:
        return tempfile.gettempdir()
    except OSError:
        return SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None


def _standard_input(stdin: BinaryIO | None) -> StreamSource:
    """What ``-`` reads.

    Raises:
        ManifestError: it cannot be read.
    """
    stream = stdin or getattr(sys.stdin, "buffer", None)  # Python has none if it was started without one
    hint = "Connect it to a file or a pipe, or name a file"
    if stream is None or stream.closed:
        raise ManifestError("standard input is closed", where="-", hint=hint)
    try:
        os.read(stream.fileno(), 0)  # fails where a read would
    except io.UnsupportedOperation:
        pass  # it has no descriptor
    except OSError as error:
        what = "standard input is closed, or cannot be read"
        raise ManifestError(what, where="-", why=str(error.strerror), hint=hint) from error
    return StreamSource(stream)


def _paths(name: str) -> list[str]:
    """The files that a path or a glob names.

    Raises:
        ManifestError: there is none.
    """
    try:
        if os.path.lexists(name) or not glob.has_magic(name):
            return [name]
        # Not Path.is_dir, which raises for a file in a folder that may not be searched; that is reported with the file.
        matches = sorted(path for path in glob.glob(name, recursive=True) if not os.path.isdir(path))  # noqa: PTH112, PTH207
    except ValueError as error:
        raise _unreadable(name, error) from error
    if not matches:
        raise ManifestError(
            "the glob matches no file",
            where=name,
            hint="Check the pattern, and quote it if the shell should not expand it",
        )
    return matches


def _file(path: str) -> FileSource:
    """The file at ``path``, which must exist and be readable.

    Raises:
        ManifestError: it cannot be read.
    """
    try:
        if Path(path).is_dir():
            raise ManifestError(
                "this is a directory", where=path, hint=f'Name the files in it, such as "{path}/*.jsonl"'
            )
        return _readable(FileSource(path))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _readable(source: AnySource) -> AnySource:
    """``source``, if it can be unpacked here.

    Raises:
        ManifestError: the library for that is not installed.
    """
    if source.suffix == ".zst":
        try:
            import zstandard  # noqa: F401
        except ImportError as error:
            raise ManifestError("cannot read zstd files", where=source.label, why=ZSTD_MISSING) from error
    return source


def _unreadable(name: str, error: OSError | ValueError) -> ManifestError:
    why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return ManifestError("cannot read the manifest", where=name, why=why, hint="Check the path and its permissions")
