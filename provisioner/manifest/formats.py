"""Recognises a source that is something other than JSONL, and says how to convert it.

People pass what they have: a JSON array, pretty-printed JSON, a CSV file, a file in UTF-16, an archive, an error page.
Read line by line, each of these would be a problem on every line, none of which names the cause; and the lines in a zip
or tar archive that stores files as they are would even be registered, but for the first. So the first lines are looked
at.

A source is only given up as a whole when its second line shows that the first one is no accident: an invalid first line
of a JSONL file must not hide the others.
"""

from __future__ import annotations

import json
import re
import shlex
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from provisioner.core.objects import is_object
from provisioner.manifest.problems import LineProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provisioner.manifest.lines import Block
    from provisioner.manifest.sources import Source

_HELD_BYTES = 1024 * 1024
"""Bytes that are held back at most, in search of a line that could be a definition."""
_ENCODINGS = [
    ("UTF-32", re.compile(rb"\xff\xfe\x00\x00|\x00\x00\xfe\xff")),
    ("UTF-16", re.compile(rb"\xff\xfe|\xfe\xff")),
    # Without a byte-order mark: the first character of a text is an ASCII one.
    ("UTF-32LE", re.compile(rb"[\x09-\x7e]\x00\x00\x00")),
    ("UTF-32BE", re.compile(rb"\x00\x00\x00[\x09-\x7e]")),
    ("UTF-16LE", re.compile(rb"[\x09-\x7e]\x00[\x09-\x7e]\x00|[{\[]\x00")),
    ("UTF-16BE", re.compile(rb"\x00[\x09-\x7e]\x00[\x09-\x7e]|\x00[{\[]")),
]
"""How a text in each encoding begins; the first that fits is the one, and the name is that of iconv."""
_PACKED = [(b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"\x04\x22\x4d\x18", "lz4")]
"""Compressed files that are not unpacked, and the command that does it with ``-dc``."""
_TAR_MAGIC = slice(257, 262)
_UNPACK = "unpack it, and name the files in it"
_OTHERS = [
    (b"PK\x03\x04", "a zip archive, or a spreadsheet", f"{_UNPACK}; save a spreadsheet as CSV"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"SQLite format 3\x00", "an SQLite database", "if it is a ledger, pass it with --ledger"),
    (b"PAR1", "a Parquet file", "write it as JSONL"),
    (b"%PDF-", "a PDF file", "name the file with the definitions"),
    (b"version https://git-lfs.github.com/", "a pointer of Git LFS", "fetch the file itself with: git lfs pull"),
]
"""Files that begin in a way that nothing else does, and what to do with each."""
_MARKUP = re.compile(rb"<(!doctype|html|head|body|\?xml|!--)", re.IGNORECASE)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_YAML = re.compile(rb"""(- )?(["']?[a-z_][\w.-]*["']?):([ \t]|$)|- |---$|%YAML""", re.IGNORECASE)
_TOML = re.compile(rb"""\[\[?[a-z_][\w."-]*\]\]?\s*(#|$)|["']?[a-z_][\w."'-]* *= *[^\s=]""", re.IGNORECASE)
_WRAPPED = re.compile(rb'\{\s*"([A-Za-z_][A-Za-z0-9_]*)"\s*:\s*\[\s*(\{|$)')
"""An object around a list of objects; a definition begins in another way, as none of its fields is such a list."""
_SEPARATORS = (b",", b";", b"\t", b"|")
_FROM_NAMES = "jq -Rc '{name: .}'"
_FROM_YAML = (
    "python3 -c 'import json, sys, yaml; [print(json.dumps(one)) for part in yaml.safe_load_all(sys.stdin)"
    " for one in (part if isinstance(part, list) else [part])]'"
)
_FROM_CSV = (
    "python3 -c 'import csv, json; [print(json.dumps({key: value for key, value in row.items() if key and value}))"
    ' for row in csv.DictReader(open(0, encoding="utf-8-sig", newline="")DELIMITER)]\''
)


def jsonl_only(blocks: Iterator[Block], source: Source) -> Iterator[Block]:
    """The blocks of ``source``; if that is not JSONL, one block with the problem.

    The blocks of a slow writer are held back only where the first line is not a JSON object.
    """
    opening = _Opening()
    held: list[Block] = []
    for block in blocks:
        opening.add(block)
        if not opening.line:
            yield block
            continue
        held.append(block)
        if opening.is_enough:
            break
    if problem := opening.problem(partial(_convert, source)):
        yield msgspec.structs.replace(held[-1], first=opening.line, lines=[], problem=problem)
        return
    yield from chain(held, blocks)


class _Opening:
    """The beginning of a source, as far as it has been read.

    Attributes:
        line: the number of the first line that is not blank; 0 when there is none yet.
        is_enough: whether more of the source would not change what it is.
    """

    def __init__(self) -> None:
        self.line = 0
        self.is_enough = False
        self._first = b""
        self._second = b""
        self._bytes = 0
        self._braces = False

    def add(self, block: Block) -> None:
        """Take the next block into account."""
        lines = _lines(block)
        if not self.line:
            self.line, line = next(lines, (0, b""))
            lines = chain([(self.line, line)], lines) if self.line else lines
        if not self._first:
            # Comments belong to YAML and TOML, and say nothing.
            self._first = next((line for _, line in lines if not line.startswith(b"#")), b"")
        if _is_object(self._first) and not _WRAPPED.match(self._first):
            self.is_enough = True
            return
        rest = [line for _, line in lines]
        self._second = self._second or next((line for line in rest if not line.startswith(b"#")), b"")
        self._braces = self._braces or any(line.lstrip().startswith(b"{") for line in rest)
        self._bytes += sum(map(len, block.lines)) + len(block.lines)
        broken = block.problem is not None and not block.beginning
        self.is_enough = broken or self._braces or self._bytes > _HELD_BYTES

    def problem(self, convert: Callable[[str], str]) -> LineProblem | None:
        """The problem with the source; None when it is JSONL, perhaps with bad lines.

        Args:
            convert: says what to do with a command that reads the source on stdin and writes JSONL to stdout.
        """
        first, second = self._first.strip(), self._second.strip()
        if not first or (_is_object(first) and (second or not _WRAPPED.match(first))):
            return None
        if problem := _other_file(self._first, convert):
            return problem
        if _is_object(second):
            return None
        problem = _other_json(first, second, convert) or _no_text(first, second)
        # Where a line begins with a brace, the source may be JSONL with bad lines.
        return problem if problem or self._braces else _other_text(first, second, convert)


def _convert(source: Source, command: str) -> str:
    """What to do with a ``command`` that reads ``source`` on standard input and writes JSONL to standard output."""
    label = source.label
    if label == "-":
        return f"pipe it through: {command}"
    unpack = {".gz": "gzip -dc", ".zst": "zstd -dc"}.get(source.suffix)
    stem = Path(label).stem if unpack is None else Path(Path(label).stem).stem
    if is_object(label):
        fetch = f"aws s3 cp {shlex.quote(label)} - | {f'{unpack} | ' if unpack else ''}"
        return f"convert it with: {fetch}{command} > {shlex.quote(f'{stem}.converted.jsonl')}"
    # A label with a backslash is not the path, but the path escaped.
    file, result = ("FILE", "definitions.jsonl") if "\\" in label else (label, f"{stem}.converted.jsonl")
    file, result = shlex.quote(file), shlex.quote(result)
    read = f"{command} < {file}" if unpack is None else f"{unpack} {file} | {command}"
    return f"convert it with: {read} > {result}"


def _lines(block: Block) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers; also the beginning of one that is too long."""
    lines = chain(block.lines, [block.beginning])
    return ((number, line) for number, line in enumerate(lines, block.first) if line and not line.isspace())


def _other_file(first: bytes, convert: Callable[[str], str]) -> LineProblem | None:
    """The problem with a source that begins as no text in UTF-8 does, or as only one kind of file does."""
    for name, beginning in _ENCODINGS:
        if beginning.match(first):
            what = f"this source is in {name.removesuffix('LE').removesuffix('BE')}, not UTF-8"
            return _problem("utf16", what, convert(f"iconv -f {name} -t UTF-8"))
    for magic, command in _PACKED:
        if first.startswith(magic):
            return _problem("not_jsonl", f"this source is compressed with {command}", convert(f"{command} -dc"))
    for magic, what, remedy in _OTHERS:
        if first.startswith(magic):
            return _problem("not_jsonl", f"this source is {what}, not JSONL", remedy)
    if first[_TAR_MAGIC] == b"ustar":
        return _problem("not_jsonl", "this source is a tar archive, not JSONL", _UNPACK)
    return None


def _other_json(first: bytes, second: bytes, convert: Callable[[str], str]) -> LineProblem | None:
    """The problem with a source that is JSON, but not one object on each line."""
    if first.endswith(b",") and second.endswith(b",") and _is_object(first[:-1]) and _is_object(second[:-1]):
        what = "this source is not JSONL: its lines end with commas"
        return _problem("not_jsonl", what, convert("sed 's/,[[:space:]]*$//'"))
    both = b"%b\n%b" % (first, second)
    if wrapped := _WRAPPED.match(both):
        what = "this source is a JSON array inside an object, not JSONL"
        return _problem("json_array", what, convert(f"jq -c '.{wrapped[1].decode()}[]'"))
    if first.startswith(b"[") and not _TOML.match(first):
        names = re.match(rb'\[\s*"', both)
        what = f"this source is a JSON array{' of names' if names else ''}, not JSONL"
        return _problem("json_array", what, convert("jq -c '.[] | {name: .}'" if names else "jq -c '.[]'"))
    broken_off = first.startswith(b"{") and first.endswith((b"{", b"[", b",")) and not second.startswith(b"{")
    if (broken_off and second) or _is_two_objects(first):
        what = "this source is JSON, not JSONL: each definition must be on one line"
        return _problem("pretty_printed", what, convert("jq -c ."))
    return None


def _no_text(first: bytes, second: bytes) -> LineProblem | None:
    """The problem with a source that is no text, or a text for a browser."""
    if _MARKUP.match(first):
        remedy = "it may be the error message of a server; read it, and get the file again"
        return _problem("not_jsonl", "this source is an HTML or XML page, not JSONL", remedy)
    if not first.startswith(b"{") and _CONTROL.search(first + second):
        return _problem("not_jsonl", "this source is binary data, not JSONL", "name the file with the definitions")
    return None


def _other_text(first: bytes, second: bytes, convert: Callable[[str], str]) -> LineProblem | None:
    """The problem with a source that is text, but not JSON."""
    for separator in _SEPARATORS:
        if b"name" in [cell.strip(b' "').lower() for cell in first.split(separator)]:
            delimiter = "" if separator == b"," else f", delimiter={json.dumps(separator.decode())}"
            return _problem("csv", "this source is CSV, not JSONL", convert(_FROM_CSV.replace("DELIMITER", delimiter)))
    if not second:
        return None
    what, remedy = "not JSONL: no line is a JSON object", f"if it is a list of names, {convert(_FROM_NAMES)}"
    if _YAML.match(first) and _YAML.match(second):
        what, remedy = "YAML, not JSONL", convert(_FROM_YAML)
    elif _TOML.match(first) and _TOML.match(second):
        what, remedy = "TOML, not JSONL", "if it is the configuration, pass it with --config"
    return _problem("not_jsonl", f"this source is {what}", remedy)


def _problem(code: str, what: str, remedy: str) -> LineProblem:
    return LineProblem(1, "", code, f"{what}; {remedy}")


def _is_object(line: bytes) -> bool:
    return line.lstrip()[:1] == b"{" and isinstance(_decoded(line), dict)


def _is_two_objects(line: bytes) -> bool:
    """Whether there is a second object behind the first one."""
    try:
        _, end = json.JSONDecoder().raw_decode(line.decode())
    except (ValueError, RecursionError):
        return False
    return line.decode()[end:].lstrip().startswith("{")


def _decoded(line: bytes) -> Any:  # noqa: ANN401  any JSON
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
