"""Recognises a source that is something other than JSONL, and says how to convert it.

People pass what they have: a JSON array, pretty-printed JSON, a CSV file, a file in UTF-16. Read line by line, each of
these would be a problem on every line, none of which names the cause. So the first two lines are looked at.

A source is only given up as a whole when its second line shows that the first one is no accident: an invalid first line
of a JSONL file must not hide the others.
"""

from __future__ import annotations

import re
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import msgspec

from provisioner.manifest.lines import Block
from provisioner.manifest.problems import LineProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

_HELD = 4
"""Blocks that are held back at most, should nothing but blank lines follow the first line."""
_UTF_16 = (b"\xff\xfe", b"\xfe\xff", b"{\x00", b"\x00{", b"[\x00", b"\x00[")
"""Byte-order marks, and brackets without one."""
_SEPARATORS = re.compile(rb"[,;\t|]")
_CSV_TO_JSONL = (
    "python3 -c 'import csv, json, sys; [print(json.dumps(row)) for row in csv.DictReader(sys.stdin)]'"
    " < FILE > definitions.jsonl"
)


def jsonl_only(blocks: Iterator[Block]) -> Iterator[Block]:
    """The blocks of a source; for a source that is not JSONL, one block with the problem.

    The blocks of a slow writer are held back only where the first line is not a JSON object, until there is a second.
    """
    held: list[Block] = []
    head: list[tuple[int, bytes]] = []
    for block in blocks:
        held.append(block)
        head += islice(_lines(block), 2 - len(head))
        if not head and not block.problem:
            yield held.pop()
        elif block.problem or len(head) == 2 or len(held) == _HELD or _is_object(head[0][1]):  # noqa: PLR2004
            break
    if head and (problem := _recognised([line for _, line in head])):
        yield Block(head[0][0], [], problem, held[-1].read_bytes)
        return
    yield from chain(held, blocks)


def _lines(block: Block) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers."""
    return ((number, line) for number, line in enumerate(block.lines, block.first) if line and not line.isspace())


def _recognised(head: list[bytes]) -> LineProblem | None:
    """The problem with a source that begins with these lines; None when it is JSONL, perhaps with a bad first line."""
    first, *rest = (line.strip() for line in head)
    if first.startswith(_UTF_16):
        what = "this source is in UTF-16, not UTF-8"
        return _problem("utf16", what, "iconv -f UTF-16 -t UTF-8 FILE > definitions.jsonl")
    if _is_object(first) or any(map(_is_object, rest)):
        return None
    if first.startswith(b"[") and (rest or not _is_json(first)):
        return _problem("json_array", "this source is a JSON array, not JSONL", "jq -c '.[]' FILE > definitions.jsonl")
    if first == b"{" and rest:
        what = "this source is pretty-printed JSON, not JSONL: each definition must be on one line"
        return _problem("pretty_printed", what, "jq -c . FILE > definitions.jsonl")
    if b"name" in [cell.strip(b' "').lower() for cell in _SEPARATORS.split(first)]:
        return _problem("csv", "this source is CSV, not JSONL", _CSV_TO_JSONL)
    return None


def _problem(code: str, what: str, command: str) -> LineProblem:
    return LineProblem(1, "", code, f"{what}; convert it with: {command}")


def _is_object(line: bytes) -> bool:
    return line.lstrip()[:1] == b"{" and isinstance(_decoded(line), dict)


def _is_json(line: bytes) -> bool:
    return _decoded(line) is not _NOT_JSON


_NOT_JSON = object()


def _decoded(line: bytes) -> Any:  # noqa: ANN401  any JSON
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _NOT_JSON
