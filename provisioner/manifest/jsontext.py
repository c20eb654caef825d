"""JSON text with columns: reads one line into a tree whose every value knows where it stands, and tells what is wrong.

A decoder answers with values, or with the first thing that it cannot read. This scanner is for the line that a decoder
refused: it goes on after a fault wherever the text still makes sense, so that one look at a line shows all of it.
It accepts exactly RFC 8259 without repeated keys, and nests no deeper than :data:`MAX_DEPTH`.
"""

from __future__ import annotations

import re
from typing import Literal, NoReturn

from msgspec import Struct

from provisioner.errors import printable

MAX_DEPTH = 16
"""Objects and arrays within each other; a definition needs 4, the limit of 16 is the contract for hostile input."""
MAX_FAULTS = 100
"""Faults told about one line: more help nobody, and a hostile line of 256 KiB could hold a hundred thousand."""

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


class Fault(Struct, frozen=True):
    """One thing that is wrong with a line.

    Args:
        column: where, in characters, from 1.
        path: the value that it is about, such as ``trainingContainerConfig.imageUri`` or ``tags["aws:x"]``; empty for
            the line as a whole.
        code: what kind of fault it is; stable, for programs.
        message: what is wrong, why, and what to do, for people; safe to print.
    """

    column: int
    path: str
    code: str
    message: str


class Node(Struct):
    """A value in the text.

    Args:
        kind: what the text says it is; ``unreadable`` where a fault has told so already.
        column: where it begins, in characters, from 1; 0 when it does not stand in the text.
        text: the characters of a string.
        members: the values of an object by key; of a repeated key, the last.
        items: the values of an array.
        key_column: where its own key begins, for a member of an object; else as ``column``.
        sound: False for a string that a fault has been told about already.
    """

    kind: Kind
    column: int
    text: str = ""
    members: dict[str, Node] = {}
    items: list[Node] = []
    key_column: int = 0
    sound: bool = True


class Scan(Struct, frozen=True):
    """What a line holds.

    Args:
        root: its value, as far as it could be read.
        faults: what is wrong with it as JSON, in the order of the text.
        complete: False when the scan had to stop, so that what is absent from ``root`` may yet stand in the line.
    """

    root: Node
    faults: list[Fault]
    complete: bool


def scan(line: bytes) -> Scan:
    """Read one line as JSON; never raises."""
    faults: list[Fault] = []
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        column = len(line[: error.start].decode()) + 1
        byte = line[error.start]
        faults.append(Fault(column, "", "not_utf8", f"the byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"))
        text = line.decode(errors="replace")
    scanner = _Scanner(text)
    complete = scanner.run()
    if faults:  # what does not read as JSON after a wrong byte is most likely the same fault again
        scanner.faults = [fault for fault in scanner.faults if fault.code != "invalid_json"]
    return Scan(scanner.root, faults + scanner.faults, complete)


def member_path(path: str, key: str) -> str:
    """The path of the member ``key`` of the object at ``path``."""
    if _IDENTIFIER.fullmatch(key):
        return f"{path}.{key}" if path else key
    quoted = printable(key, 128).replace('"', '\\"')
    return f'{path}["{quoted}"]'


class _StoppedError(Exception):
    """The text makes no sense from here on; the fault has been noted."""


class _Scanner:
    """A recursive descent over one text; recursion is bounded by MAX_DEPTH."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.faults: list[Fault] = []
        self.root = Node("unreadable", 1)

    def run(self) -> bool:
        """Read the whole text into ``root``; False when it had to stop."""
        try:
            if self._text.startswith(_BYTE_ORDER_MARK):
                self._note("byte_order_mark", "a byte-order mark may only stand at the start of a manifest; remove it")
                self._at = 1
            self._blank()
            self.root = self._value("", 0)
            self._blank()
            if self._at < len(self._text):
                self._stop(f"{self._shown()} follows the end of the definition; write one definition a line")
        except _StoppedError:
            return False
        return True

    def _value(self, path: str, depth: int) -> Node:
        """The value that begins here; ``depth`` objects and arrays are open around it."""
        start, column = self._peek(), self._at + 1
        if start == '"':
            return self._string(path)
        if start in ("{", "["):
            if depth == MAX_DEPTH:
                self._note(
                    "too_deep", f"more than {MAX_DEPTH} objects and lists within each other; a definition needs 4", path
                )
                raise _StoppedError
            node = Node("object" if start == "{" else "array", column, members={}, items=[])
            if depth == 0:
                self.root = node  # known from the start, so that a stop leaves what was read
            self._inside(node, path, depth + 1)
            return node
        if number := _NUMBER.match(self._text, self._at):
            self._at = number.end()
            return Node("number", column)
        return self._word(path)

    def _word(self, path: str) -> Node:
        """``true``, ``false``, ``null``, or a word that JSON does not know (NaN, None, 01), which is stepped over."""
        word = _WORD.match(self._text, self._at)
        if word is None:
            self._stop(f"a value is expected here, not {self._shown()}", path)
        column, name = self._at + 1, word.group()
        kind = _LITERALS.get(name, "unreadable")
        if kind == "unreadable":
            self._note("invalid_json", f"{printable(name, 40)} is no JSON value; a text stands in double quotes", path)
        self._at = word.end()
        return Node(kind, column)

    def _inside(self, node: Node, path: str, depth: int) -> None:
        """Fill the object or array whose opening bracket is here; what was read before a stop stays in it."""
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
                    self._note("invalid_json", f"a comma before the end of the {what}; remove it", path, comma)
            elif self._peek() != close:
                self._stop(f"',' or '{close}' is expected here, not {self._shown()}", path)
        self._at += 1

    def _member(self, node: Node, path: str, depth: int) -> None:
        """One ``"key": value`` of an object."""
        if self._peek() != '"':
            self._stop(f"a key in double quotes is expected here, not {self._shown()}", path)
        start = self._at
        key_node = self._string(path)
        key = key_node.text
        inner = member_path(path, key)
        if key in node.members:
            first = node.members[key].key_column
            self._note("repeated_key", f"the key stands twice, first at column {first}; remove one", inner, start)
        self._blank()
        if self._peek() != ":":
            self._stop(f"':' is expected here, not {self._shown()}", inner)
        self._at += 1
        self._blank()
        value = self._value(inner, depth)
        value.key_column = start + 1
        if key_node.sound:
            node.members[key] = value

    def _string(self, path: str) -> Node:
        """The string whose opening quote is here."""
        node = Node("string", self._at + 1)
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
                return node
            if here == "":
                self._stop("the string that begins here has no end", path, node.column - 1)
            parts.append(self._escape(node, path) if here == "\\" else self._control(node, path))

    def _control(self, node: Node, path: str) -> str:
        """A control character as it is, which JSON forbids."""
        here = self._peek()
        self._note("control_character", f"a control character (U+{ord(here):04X}) in a string; remove it", path)
        node.sound = False
        self._at += 1
        return here

    def _escape(self, node: Node, path: str) -> str:
        """The character that the escape here stands for."""
        start = self._at
        letter = self._text[start + 1 : start + 2]
        self._at += 2
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        unit = self._unit(start) if letter == "u" else None
        if unit is None:
            self._note("invalid_json", "no JSON escape; a backslash is written \\\\", path, start)
            node.sound = False
            return letter
        if 0xD800 <= unit < 0xDC00 and (low := self._unit(self._at)) is not None:  # noqa: PLR2004 - UTF-16
            if 0xDC00 <= low < 0xE000:  # noqa: PLR2004 - UTF-16's low surrogates
                return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
            self._at -= 6
        if 0xD800 <= unit < 0xE000:  # noqa: PLR2004 - UTF-16's surrogates
            self._note("lone_surrogate", f"\\u{unit:04x} is one half of a character; write both halves", path, start)
            node.sound = False
        return chr(unit)

    def _unit(self, start: int) -> int | None:
        r"""The UTF-16 unit of the ``\uXXXX`` at ``start``, None when none stands there."""
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
        """The character here, empty at the end of the text."""
        return self._text[self._at : self._at + 1]

    def _shown(self) -> str:
        """The character here, for a message."""
        here = self._peek()
        return f"'{printable(here)}'" if here else "the end of the line"

    def _note(self, code: str, message: str, path: str = "", at: int | None = None) -> None:
        self.faults.append(Fault((self._at if at is None else at) + 1, path, code, message))
        if len(self.faults) > MAX_FAULTS:
            raise _StoppedError

    def _stop(self, message: str, path: str = "", at: int | None = None) -> NoReturn:
        mark = self._text[self._at : self._at + 1] == _BYTE_ORDER_MARK
        code = "byte_order_mark" if mark else "invalid_json"
        self._note(code, message, path, at)
        raise _StoppedError
