"""What was probably meant by a line that is not TOML, and what to type instead. Pure.

A parser says where it stopped, which is seldom where the slip is: for ``08:00 = 0.3`` it expects ``=`` after ``08``. So
common slips are corrected here, one by one, and the first correction that makes the line TOML is proposed.
"""

from __future__ import annotations

import json
import re
import tomllib
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Slip(NamedTuple):
    """What is wrong with a file that is not TOML.

    Attributes:
        line: counted from 1.
        why: what is wrong there.
        hint: what to type.
    """

    line: int
    why: str
    hint: str


class _Fix(NamedTuple):
    """A correction.

    Attributes:
        text: to write.
        why: the slip that it corrects; "" for none.
        checked: what must be TOML, if that is more than the text.
    """

    text: str
    why: str = ""
    checked: str = ""


_SECRET = re.compile(r":/+|password\s*=", re.IGNORECASE)
"""What a secret may follow in the location of a ledger."""
_AT = re.compile(r"at line ([0-9]+), column [0-9]+")
_HEADER = re.compile(r"(\[\[?)(.*?)(\]?\]?)\s*(#.*)?")
_WORD = re.compile(r"[^\"'\[\]{},#]+")
_QUOTES = str.maketrans("\u201c\u201d\u201e\u2018\u2019\u201a", "\"\"\"'''")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_KEY = "a key with characters other than letters, digits, _ and - must be in quotes"
_TEXT = "text must be in quotes"
_STRAIGHT = "quotes must be straight"
_EQUALS = "a key and its value are separated by ="
_BACKSLASH = "in double quotes a backslash begins an escape sequence, in single quotes it does not"


def slip(text: str, error: str) -> Slip | None:
    """The slip because of which ``text`` is not TOML; None if it is none that is known.

    Args:
        text: of the file.
        error: the parser's message, which has the line.
    """
    lines = [line.strip() for line in text.splitlines()]
    if text.lstrip().startswith("{"):
        return Slip(1, "this is JSON", "`provisioner config init FILE` writes a configuration to begin with")
    at = _AT.search(error)
    number = int(at[1]) if at else max((n for n, line in enumerate(lines, start=1) if line), default=0)
    line = lines[number - 1] if 0 < number <= len(lines) else ""
    if not line or not line.replace("\t", "").isprintable():
        return None
    if _parses(line):
        return _repeated(lines, number)
    if "=" in line and line.partition("=")[2].strip().lower() in {"", "none", "null"}:
        return Slip(number, "the value is missing", "Write one, or remove the line")
    for written in _corrected(line, before=next((one for one in reversed(lines[: number - 1]) if one), "")):
        if _parses(written.checked or written.text):
            return Slip(number, written.why, f"Write {_without_password(written.text)}")
    return None


def _parses(line: str) -> bool:
    try:
        tomllib.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _without_password(line: str) -> str:
    """The line, but of a URL no more than its scheme, and nothing from the word password on."""
    found = _SECRET.search(line)
    return f'{line[: found.end()]}..."' if found else line


def _corrected(line: str, *, before: str) -> Iterator[_Fix]:
    """What the line may have been meant to be, the likeliest first; ``before`` is the line before it."""
    if line.startswith(("//", ";")):
        yield _Fix(f"# {line.lstrip('/; ')}", "a comment begins with #")
    if line[-1] == ":":
        yield _Fix(f"[{_key(line[:-1])}]", "a table begins with its name in brackets")
    if header := _HEADER.fullmatch(line):
        yield from _headers(*header.groups()[:3])
    elif "=" not in line and before[-1:] in {"[", ","}:
        item = _quoted(line.rstrip(", "))
        yield _Fix(f"{item},", _TEXT, checked=f"x = [{item}]")
    else:
        yield from _pairs(line)


def _headers(opening: str, name: str, closing: str) -> Iterator[_Fix]:
    end = "]" * len(opening)
    yield _Fix(f"{opening}{name}{end}", f"the name of a table ends with {end}" if closing != end else "")
    yield _Fix(f"{opening}{'.'.join(map(_key, name.split('.')))}{end}", _KEY)


def _pairs(line: str) -> Iterator[_Fix]:
    sign = "=" if "=" in line else ": " if ": " in line else ":"
    key, _, rest = line.partition(sign)
    value, _, comment = rest.strip().partition(" #")
    kept = f"  #{comment}" if comment else ""
    for one, other in product(_keys(key.strip()), _values(value.strip())):
        why = "; ".join(part for part in ("" if sign == "=" else _EQUALS, one.why, other.why) if part)
        yield _Fix(f"{one.text} = {other.text}{kept}", why)


def _keys(key: str) -> Iterator[_Fix]:
    yield _Fix(key)
    yield _Fix(key.translate(_QUOTES), _STRAIGHT)
    if key:
        yield _Fix(json.dumps(key, ensure_ascii=False), _KEY)


def _key(part: str) -> str:
    return part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False)


def _values(value: str) -> Iterator[_Fix]:
    yield _Fix(value)
    if value.lower() in {"true", "false"}:
        yield _Fix(value.lower(), "true and false must be lowercase")
    if fraction := re.fullmatch("([0-9]*)([.,])([0-9]*)", value):
        whole, point, rest = fraction.groups()
        why = (
            "a decimal number has a point, not a comma"
            if point == ","
            else "a decimal number has digits on both sides of its point"
        )
        yield _Fix(f"{whole or 0}.{rest or 0}", why)
    straight = value.translate(_QUOTES)
    yield _Fix(straight, _STRAIGHT)
    if straight[:1] == '"' and "\\" in straight and "'" not in straight:
        inner = straight.strip('"')
        yield _Fix(f"'{inner}'", _BACKSLASH)
    if straight[:1] in {'"', "'"}:
        yield _Fix(straight + straight[0], "a quote is missing at the end")
    if straight[:1] == "[" and straight[-1:] == "]":
        items = [item.strip() for item in straight[1:-1].split(",")]
        yield _Fix(f"[{', '.join(item if _parses(f'x = {item}') else _quoted(item) for item in items)}]", _TEXT)
    if _WORD.fullmatch(value):
        yield _Fix(_quoted(value), _TEXT)


def _quoted(text: str) -> str:
    """As a string of TOML; in single quotes where a backslash would be an escape otherwise."""
    return f"'{text}'" if "\\" in text else f'"{text}"'


def _repeated(lines: Sequence[str], number: int) -> Slip | None:
    """What is wrong with a line that is TOML by itself: it repeats an earlier table, or an earlier key of its table."""
    line, above = lines[number - 1], list(enumerate(lines[: number - 1], start=1))
    if table := _table(line):
        earlier = [n for n, other in above if _table(other) == table]
        what, hint = f"the table {table}", "Put the keys of both into one of them"
    else:
        key = line.partition("=")[0].strip()
        begin = max((n for n, other in above if _table(other)), default=0)
        earlier = [n for n, other in above[begin:] if key and other.partition("=")[0].strip() == key]
        what, hint = f"the key {key}", "Remove one of them"
    return Slip(number, f"{what} is already on line {earlier[0]}", hint) if earlier else None


def _table(line: str) -> str:
    """The table that begins in a line, as it is written; "" for none."""
    header = _HEADER.fullmatch(line)
    return f"[{header[2].strip()}]" if header and (header[1], header[3]) == ("[", "]") else ""
