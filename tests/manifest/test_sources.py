"""Sources: what can be read, what is told of what cannot, and that memory stays flat."""

from __future__ import annotations

import gzip
import io
import os
import sys
import threading
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from provisioner.errors import ManifestError, Reason
from provisioner.manifest import sources
from provisioner.manifest.sources import (
    MAX_LINE,
    MAX_SKIPPED,
    Block,
    ScratchError,
    Source,
    SpooledSource,
    StreamSource,
    resolve,
)
from tests.memory import peak_mib

if TYPE_CHECKING:
    from collections.abc import Callable


def blocks(source: Source) -> list[Block]:
    """All of a source, nothing of which became a definition."""
    return list(sources.blocks(source, lambda: 0))


def lines_of(source: Source) -> list[tuple[int, bytes]]:
    """Its lines, with their numbers; there must be no trouble."""
    found = blocks(source)
    assert not any(block.trouble for block in found)
    return [pair for block in found for pair in enumerate(block.lines, block.first)]


def troubles_of(source: Source) -> list[tuple[int, str]]:
    """Line and code of each trouble."""
    return [(block.first + len(block.lines), block.trouble.code) for block in blocks(source) if block.trouble]


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

    assert lines_of(StreamSource(cast("BinaryIO", Dribble(data, step)))) == lines_of(stream(data))


def test_a_mark_later_on_is_kept() -> None:
    """A byte-order mark that begins a later line is kept also where it begins what was read at once."""
    data = b"ab\n\xef\xbb\xbfc\n"

    assert lines_of(StreamSource(cast("BinaryIO", Dribble(data, 3)))) == [(1, b"ab"), (2, b"\xef\xbb\xbfc")]


def test_a_slow_writer_is_not_waited_for() -> None:
    """The lines of a pipe are handed out when they arrive, not when a buffer is full."""
    inlet, outlet = os.pipe()
    with os.fdopen(inlet, "rb") as reader, os.fdopen(outlet, "wb", buffering=0) as writer:
        found = sources.blocks(StreamSource(reader), lambda: 0)
        writer.write(b"a\n")

        assert next(found).lines == [b"a"]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""])
def test_the_longest_line(ending: bytes) -> None:
    """A line of 256 KiB is a line; its end does not count."""
    assert [len(line.rstrip()) for _, line in lines_of(stream(b"x" * MAX_LINE + ending))] == [MAX_LINE]


@pytest.mark.parametrize("length", [MAX_LINE + 1, MAX_LINE + 2, 2 * MAX_LINE, 3 * MAX_LINE + 7])
@pytest.mark.parametrize("before", [0, 1, MAX_LINE // 2, MAX_LINE - 1])
def test_a_line_that_is_too_long(length: int, before: int) -> None:
    """A longer line is one trouble, with its length, and its neighbours are read."""
    data = b"y" * before + b"\n" + b"x" * length + b"\nz\nlast"
    found = blocks(stream(data))

    assert [line for block in found for line in block.lines] == [b"y" * before, b"z", b"last"]
    assert troubles_of(stream(data)) == [(2, "line_too_long")]
    assert next(f"{length} bytes" in block.trouble.message for block in found if block.trouble)
    assert [block.first for block in found if b"last" in block.lines] in ([3], [4])


def test_a_last_line_that_is_too_long() -> None:
    """A line that is too long and has no end is one trouble."""
    assert troubles_of(stream(b"a\n" + b"x" * (2 * MAX_LINE))) == [(2, "line_too_long")]


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

    assert troubles_of(StreamSource(cast("BinaryIO", endless))) == [(1, "line_too_long")]
    assert endless.read_bytes <= MAX_SKIPPED + 4 * MAX_LINE


def test_a_line_of_ten_gigabytes_in_flat_memory(tmp_path: Path) -> None:
    """A file that is one line of 10 GB is one trouble, within 64 MB."""
    path = tmp_path / "long.jsonl"
    with path.open("wb") as sparse:
        sparse.write(b'{"name":"')
        sparse.truncate(10_000_000_000)
    program = (
        "import sys; from provisioner.manifest import sources as s;"
        "print([b.trouble.code for b in s.blocks(s.FileSource(sys.argv[1]), lambda: 0) if b.trouble])"
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
    assert blocks(source)[-1].read_bytes == source.size_bytes


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_an_empty_compressed_source(tmp_path: Path, suffix: str) -> None:
    """Nothing, compressed, has no lines."""
    assert lines_of(file(tmp_path, f"m{suffix}", PACK[suffix](b""))) == []


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "smashed", "garbage"])
def test_a_damaged_source_keeps_what_was_before(tmp_path: Path, suffix: str, damage: str) -> None:
    """A compressed source that breaks is one trouble on the line where it breaks; the lines before it count."""
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
    found = blocks(file(tmp_path, f"m{suffix}", bytes(packed)))
    lines = [line for block in found for line in block.lines]

    assert [block.trouble.code for block in found if block.trouble][-1] == "source_broken"
    assert damage != "cut" or lines == data.splitlines()[: found[-1].first - 1] != []


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("unit", [b"\x00", b"\n", b"{}\n", b"x" * 1000 + b"\n"])
def test_a_bomb(tmp_path: Path, suffix: str, unit: bytes) -> None:
    """What unpacks to more than a hundred times its size is one trouble, and ends the source early."""
    size = 16 * 1024 * 1024
    source = file(tmp_path, f"m{suffix}", PACK[suffix](b"first\n" + unit * (size // len(unit))))
    found = blocks(source)

    assert [block.trouble.code for block in found if block.trouble] == ["compression_bomb"]
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
    for block in sources.blocks(source, lambda: useful):  # noqa: B023 - it is asked while the loop stands still
        assert block.trouble is None
        useful += sum(map(len, block.lines))


def test_a_window_that_takes_too_much_memory(tmp_path: Path) -> None:
    """A zstd frame that wants a window of more than 8 MiB is refused instead of served."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = packer.compress(os.urandom(1000) + b"\n" * 20_000_000) + packer.flush()

    assert troubles_of(file(tmp_path, "m.zst", data)) == [(1, "source_broken")]


def test_zstd_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library, a .zst source says what to install, before anything is read."""
    (tmp_path / "m.zst").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "zstandard", None)

    with pytest.raises(ManifestError, match=r"pip install 'cleanrooms-provisioner\[zstd\]'"):
        resolve([str(tmp_path / "m.zst")], None)


# What the arguments name.


def test_globs_match_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    """A glob stands for its files, sorted, without folders; a file that is named twice is read once."""
    for name in ("b.jsonl", "a.jsonl", "c/d.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.jsonl").mkdir()
    found = resolve([str(tmp_path / "b.jsonl"), f"{tmp_path}/**/*.jsonl", f"{tmp_path}/./a.jsonl"], None)

    assert [Path(source.label).relative_to(tmp_path).as_posix() for source in found] == [
        "b.jsonl",
        "a.jsonl",
        "c/d.jsonl",
    ]


def test_a_file_whose_name_looks_like_a_glob(tmp_path: Path) -> None:
    """A path that exists is never read as a glob."""
    (tmp_path / "m[1].jsonl").write_bytes(b"x")
    (source,) = resolve([str(tmp_path / "m[1].jsonl")], None)

    assert lines_of(source) == [(1, b"x")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.jsonl", "No such file"),
        ("*.nothing", "the glob matches no file"),
        (".", "this is a folder"),
        ("nul\x00", "null byte"),
        ("nul\x00*", "null byte|no file"),
        ("x" * 300, "File name too long"),
        ("\x1b]0;x", "No such file"),
    ],
)
def test_what_cannot_be_read_is_told_first(tmp_path: Path, name: str, message: str) -> None:
    """A source that is not there is a usage error (2) that names it, before anything is read."""
    with pytest.raises(ManifestError, match=message) as caught:
        resolve([f"{tmp_path}/{name}"], None)

    assert caught.value.reason is Reason.USAGE
    assert str(caught.value).isprintable()


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read is told at once, with the reason."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "m.jsonl").write_bytes(b"")
    monkeypatch.setattr("builtins.open", refuse)

    with pytest.raises(ManifestError, match="Permission denied"):
        resolve([str(tmp_path / "m.jsonl")], None)


def test_no_source_at_all() -> None:
    """Without any name there is nothing to read, which is a usage error."""
    with pytest.raises(ManifestError, match="no manifest is named"):
        resolve([], None)


def test_a_file_that_vanishes(tmp_path: Path) -> None:
    """A file that was there and is gone when it is its turn is told by name."""
    source = file(tmp_path, "m.jsonl", b"x")
    (tmp_path / "m.jsonl").unlink()

    with pytest.raises(ManifestError, match=r"m\.jsonl"):
        blocks(source)


def test_a_file_that_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error in the middle is one trouble on the line where it happens."""

    class Broken(io.RawIOBase):
        reads = 0

        def read(self, size: int = -1, /) -> bytes:
            self.reads += 1
            if self.reads > 1:
                raise OSError(5, "Input/output error")
            return b"a\nb\nhalf a li"[:size]

    source = file(tmp_path, "m.jsonl", b"")
    monkeypatch.setattr(source, "open", Broken)
    first, last = blocks(source)

    assert first.lines == [b"a", b"b"]
    assert last.first == 3
    assert last.trouble is not None
    assert last.trouble.code == "source_broken"
    assert "Input/output error" in last.trouble.message


# Reading again.


def test_standard_input_is_read_once_and_left_open() -> None:
    """A stream can be read once, says so the second time, and is not ours to close."""
    stdin = io.BytesIO(b"a\n")
    (source,) = resolve(["-", "-"], stdin)

    assert lines_of(source) == [(1, b"a")]
    assert not stdin.closed
    with pytest.raises(ManifestError, match="only once"):
        blocks(source)


def test_a_spooled_stream_is_read_by_many_at_a_time() -> None:
    """A copy on disk can be read again, by readers that do not disturb each other."""
    data = b"".join(b"%d\n" % number for number in range(200_000))
    spooled = SpooledSource(stream(data))
    one, two = sources.blocks(spooled, lambda: 0), sources.blocks(spooled, lambda: 0)
    pairs = list(zip(one, two, strict=True))

    assert spooled.size_bytes == len(data)
    assert len(pairs) > 2
    assert b"".join(line + b"\n" for block, _ in pairs for line in block.lines) == data
    assert all(a == b for a, b in pairs)


def test_a_named_pipe_is_read_once(tmp_path: Path) -> None:
    """A named pipe, as a shell's <(…) gives it, is read when its turn comes, and can be spooled."""
    pipe = tmp_path / "pipe.gz"
    os.mkfifo(pipe)
    (source,) = resolve([str(pipe)], None)
    writer = threading.Thread(target=pipe.write_bytes, args=(gzip.compress(b"a\nb\n"),))
    writer.start()
    spooled = SpooledSource(source)
    writer.join()

    assert not source.repeatable
    assert source.size_bytes is None
    assert lines_of(spooled) == lines_of(spooled) == [(1, b"a"), (2, b"b")]


def test_a_spool_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is told with what to do, and with the exit code that a scheduler waits on (74)."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)

    with pytest.raises(ScratchError, match="No space left") as caught:
        SpooledSource(stream(b"a"))
    assert caught.value.reason is Reason.LEDGER


def test_a_spool_has_no_name_and_obeys_tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is in TMPDIR and unlinked at once, so that no crash leaves it behind."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    spooled = SpooledSource(stream(b"a"))

    assert lines_of(spooled) == [(1, b"a")]
    assert list(tmp_path.iterdir()) == []
