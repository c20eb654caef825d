"""Plain bytes from a source that may be compressed: gzip and zstd, recognised by their first bytes.

What matters is what a source contains, not what it is called: standard input has no name, and files lose their suffix.
The suffix decides only where the first bytes do not, so that a damaged archive is reported as one.
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, BinaryIO

from provisioner.manifest.sources import CHUNK, ZSTD_MISSING, read_some

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ZSTD_WINDOW = 8 * 1024 * 1024
"""Largest window of a zstd frame: what RFC 8878 asks decoders to support, and what levels 1 to 19 use."""
_ZSTD_STEP = 256
"""Bytes given to zstd at once: its densest block expands 4 bytes to 128 KiB, so that a step yields 8 MiB at most."""


class CountingReader:
    """Reads a source as it lies on disk, and counts the bytes.

    Args:
        raw: the source.
        on_bytes: called with every chunk that is read.

    Attributes:
        read_bytes: how many bytes have been read.
    """

    def __init__(self, raw: BinaryIO, on_bytes: Callable[[bytes], object] | None) -> None:
        self._raw = raw
        self._on_bytes = on_bytes
        self._head = b""
        self._ended = False
        self.read_bytes = 0

    def read(self, size: int = CHUNK) -> bytes:
        """At most ``size`` bytes, as soon as there are some; b"" at the end."""
        if self._head:
            chunk, self._head = self._head[:size], self._head[size:]
            return chunk
        return self._read(size)

    def begins_with(self, magic: bytes) -> bool:
        """Whether the source begins with ``magic``; reads no further than it takes to know."""
        while len(self._head) < len(magic) and magic.startswith(self._head) and (chunk := self._read(CHUNK)):
            self._head += chunk
        return self._head.startswith(magic)

    def _read(self, size: int) -> bytes:
        if self._ended:  # a terminal would want its end-of-file typed again, and a named pipe may have a new writer
            return b""
        chunk = read_some(self._raw, size)
        self._ended = not chunk
        self.read_bytes += len(chunk)
        if self._on_bytes is not None:
            self._on_bytes(chunk)
        return chunk


def unpacked(reader: CountingReader, suffix: str) -> Callable[[], bytes]:
    """A function that returns the next plain bytes, at most CHUNK of them, b"" at the end.

    The function raises OSError, EOFError or zlib.error when the source is damaged.
    """
    if reader.begins_with(b"\x1f\x8b") or suffix == ".gz":
        return _gunzip(reader)
    if reader.begins_with(b"\x28\xb5\x2f\xfd") or suffix == ".zst":
        pieces = _unzstd(reader)
        return lambda: next(pieces, b"")
    return reader.read


def _gunzip(reader: CountingReader) -> Callable[[], bytes]:
    file = gzip.GzipFile(fileobj=reader, mode="rb")  # type: ignore[call-overload]  # it calls read alone
    return lambda: file.read1(CHUNK)


def _unzstd(reader: CountingReader) -> Iterator[bytes]:
    """The plain bytes, a few at a time.

    Raises:
        OSError: they are damaged, or the library is not installed.
        EOFError: they end too early.
    """
    try:
        import zstandard
    except ImportError as error:
        raise OSError(ZSTD_MISSING) from error
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    frame = None
    while packed := reader.read():
        while packed:
            frame = frame or decompressor.decompressobj()
            step, packed = packed[:_ZSTD_STEP], packed[_ZSTD_STEP:]
            try:
                plain = frame.decompress(step)
            except zstandard.ZstdError as error:
                raise OSError(str(error)) from error
            yield from (plain[at : at + CHUNK] for at in range(0, len(plain), CHUNK))
            if frame.eof:
                packed, frame = frame.unused_data + packed, None
    if frame is not None:
        raise EOFError("the compressed file ends before its end-of-stream marker")
