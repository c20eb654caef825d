"""A JSON scanner that reports columns: reads one line into a tree in which every value has its position.

A decoder returns a value or the first error. This scanner is for a line that the decoder refused: it recovers after an
error wherever the text still makes sense, so that one pass reports everything that is wrong with the line. It accepts
exactly RFC 8259 without repeated keys, nested no deeper than :data:`MAX_DEPTH`.
"""

from __future__ import annotations

import re
from typing import Literal, NoReturn

from msgspec import Struct

from provisioner.errors import printable
from provisioner.manifest.problems import LineProblem

MAX_DEPTH = 16
"""Levels of nested objects and arrays; a definition needs 4, the limit of 16 is the contract for hostile input."""
MAX_PROBLEMS = 100
"""Problems reported for one line: nobody reads more, and a hostile line of 256 KiB can have a hundred thousand."""

Kind = Literal["object", "array", "string", "number", "boolean", "null", "unreadable"]

_BLANK = re.compile(r"[ \t\n\r]*")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![0-9A-Za-z_.+-])")
_WORD = re.compile(r"[0-9A-Za-z_.+-]+")
_HEX = re.compile(r"[0-9a-fA-F]{4}")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LITERALS: dict[str, Kind] = {"true": "boolean", "false": "boolean", "null": "null"}
_BYTE_ORDER_MARK = "\ufeff"
_REPLACEMENT = "\ufffd"
MISPLACED_BYTE_ORDER_MARK = "a byte-order mark is only allowed at the very start of a source; remove it"


class JsonNode(Struct):
    """A JSON value and its position.

    Args:
        kind: its JSON type; ``unreadable`` where the scanner has reported a problem instead.
        column: where it begins, in characters, from 1; 0 for a value that comes from the defaults, not from the line.
        text: the characters of a string.
        members: the values of an object by key; of a repeated key, the last.
        items: the values of an array.
        key_column: for a member of an object, where its key begins; otherwise 0.
        valid: False for a string whose characters the scanner has reported already.
    """

    kind: Kind
    column: int
    text: str = ""
    members: dict[str, JsonNode] = {}
    items: list[JsonNode] = []
    key_column: int = 0
    valid: bool = True


class Scan(Struct, frozen=True):
    """The result of scanning a line.

    Args:
        root: its value, as far as it could be read.
        problems: what is wrong with it as JSON, in the order of the text.
        complete: False when the scan gave up, so that a field that ``root`` lacks may still be in the line.
    """

    root: JsonNode
    problems: list[LineProblem]
    complete: bool


def scan_json(line: bytes) -> Scan:
    """Read one line as JSON; never raises."""
    problems: list[LineProblem] = []
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        column = len(line[: error.start].decode()) + 1
        byte = line[error.start]
        message = f"the byte 0x{byte:02x} is not valid UTF-8; save the file as UTF-8"
        problems.append(LineProblem(column, "", "not_utf8", message))
        text = line.decode(errors="replace")
    scanner = _Scanner(text, replaced=bool(problems))
    complete = scanner.run()
    if problems:
        # After a byte that is not UTF-8, text that is not JSON is most likely a consequence of it.
        scanner.problems = [problem for problem in scanner.problems if problem.code != "invalid_json"]
    return Scan(scanner.root, problems + scanner.problems, complete)


def member_path(path: str, key: str) -> str:
    """The path of the member ``key`` of the object at ``path``."""
    if _IDENTIFIER.fullmatch(key):
        return f"{path}.{key}" if path else key
    quoted = printable(key, 128).replace('"', '\\"')
    return f'{path}["{quoted}"]'


class _StoppedError(Exception):
    """The scanner cannot recover from here; the problem has been reported."""


class _Scanner:
    """A recursive descent over one text; recursion is bounded by MAX_DEPTH.

    Args:
        text: the line.
        replaced: whether replacement characters stand for bytes of it that are not UTF-8.
    """

    def __init__(self, text: str, *, replaced: bool) -> None:
        self._text = text
        self._unreadable = _REPLACEMENT if replaced else None
        self._at = 0
        self.problems: list[LineProblem] = []
        self.root = JsonNode("unreadable", 1)

    def run(self) -> bool:
        """Read the whole text into ``root``; False when it had to stop."""
        try:
            if self._text.startswith(_BYTE_ORDER_MARK):
                self._report("byte_order_mark", MISPLACED_BYTE_ORDER_MARK)
                self._at = 1
            self._blank()
            self.root = self._value("", 0)
            self._blank()
            if self._at < len(self._text):
                self._stop(f"unexpected {self._shown()} after the end of the definition; write one definition per line")
        except _StoppedError:
            return False
        return True

    def _value(self, path: str, depth: int) -> JsonNode:
        """The value that begins here, inside ``depth`` open objects and arrays."""
        start, column = self._peek(), self._at + 1
        if start == '"':
            return self._string(path)
        if start in ("{", "["):
            if depth == MAX_DEPTH:
                self._report("too_deep", f"nested more than {MAX_DEPTH} levels deep; a definition needs 4", path)
                raise _StoppedError
            node = JsonNode("object" if start == "{" else "array", column, members={}, items=[])
            if depth == 0:
                # Set before its members are read, so that they are kept if the scan stops inside.
                self.root = node
            self._inside(node, path, depth + 1)
            return node
        if number := _NUMBER.match(self._text, self._at):
            self._at = number.end()
            return JsonNode("number", column)
        return self._word(path)

    def _word(self, path: str) -> JsonNode:
        """``true``, ``false``, ``null``, or a word that is not JSON (NaN, None, 01), which is reported and skipped."""
        word = _WORD.match(self._text, self._at)
        if word is None:
            self._stop(f"expected a value, found {self._shown()}", path)
        column, name = self._at + 1, word.group()
        kind = _LITERALS.get(name, "unreadable")
        if kind == "unreadable":
            self._report("invalid_json", f"{printable(name, 40)} is not a JSON value; put text in double quotes", path)
        self._at = word.end()
        return JsonNode(kind, column)

    def _inside(self, node: JsonNode, path: str, depth: int) -> None:
        """Fill the object or array whose opening bracket is here; if the scan stops inside, it keeps what was read."""
        close, what = ("}", "object") if node.kind == "object" else ("]", "list")
        self._at += 1
        self._blank()
        while self._peek() != close:
            if node.kind == "object":
                self._member(node, path, depth)
            else:
                node.items.append(self._value(f"{path}[{len(node.items)}]", depth))
            self._blank()
            if self._peek() == ",":
                comma = self._at
                self._at += 1
                self._blank()
                if self._peek() == close:
                    self._report("invalid_json", f"trailing comma at the end of the {what}; remove it", path, comma)
            elif self._peek() != close:
                self._stop(f"expected ',' or '{close}', found {self._shown()}", path)
        self._at += 1

    def _member(self, node: JsonNode, path: str, depth: int) -> None:
        """One ``"key": value`` of an object."""
        if self._peek() != '"':
            self._stop(f"expected a key in double quotes, found {self._shown()}", path)
        start = self._at
        key_node = self._string(path)
        key = key_node.text
        inner = member_path(path, key)
        if key in node.members:
            first = node.members[key].key_column
            self._report("repeated_key", f"duplicate key, first at column {first}; remove one of them", inner, start)
        self._blank()
        if self._peek() != ":":
            self._stop(f"expected ':', found {self._shown()}", inner)
        self._at += 1
        self._blank()
        value = self._value(inner, depth)
        value.key_column = start + 1
        if key_node.valid:
            node.members[key] = value

    def _string(self, path: str) -> JsonNode:
        """The string whose opening quote is here."""
        node = JsonNode("string", self._at + 1)
        parts: list[str] = []
        self._at += 1
        while True:
            plain = _PLAIN.match(self._text, self._at)
            assert plain is not None  # noqa: S101 - the pattern matches the empty text too
            parts.append(plain.group())
            self._at = plain.end()
            here = self._peek()
            if here == '"':
                self._at += 1
                node.text = "".join(parts)
                node.valid = node.valid and not (self._unreadable and self._unreadable in node.text)
                return node
            if here == "":
                self._stop("this string has no closing quote", path, node.column - 1)
            parts.append(self._escape(node, path) if here == "\\" else self._control(node, path))

    def _control(self, node: JsonNode, path: str) -> str:
        """A control character that is not escaped, which JSON forbids."""
        here = self._peek()
        self._report("control_character", f"control character U+{ord(here):04X} in a string; remove it", path)
        node.valid = False
        self._at += 1
        return here

    def _escape(self, node: JsonNode, path: str) -> str:
        """The character that the escape here stands for."""
        start = self._at
        letter = self._text[start + 1 : start + 2]
        self._at += 2
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        unit = self._unit(start) if letter == "u" else None
        if unit is None:
            self._report("invalid_json", "not a JSON escape; write a backslash as \\\\", path, start)
            node.valid = False
            return letter
        if 0xD800 <= unit < 0xDC00 and (low := self._unit(self._at)) is not None:  # noqa: PLR2004 - UTF-16
            if 0xDC00 <= low < 0xE000:  # noqa: PLR2004 - UTF-16's low surrogates
                return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
            self._at -= 6  # not the second half: an escape of its own, read in its turn
        if 0xD800 <= unit < 0xE000:  # noqa: PLR2004 - UTF-16's surrogates
            self._report("lone_surrogate", f"\\u{unit:04x} is half of a surrogate pair; write both halves", path, start)
            node.valid = False
        return chr(unit)

    def _unit(self, start: int) -> int | None:
        r"""The UTF-16 unit of the ``\uXXXX`` at ``start``, None when there is none."""
        digits = _HEX.match(self._text, start + 2) if self._text.startswith("\\u", start) else None
        if digits is None:
            return None
        self._at = digits.end()
        return int(digits.group(), 16)

    def _blank(self) -> None:
        blank = _BLANK.match(self._text, self._at)
        assert blank is not None  # noqa: S101 - the pattern matches the empty text too
        self._at = blank.end()

    def _peek(self) -> str:
        """The character here, "" at the end of the text."""
        return self._text[self._at : self._at + 1]

    def _shown(self) -> str:
        """The character here, for a message."""
        here = self._peek()
        return f"'{printable(here)}'" if here else "the end of the line"

    def _report(self, code: str, message: str, path: str = "", at: int | None = None) -> None:
        self.problems.append(LineProblem((self._at if at is None else at) + 1, path, code, message))
        if len(self.problems) > MAX_PROBLEMS:
            raise _StoppedError

    def _stop(self, message: str, path: str = "", at: int | None = None) -> NoReturn:
        code = "byte_order_mark" if self._peek() == _BYTE_ORDER_MARK else "invalid_json"
        self._report(code, message, path, at)
        raise _StoppedError
