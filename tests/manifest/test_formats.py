"""Sources that are not JSONL: recognised, and answered with the command that converts them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import zstandard

from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import Manifest
from tests.definition_lines import FULL, LEAST, ROLE, line_of

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.core.problem import Problem

TWO = [LEAST | {"name": "a"}, FULL | {"name": "b"}]
JSONL = b"".join(line_of(one) + b"\n" for one in TWO)


def read(data: bytes) -> tuple[list[str], list[Problem]]:
    """The names that are read from standard input, and the problems."""
    batches = list(Manifest(["-"], Rules(), stdin=io.BytesIO(data)).batches())
    assert sum(len(batch.rows) + batch.invalid for batch in batches) == sum(batch.lines for batch in batches)
    return [row.name for batch in batches for row in batch.rows], [one for batch in batches for one in batch.problems]


def as_csv(rows: list[dict[str, str]], delimiter: str = ",") -> bytes:
    """A CSV file with a header."""
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


NAMES = [{"name": "a", "roleArn": ROLE}, {"name": "b", "roleArn": ROLE}]


@pytest.mark.parametrize(
    ("data", "line", "code", "command"),
    [
        (json.dumps(TWO, indent=2).encode(), 1, "json_array", "jq -c '.[]' FILE"),
        (b"[" + b",\n".join(map(line_of, TWO)) + b"]", 1, "json_array", "jq -c '.[]' FILE"),
        (b"\n  \n[\n" + b",\n".join(map(line_of, TWO)) + b"\n]\n", 3, "json_array", "jq -c '.[]' FILE"),
        (json.dumps(TWO[0], indent=2).encode(), 1, "pretty_printed", "jq -c . FILE"),
        (b"".join(json.dumps(one, indent=4).encode() + b"\r\n" for one in TWO), 1, "pretty_printed", "jq -c . FILE"),
        (as_csv(NAMES), 1, "csv", "csv.DictReader"),
        (as_csv(NAMES, ";"), 1, "csv", "csv.DictReader"),
        (b'"Name"\na\nb\n', 1, "csv", "csv.DictReader"),
        (JSONL.decode().encode("utf-16"), 1, "utf16", "iconv -f UTF-16"),
        (JSONL.decode().encode("utf-16-le"), 1, "utf16", "iconv -f UTF-16"),
        (JSONL.decode().encode("utf-16-be"), 1, "utf16", "iconv -f UTF-16"),
        (line_of(LEAST).decode().encode("utf-16"), 1, "utf16", "iconv -f UTF-16"),
    ],
)
def test_another_format_is_one_problem(data: bytes, line: int, code: str, command: str) -> None:
    """A source in another format is one problem, where it begins, with the command that converts it."""
    names, (problem,) = read(data)

    assert names == []
    assert (problem.line, problem.column, problem.code, problem.severity) == (line, 1, code, "problem")
    assert command in problem.message.partition("convert it with: ")[2]


@pytest.mark.parametrize("first", [b"[", b"{", b"[]", b"[1,", b"name", b"name,role", b"# a comment", b"\x00", b'{"a"'])
def test_a_wrong_first_line_hides_no_other(first: bytes) -> None:
    """Where the second line is a JSON object, the source is JSONL, whatever its first line is."""
    names, problems = read(first + b"\n" + JSONL)

    assert names == ["a", "b"]
    assert {problem.line for problem in problems} == {1}


@pytest.mark.parametrize("data", [b"x\ny\n" + JSONL, b'"a"\n"b"\n' + JSONL, b"1\n" + b"\n" * 3_000_000 + JSONL])
def test_garbage_before_the_first_definition_is_told_line_by_line(data: bytes) -> None:
    """What is no other format stays JSONL with bad lines."""
    assert read(data)[0] == ["a", "b"]


def test_an_array_on_one_line_says_how_to_split_it() -> None:
    """A line that is an array names the command that makes lines of it."""
    (problem,) = read(line_of(TWO))[1]

    assert problem.code == "wrong_type"
    assert "jq -c '.[]' FILE" in problem.message


@pytest.mark.parametrize("data", [b"", b"\n", b" \n\r\n", b"\xef\xbb\xbf"])
def test_an_empty_source_has_a_notice(data: bytes) -> None:
    """A source without a definition may be the wrong one: a notice, not a problem."""
    names, (notice,) = read(data)

    assert names == []
    assert (notice.line, notice.code, notice.severity) == (1, "empty_source", "notice")


def test_only_the_empty_one_of_several_sources_has_a_notice(tmp_path: Path) -> None:
    """The notice names its source, in the order of the sources."""
    for name, data in (("a", b""), ("b", JSONL), ("c", b"\n"), ("d", b"nonsense")):
        (tmp_path / name).write_bytes(data)
    batches = list(Manifest([f"{tmp_path}/*"], Rules()).batches())

    found = [(problem.source[-1], problem.code) for batch in batches for problem in batch.problems]
    assert found == [("a", "empty_source"), ("c", "empty_source"), ("d", "invalid_json")]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_compressed_input_is_read_whatever_it_is_called(tmp_path: Path, pack: object) -> None:
    """Gzip and zstd are recognised by their first bytes: on standard input, and in a file without a suffix."""
    assert callable(pack)
    data = pack(JSONL)
    (tmp_path / "m.jsonl").write_bytes(data)
    (batch,) = Manifest([str(tmp_path / "m.jsonl")], Rules()).batches()

    assert read(data) == (["a", "b"], [])
    assert [row.name for row in batch.rows] == ["a", "b"]


def test_a_slow_writer_is_not_waited_for() -> None:
    """The first definition of a pipe is read before there is a second line."""
    inlet, outlet = os.pipe()
    with os.fdopen(inlet, "rb") as reader, os.fdopen(outlet, "wb", buffering=0) as writer:
        batches = Manifest(["-"], Rules(), stdin=reader).batches()
        writer.write(JSONL[: JSONL.index(b"\n") + 1])

        assert [row.name for row in next(batches).rows] == ["a"]


@pytest.mark.parametrize(
    ("data", "code"), [(as_csv(NAMES), "csv"), (JSONL.decode().encode("utf-16"), "utf16")], ids=["csv", "utf16"]
)
def test_the_command_converts(tmp_path: Path, data: bytes, code: str) -> None:
    """The command in the message works as it is printed."""
    (problem,) = read(data)[1]
    command = problem.message.partition("convert it with: ")[2].replace("FILE", "input")
    (tmp_path / "input").write_bytes(data)
    shell = ["/bin/sh", "-c", command.replace("python3", sys.executable)]
    subprocess.run(shell, check=True, cwd=tmp_path)
    (batch,) = Manifest([str(tmp_path / "definitions.jsonl")], Rules()).batches()

    assert problem.code == code
    assert [row.name for row in batch.rows] == ["a", "b"]
