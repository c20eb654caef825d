"""Sources: what the arguments of a command name, what is reported about the rest, and copies on disk."""

from __future__ import annotations

import gzip
import io
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from provisioner.errors import ManifestError, Reason
from provisioner.manifest.lines import blocks
from provisioner.manifest.sources import SHARED_MEMORY, ScratchError, SpooledSource, resolve
from tests.manifest.test_lines import blocks_of, lines_of, stream

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
        (".", "this is a directory"),
        ("nul\x00", "null (byte|character)"),
        ("nul\x00*", "null (byte|character)|no file"),
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
    """A file that may not be read is reported at once, with the reason."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "m.jsonl").write_bytes(b"")
    monkeypatch.setattr("builtins.open", refuse)

    with pytest.raises(ManifestError, match="Permission denied"):
        resolve([str(tmp_path / "m.jsonl")], None)


def test_a_glob_in_a_folder_that_may_not_be_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files whose names can be listed, but that cannot be looked at, are reported and not passed over."""
    stat = os.stat

    def refuse(path: object, *args: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(f"{tmp_path}/"):
            raise PermissionError(13, "Permission denied")
        return stat(path, *args, **options)  # type: ignore[arg-type]  # whatever the caller gives

    (tmp_path / "m.jsonl").write_bytes(b"")
    monkeypatch.setattr(os, "stat", refuse)

    with pytest.raises(ManifestError, match="Permission denied") as caught:
        resolve([f"{tmp_path}/*.jsonl"], None)
    assert caught.value.reason is Reason.USAGE


def test_no_source_at_all() -> None:
    """Without any name there is nothing to read, which is a usage error."""
    with pytest.raises(ManifestError, match="no manifest given"):
        resolve([], None)


def test_zstd_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library, a .zst source says what to install, before anything is read."""
    (tmp_path / "m.zst").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "zstandard", None)

    with pytest.raises(ManifestError, match=r"pip install 'cleanrooms-provisioner\[zstd\]'"):
        resolve([str(tmp_path / "m.zst")], None)


# Reading again.


def test_standard_input_is_read_once_and_left_open() -> None:
    """A stream can be read once, says so the second time, and is not ours to close."""
    stdin = io.BytesIO(b"a\n")
    (source,) = resolve(["-", "-"], stdin)

    assert lines_of(source) == [(1, b"a")]
    assert not stdin.closed
    with pytest.raises(ManifestError, match="only once"):
        blocks_of(source)


def test_standard_input_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed one, or one that is open for writing alone, is a usage error (2) and no empty source."""
    closed = io.BytesIO()
    closed.close()
    monkeypatch.setattr(sys, "stdin", None)  # what Python makes of a closed one

    with open(os.devnull, "wb", buffering=0) as write_only:  # noqa: PTH123  unbuffered
        for stdin in (None, closed, write_only):
            with pytest.raises(ManifestError, match="standard input is closed") as caught:
                resolve(["-"], cast("BinaryIO | None", stdin))

            assert caught.value.reason is Reason.USAGE


def test_a_spooled_stream_is_read_by_many_at_a_time() -> None:
    """A copy on disk can be read again, by readers that do not disturb each other."""
    data = b"".join(b"%d\n" % number for number in range(200_000))
    spooled = SpooledSource(stream(data))
    one, two = blocks(spooled, lambda: 0), blocks(spooled, lambda: 0)
    pairs = list(zip(one, two, strict=True))

    assert spooled.size_bytes == len(data)
    assert len(pairs) > 2
    assert b"".join(line + b"\n" for block, _ in pairs for line in block.lines) == data
    assert all(a == b for a, b in pairs)


@pytest.mark.parametrize("in_place", [True, False])
def test_a_file_that_is_written_while_it_is_copied(tmp_path: Path, in_place: bool) -> None:  # noqa: FBT001  a table
    """Written in place, a half may be read, and the other half pruned: refused. One that is replaced is read whole."""
    path, new = tmp_path / "m.jsonl", tmp_path / "new"
    path.write_bytes(b"a\nb\n")
    os.utime(path, ns=(0, 0))

    class Reader(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            chunk = super().read(size)
            new.write_bytes(b"c\nd\n")
            if in_place:
                path.write_bytes(new.read_bytes())
            else:
                new.replace(path)
            return chunk

    (source,) = resolve([str(path)], None)
    source.open = lambda: Reader(path)  # type: ignore[method-assign]  # it has read

    if in_place:
        with pytest.raises(ManifestError, match="changed while it was read"):
            SpooledSource(source)
    else:
        assert lines_of(SpooledSource(source)) == [(1, b"a"), (2, b"b")]


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
    """A full disk is reported with what to do, and with the exit code that makes a scheduler wait (74)."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)

    with pytest.raises(ScratchError, match="No space left") as caught:
        SpooledSource(stream(b"a"))
    assert caught.value.reason is Reason.LEDGER


def test_a_spool_in_a_container_without_a_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the root is read-only and nothing is mounted, the copy is in shared memory."""

    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.setattr(tempfile, "gettempdir", none)
    spooled = SpooledSource(stream(b"a"))
    opened = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]

    assert lines_of(spooled) == [(1, b"a")]
    assert [path for path in opened if path.startswith(SHARED_MEMORY) and path.endswith(" (deleted)")]


def test_a_spool_has_no_name_and_obeys_tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is a file in TMPDIR that has no name, so that no crash leaves it behind."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    spooled = SpooledSource(stream(b"a"))

    assert lines_of(spooled) == [(1, b"a")]
    assert list(tmp_path.iterdir()) == []
