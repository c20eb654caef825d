"""Lines: how a source is split, unpacked and bounded, and what is reported about the rest."""

from __future__ import annotations

import gzip
import io
import os
import threading
import zlib
from typing import TYPE_CHECKING, BinaryIO, cast

import pytest
import zstandard
from hypothesis import assume, given
from hypothesis import strategies as st

from provisioner.manifest.lines import MAX_LINE, MAX_SKIPPED, Block, blocks
from provisioner.manifest.sources import Source, StreamSource, resolve
from tests.memory import peak_mib

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def blocks_of(source: Source) -> list[Block]:
    """All of a source, nothing of which became a definition."""
    return list(blocks(source, lambda: 0))


def lines_of(source: Source) -> list[tuple[int, bytes]]:
    """Its lines, with their numbers; there must be no problem."""
    found = blocks_of(source)
    assert not any(block.problem for block in found)
    return [pair for block in found for pair in enumerate(block.lines, block.first)]


def problems_of(source: Source) -> list[tuple[int, str]]:
    """Line and code of each problem."""
    return [(block.first + len(block.lines), block.problem.code) for block in blocks_of(source) if block.problem]


def stream(data: bytes) -> StreamSource:
    """A source that can be read once."""
    return StreamSource(io.BytesIO(data))


def file(folder: Path, name: str, data: bytes) -> Source:
    """A source that is a file."""
    (folder / name).write_bytes(data)
    (source,) = resolve([str(folder / name)], None)
    return source


# What lines there are.


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\nb", [b"a", b"b"]),
        (b"\n\na\n", [b"", b"", b"a"]),
        (b"a\r\nb\r\n", [b"a\r", b"b\r"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", [b"a", b"\xef\xbb\xbfb"]),
        (b"\xef\xbb\xbf", [b""]),
        (b"\xef\xbb", [b"\xef\xbb"]),
    ],
)
def test_lines(data: bytes, lines: list[bytes]) -> None:
    """Lines end at line feeds or at the end; a byte-order mark is dropped at the very start and nowhere else."""
    assert lines_of(stream(data)) == list(enumerate(lines, 1))


class Dribble(io.RawIOBase):
    """A stream that gives a few bytes at a time, as a pipe does."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data = io.BytesIO(data)
        self._step = step

    def read(self, size: int = -1, /) -> bytes:
        """At most a step."""
        return self._data.read(min(size, self._step))


@given(st.lists(st.binary(max_size=6).map(lambda line: line.replace(b"\n", b"")), max_size=6), st.integers(1, 5))
def test_lines_do_not_depend_on_how_bytes_arrive(lines: list[bytes], step: int) -> None:
    """However the bytes are cut on the way, the lines are the same."""
    data = b"\n".join(lines)
    assume(not data.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")))  # gzip, zstd

    assert lines_of(StreamSource(cast("BinaryIO", Dribble(data, step)))) == lines_of(stream(data))


def test_a_mark_later_on_is_kept() -> None:
    """A byte-order mark that begins a later line is kept also where it begins what was read at once."""
    data = b"ab\n\xef\xbb\xbfc\n"

    assert lines_of(StreamSource(cast("BinaryIO", Dribble(data, 3)))) == [(1, b"ab"), (2, b"\xef\xbb\xbfc")]


def test_a_slow_writer_is_not_waited_for() -> None:
    """The lines of a pipe are handed out when they arrive, not when a buffer is full."""
    inlet, outlet = os.pipe()
    with os.fdopen(inlet, "rb") as reader, os.fdopen(outlet, "wb", buffering=0) as writer:
        found = blocks(StreamSource(reader), lambda: 0)
        writer.write(b"a\n")

        assert next(found).lines == [b"a"]


@pytest.mark.parametrize("data", [b"", b"a", b"a\n"])
def test_the_end_is_read_once(data: bytes) -> None:
    """After the end nothing more is read: a terminal has given one end-of-file, and a named pipe may be reopened."""

    class Terminal(io.RawIOBase):
        chunks = [data, b"", b"more\n"] if data else [b"", b"more\n"]

        def read(self, size: int = -1, /) -> bytes:
            del size
            return self.chunks.pop(0)

    assert lines_of(StreamSource(cast("BinaryIO", Terminal()))) == list(enumerate(data.splitlines(), 1))


@pytest.mark.parametrize("buffering", [-1, 0])
def test_a_pipe_that_does_not_block(buffering: int) -> None:
    """From a non-blocking pipe, as some parents leave it, "nothing there yet" is waited out: it is not the end."""
    inlet, outlet = os.pipe()
    os.set_blocking(inlet, False)
    written = threading.Event()

    def write() -> None:
        with os.fdopen(outlet, "wb", buffering=0) as writer:
            for line in (b"a\n", b"b\n", b"c"):
                written.wait(0.05)
                writer.write(line)

    writer = threading.Thread(target=write)
    with os.fdopen(inlet, "rb", buffering=buffering) as reader:
        writer.start()
        lines = lines_of(StreamSource(reader))
        writer.join()

    assert lines == [(1, b"a"), (2, b"b"), (3, b"c")]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""])
def test_the_longest_line(ending: bytes) -> None:
    """A line of 256 KiB is a line; its end does not count."""
    assert [len(line.rstrip()) for _, line in lines_of(stream(b"x" * MAX_LINE + ending))] == [MAX_LINE]


@pytest.mark.parametrize("length", [MAX_LINE + 1, MAX_LINE + 2, 2 * MAX_LINE, 3 * MAX_LINE + 7])
@pytest.mark.parametrize("before", [0, 1, MAX_LINE // 2, MAX_LINE - 1])
def test_a_line_that_is_too_long(length: int, before: int) -> None:
    """A longer line is one problem, with its length, and its neighbours are read."""
    data = b"y" * before + b"\n" + b"x" * length + b"\nz\nlast"
    found = blocks_of(stream(data))

    assert [line for block in found for line in block.lines] == [b"y" * before, b"z", b"last"]
    assert problems_of(stream(data)) == [(2, "line_too_long")]
    assert next(f"{length} bytes" in block.problem.message for block in found if block.problem)
    assert [block.first for block in found if b"last" in block.lines] in ([3], [4])


def test_a_last_line_that_is_too_long() -> None:
    """A line that is too long and has no end is one problem."""
    assert problems_of(stream(b"a\n" + b"x" * (2 * MAX_LINE))) == [(2, "line_too_long")]


class Endless(io.RawIOBase):
    """A line without an end; counts what is read of it."""

    def __init__(self) -> None:
        self.read_bytes = 0

    def read(self, size: int = -1, /) -> bytes:
        """As much as is asked for."""
        self.read_bytes += size
        return b"x" * size


def test_a_line_without_end_is_given_up() -> None:
    """After 64 MiB without a line feed the source is given up: it is no JSONL, and a run must not wait for it."""
    endless = Endless()

    assert problems_of(StreamSource(cast("BinaryIO", endless))) == [(1, "line_too_long")]
    assert endless.read_bytes <= MAX_SKIPPED + 4 * MAX_LINE


def test_a_line_of_ten_gigabytes_in_flat_memory(tmp_path: Path) -> None:
    """A file that is one line of 10 GB is one problem, within 64 MB."""
    path = tmp_path / "long.jsonl"
    with path.open("wb") as sparse:
        sparse.write(b'{"name":"')
        sparse.truncate(10_000_000_000)
    program = (
        "import sys; import provisioner.manifest.lines as l, provisioner.manifest.sources as s;"
        "print([b.problem.code for b in l.blocks(s.FileSource(sys.argv[1]), lambda: 0) if b.problem])"
    )
    codes, peak = peak_mib(program, str(path))

    assert codes == "['line_too_long']"
    assert peak < 64


# Compressed sources.


def pack_zstd(data: bytes) -> bytes:
    """A zstd frame with a checksum, as the command line tool writes it."""
    packed: bytes = zstandard.ZstdCompressor(write_checksum=True).compress(data)
    return packed


PACK: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": pack_zstd, ".GZ": gzip.compress}


@pytest.mark.parametrize("suffix", PACK)
def test_compressed(tmp_path: Path, suffix: str) -> None:
    """A source whose name ends in .gz or .zst is unpacked, several members too."""
    data = b"".join(b"line %d\n" % number for number in range(50_000))
    half = len(data) // 2
    source = file(tmp_path, f"m.jsonl{suffix}", PACK[suffix](data[:half]) + PACK[suffix](data[half:]))

    assert lines_of(source) == list(enumerate(data.splitlines(), 1))
    assert blocks_of(source)[-1].read_bytes == source.size_bytes


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_an_empty_compressed_source(tmp_path: Path, suffix: str) -> None:
    """Nothing, compressed, has no lines."""
    assert lines_of(file(tmp_path, f"m{suffix}", PACK[suffix](b""))) == []


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "smashed", "garbage"])
def test_a_damaged_source_keeps_what_was_before(tmp_path: Path, suffix: str, damage: str) -> None:
    """A compressed source that breaks is one problem on the line where it breaks; the lines before it count."""
    data = b"".join(b"line %d %x\n" % (number, zlib.crc32(b"%d" % number)) for number in range(20_000))
    packed = bytearray(PACK[suffix](data))
    if damage == "cut":
        del packed[len(packed) // 2 :]
    elif damage == "flipped":
        packed[len(packed) // 2] ^= 0xFF
        packed[len(packed) // 2 + 1000] ^= 0xFF
    elif damage == "smashed":
        packed[10] = 0x07  # the first block is of a kind that deflate does not have
    else:
        packed[:4] = b"none"
    found = blocks_of(file(tmp_path, f"m{suffix}", bytes(packed)))
    lines = [line for block in found for line in block.lines]

    assert [block.problem.code for block in found if block.problem][-1] == "source_broken"
    assert damage != "cut" or lines == data.splitlines()[: found[-1].first - 1] != []


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("unit", [b"\x00", b"\n", b"{}\n", b"x" * 1000 + b"\n"])
def test_a_bomb(tmp_path: Path, suffix: str, unit: bytes) -> None:
    """What unpacks to more than a hundred times its size is one problem, and ends the source early."""
    size = 16 * 1024 * 1024
    source = file(tmp_path, f"m{suffix}", PACK[suffix](b"first\n" + unit * (size // len(unit))))
    found = blocks_of(source)

    assert [block.problem.code for block in found if block.problem] == ["compression_bomb"]
    assert found[0].lines[:1] == [b"first"]
    assert sum(len(line) + 1 for block in found for line in block.lines) < size / 2


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_manifest_from_a_template_is_no_bomb(tmp_path: Path, suffix: str) -> None:
    """Bytes that became definitions do not count, however well they compress."""
    data = b"".join(b"%07d" % number + b"x" * 800 + b"\n" for number in range(10_000))
    packed = PACK[suffix](data)
    source = file(tmp_path, f"m{suffix}", packed)
    useful = 0

    assert len(data) > 100 * len(packed)
    for block in blocks(source, lambda: useful):  # noqa: B023 - it is asked while the loop stands still
        assert block.problem is None
        useful += sum(map(len, block.lines))


def test_a_window_that_takes_too_much_memory(tmp_path: Path) -> None:
    """A zstd frame that wants a window of more than 8 MiB is refused instead of served."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = packer.compress(os.urandom(1000) + b"\n" * 20_000_000) + packer.flush()

    assert problems_of(file(tmp_path, "m.zst", data)) == [(1, "source_broken")]


# Sources that break.


def test_a_file_that_vanishes(tmp_path: Path) -> None:
    """A file that existed at the start and is gone when it is read is one problem, which does not end the run."""
    source = file(tmp_path, "m.jsonl", b"x")
    (tmp_path / "m.jsonl").unlink()

    assert problems_of(source) == [(1, "source_broken")]


def test_a_file_that_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error in the middle is one problem on the line where it happens."""

    class Broken(io.RawIOBase):
        reads = 0

        def read(self, size: int = -1, /) -> bytes:
            self.reads += 1
            if self.reads > 1:
                raise OSError(5, "Input/output error")
            return b"a\nb\nhalf a li"[:size]

    source = file(tmp_path, "m.jsonl", b"")
    monkeypatch.setattr(source, "open", Broken)
    first, last = blocks_of(source)

    assert first.lines == [b"a", b"b"]
    assert last.first == 3
    assert last.problem is not None
    assert last.problem.code == "source_broken"
    assert "Input/output error" in last.problem.message
