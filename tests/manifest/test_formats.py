"""Sources that are not JSONL: recognised, and answered with the command that converts them."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
import zstandard

from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import Manifest
from tests.definition_lines import FULL, LEAST, ROLE, line_of, lines_of

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


FROM_CSV = "csv.DictReader"
UTF16 = JSONL.decode().encode("utf-16-le")
YAML = b"# a comment\n---\n- name: a\n  roleArn: r\n- name: b\n"


def archived() -> list[bytes]:
    """The manifest in a zip and a tar archive that store it as it is, so that most lines are definitions."""
    packed, taped = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("m.jsonl", JSONL)
    with tarfile.open(fileobj=taped, mode="w") as tape:
        member = tarfile.TarInfo("m.jsonl")
        member.size = len(JSONL)
        tape.addfile(member, io.BytesIO(JSONL))
    return [packed.getvalue(), taped.getvalue()]


ZIP, TAR = archived()
KINDS: list[tuple[bytes, int, str, str, str]] = [
    (json.dumps(TWO, indent=2).encode(), 1, "json_array", "a JSON array", "jq -c '.[]'"),
    (b"[" + b",\n".join(map(line_of, TWO)) + b"]", 1, "json_array", "a JSON array", "jq -c '.[]'"),
    (b"\n  \n[\n" + b",\n".join(map(line_of, TWO)) + b"\n]\n", 3, "json_array", "a JSON array", "jq -c '.[]'"),
    (line_of(TWO), 1, "json_array", "a JSON array", "jq -c '.[]'"),
    (line_of(TWO * 9000), 1, "json_array", "a JSON array", "jq -c '.[]'"),
    (b'["a", "b"]', 1, "json_array", "a JSON array of names", "jq -c '.[] | {name: .}'"),
    (b'[\n  "a",\n  "b"\n]', 1, "json_array", "a JSON array of names", "jq -c '.[] | {name: .}'"),
    (line_of({"algorithms": TWO}), 1, "json_array", "inside an object", "jq -c '.algorithms[]'"),
    (json.dumps({"algorithms": TWO}, indent=1).encode(), 1, "json_array", "inside an object", "jq -c '.algorithms[]'"),
    (json.dumps(TWO[0], indent=2).encode(), 1, "pretty_printed", "must be on one line", "jq -c ."),
    (line_of(TWO[0]).replace(b", ", b",\n"), 1, "pretty_printed", "must be on one line", "jq -c ."),
    (b"".join(json.dumps(one, indent=4).encode() + b"\r\n" for one in TWO), 1, "pretty_printed", "JSON", "jq -c ."),
    (JSONL.replace(b"\n", b"\r"), 1, "pretty_printed", "must be on one line", "jq -c ."),
    (JSONL.replace(b"\n", b""), 1, "pretty_printed", "must be on one line", "jq -c ."),
    (JSONL.replace(b"\n", b",\n"), 1, "not_jsonl", "end with commas", "sed 's/,[[:space:]]*$//'"),
    (as_csv(NAMES), 1, "csv", "CSV", FROM_CSV),
    (as_csv(NAMES, ";"), 1, "csv", "CSV", 'delimiter=";"'),
    (as_csv(NAMES, "\t"), 1, "csv", "CSV", r'delimiter="\t"'),
    (b'"Name"\na\nb\n', 1, "csv", "CSV", FROM_CSV),
    (JSONL.decode().encode("utf-16"), 1, "utf16", "UTF-16", "iconv -f UTF-16 -t UTF-8"),
    (UTF16, 1, "utf16", "UTF-16", "iconv -f UTF-16LE"),
    (JSONL.decode().encode("utf-16-be"), 1, "utf16", "UTF-16", "iconv -f UTF-16BE"),
    (as_csv(NAMES).decode().encode("utf-16-be"), 1, "utf16", "UTF-16", "iconv -f UTF-16BE"),
    (line_of(LEAST).decode().encode("utf-16"), 1, "utf16", "UTF-16", "iconv -f UTF-16 "),
    (JSONL.decode().encode("utf-32"), 1, "utf16", "UTF-32", "iconv -f UTF-32 "),
    (JSONL.decode().encode("utf-32-be"), 1, "utf16", "UTF-32", "iconv -f UTF-32BE"),
    (bz2.compress(JSONL), 1, "not_jsonl", "bzip2", "bzip2 -dc"),
    (lzma.compress(JSONL), 1, "not_jsonl", "xz", "xz -dc"),
    (YAML, 1, "not_jsonl", "YAML", "yaml.safe_load_all"),
    (b"name: a\nroleArn: r\n---\nname: b\n", 1, "not_jsonl", "YAML", "yaml.safe_load_all"),
    (b"# [run]\n[defaults]\nroleArn = 'r'\n", 1, "not_jsonl", "TOML", "pass it with --config"),
    (b'[[algorithms]]\nname = "a"\n', 1, "not_jsonl", "TOML", "pass it with --config"),
    (ZIP, 1, "not_jsonl", "a zip archive", "unpack it"),
    (TAR, 1, "not_jsonl", "a tar archive", "unpack it"),
    (gzip.compress(TAR, mtime=0), 1, "not_jsonl", "a tar archive", "unpack it"),
    (b"SQLite format 3\0" + bytes(100) + JSONL, 1, "not_jsonl", "an SQLite database", "pass it with --ledger"),
    (b"\x89PNG\r\n\x1a\n" + bytes(80), 1, "not_jsonl", "binary data", "name the file"),
    (bytes(600_000), 1, "not_jsonl", "binary data", "name the file"),
    (b"<!DOCTYPE html>\n<html>\n", 1, "not_jsonl", "an HTML or XML page", "get the file again"),
    (
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        1,
        "not_jsonl",
        "XML page",
        "get the file again",
    ),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", 1, "not_jsonl", "Git LFS", "git lfs pull"),
    (b"name 1\nname 2\n", 1, "not_jsonl", "no line is a JSON object", "jq -Rc '{name: .}'"),
    (b"Traceback (most recent call last):\n" * 50_000, 1, "not_jsonl", "no line is a JSON object", "if it is"),
]
"""Sources that are not JSONL: the line, the code, what the message calls them, and what it says to type."""


@pytest.mark.parametrize(("data", "line", "code", "what", "remedy"), KINDS, ids=range(len(KINDS)))
def test_another_format_is_one_problem(data: bytes, line: int, code: str, what: str, remedy: str) -> None:
    """A source in another format is one problem, where it begins, which says what it is and what to type."""
    names, (problem,) = read(data)
    message, _, command = problem.message.partition("; ")

    assert names == []
    assert (problem.line, problem.column, problem.code, problem.severity) == (line, 1, code, "problem")
    assert what in message
    assert remedy in command


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


@pytest.mark.parametrize(
    "before",
    [b"warning: a\nnote: b\n", b"# a comment\n# and another\n", b"name 1\nname 2\nname 3\n", b"[" * 300_000 + b"\n"],
    ids=["yaml", "comments", "text", "long"],
)
def test_what_a_program_prints_before_its_definitions_does_not_hide_them(before: bytes) -> None:
    """Where a line begins with a brace, the source may be JSONL, whatever the lines before it look like."""
    names, problems = read(before + JSONL)

    assert names == ["a", "b"]
    assert {problem.line for problem in problems} == set(range(1, before.count(b"\n") + 1))


def test_lines_in_a_wrong_encoding_are_told_one_by_one() -> None:
    """Most lines of a file in Latin-1 are ASCII, and used: each of the others is one problem."""
    wrong = lines_of(*(LEAST | {"tags": {"team": f"\xe9{at}"}} for at in (1, 2))).decode().encode("latin-1")
    names, problems = read(wrong + JSONL)

    assert names == ["a", "b"]
    assert [(problem.line, problem.code) for problem in problems] == [(1, "not_utf8"), (2, "not_utf8")]


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
    ("name", "data"),
    [
        ("names.csv", b"\xef\xbb\xbf" + as_csv(NAMES)),
        ("an odd name; rm.tsv", as_csv([one | {"kmsKeyArn": ""} for one in NAMES], "\t")),
        ("in.csv.gz", gzip.compress(as_csv(NAMES, ";"), mtime=0)),
        ("in.json", JSONL.decode().encode("utf-16")),
        ("definitions.jsonl", UTF16),
        ("commas.jsonl", JSONL.replace(b"\n", b",\r\n")),
        ("in.yaml", b"".join(b"- name: %b\n  roleArn: %b\n" % (name, ROLE.encode()) for name in (b"a", b"b"))),
        ("in.bz2", bz2.compress(JSONL)),
    ],
    ids=range(8),
)
def test_the_command_converts(tmp_path: Path, name: str, data: bytes) -> None:
    """The command in the message works as it is printed, and replaces no file."""
    (tmp_path / name).write_bytes(data)
    ((problem,),) = [batch.problems for batch in Manifest([str(tmp_path / name)], Rules()).batches()]
    command = problem.message.partition("convert it with: ")[2]
    shell = ["/bin/sh", "-c", command.replace("python3", sys.executable)]
    subprocess.run(shell, check=True, cwd=tmp_path)
    (converted,) = set(tmp_path.iterdir()) - {tmp_path / name}
    (batch,) = Manifest([str(converted)], Rules()).batches()

    assert (tmp_path / name).read_bytes() == data
    assert [row.name for row in batch.rows] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "told"),
    [("-", "pipe it through: jq -c ."), ("a\x1bb", "convert it with: jq -c . < FILE > definitions.jsonl")],
)
def test_a_name_that_cannot_be_typed_is_not_part_of_the_command(tmp_path: Path, name: str, told: str) -> None:
    """Standard input has no name, and an escaped one is not the name."""
    data = json.dumps(TWO[0], indent=2).encode()
    path = name if name == "-" else str(tmp_path / name)
    if name != "-":
        (tmp_path / name).write_bytes(data)
    (batch,) = Manifest([path], Rules(), stdin=io.BytesIO(data)).batches()

    assert batch.problems[0].message.endswith(told)
