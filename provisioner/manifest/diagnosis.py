"""Every fault of a value against the msgspec type that it should have, each with its column, path, code and remedy.

msgspec stops at the first fault and knows no column. This walk reads the same limits out of the same types, so that
they are written once; a :class:`TextRule` in a type's ``Meta(extra={"text": ...})`` adds what lengths cannot say.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec.inspect as types

from provisioner.errors import printable
from provisioner.manifest.jsontext import Fault, Node, member_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CONTROL = re.compile(r"[\x00-\x1f]")
_SHOWN = 60
"""Characters of a refused value that a message repeats: enough to recognise it, and one terminal line."""


class TextRule:
    """What a string may hold, beyond its length.

    Args:
        pattern: the whole text must match it. It runs on hostile text: no two ways to match the same characters.
        says: the rule in words: "must be …, such as …".
        forbidden: matches one character that is never allowed, to point at the culprit.
    """

    __slots__ = ("fits", "forbidden", "pattern", "says")

    def __init__(self, pattern: str, says: str, forbidden: str = "") -> None:
        self.pattern = pattern
        self.fits = re.compile(pattern).fullmatch
        self.says = says
        self.forbidden = re.compile(forbidden or r"(?!)")


class Spot(NamedTuple):
    """Where a value stands: its path, and the column to name when it does not stand in the text itself."""

    path: str = ""
    column: int = 1

    def member(self, key: str, node: Node) -> Spot:
        """The spot of the member ``key``, whose value is ``node``."""
        return Spot(member_path(self.path, key), node.column or self.column)

    def fault(self, code: str, message: str, column: int | None = None) -> Fault:
        """A fault here, or at ``column``; 0 means that the value came from the defaults."""
        if column == 0:
            message += " (this value comes from the defaults in the configuration)"
        return Fault(column or self.column, self.path, code, message)


def located(value: object) -> Node:
    """A value that does not stand in the line (it comes from the defaults) as a node, column 0 throughout."""
    match value:
        case dict():
            return Node("object", 0, members={key: located(inner) for key, inner in value.items()})
        case list():
            return Node("array", 0, items=[located(inner) for inner in value])
        case str():
            return Node("string", 0, text=value)
        case bool():
            return Node("boolean", 0)
    return Node("null" if value is None else "number", 0)


def overlay(node: Node, defaults: Mapping[str, object]) -> None:
    """Put ``defaults`` under the object ``node``: maps merge, everything else that the line says stands."""
    for key, default in defaults.items():
        if key not in node.members:
            node.members[key] = located(default)
        elif isinstance(default, dict) and node.members[key].kind == "object":
            overlay(node.members[key], default)


def plain(node: Node) -> object:
    """The value of a node without its columns; numbers, which no definition has, are not kept."""
    match node.kind:
        case "object":
            return {key: plain(inner) for key, inner in node.members.items()}
        case "array":
            return [plain(inner) for inner in node.items]
        case "string":
            return node.text
    return None


def faults(node: Node, expected: types.Type, spot: Spot) -> Iterator[Fault]:
    """Every fault of ``node`` against ``expected``; nothing where a fault has been told already."""
    expected, extra = _unwrapped(expected)
    if node.kind == "unreadable":
        return
    match expected:
        case types.StructType() if node.kind == "object":
            yield from _fields(node, expected, spot)
        case types.DictType() if node.kind == "object":
            yield from _count(len(node.members), expected, node, spot)
            for key, value in node.members.items():
                inner = spot.member(key, value)
                key_node = Node("string", value.key_column if value.column else 0, text=key)
                yield from faults(key_node, expected.key_type, inner._replace(column=key_node.column or spot.column))
                yield from faults(value, expected.value_type, inner)
        case types.VarTupleType() if node.kind == "array":
            yield from _count(len(node.items), expected, node, spot)
            for index, item in enumerate(node.items):
                inner = Spot(f"{spot.path}[{index}]", item.column or spot.column)
                yield from faults(item, expected.item_type, inner)
        case types.StrType() if node.kind == "string":
            if node.sound:
                yield from _text(node, expected, extra, spot)
        case _:
            yield _wrong_type(node, expected, spot)


def _unwrapped(expected: types.Type) -> tuple[types.Type, TextRule | None]:
    """The type without its metadata, and the rule for its text that the metadata holds."""
    rule: TextRule | None = None
    while isinstance(expected, types.Metadata):
        rule = (expected.extra or {}).get("text", rule)
        expected = expected.type
    return expected, rule


def _fields(node: Node, expected: types.StructType, spot: Spot) -> Iterator[Fault]:
    known = {field.encode_name: field for field in expected.fields}
    for key, value in node.members.items():
        inner = spot.member(key, value)
        if key in known:
            yield from faults(value, known[key].type, inner)
        else:
            column = value.key_column if value.column else 0
            yield inner.fault("unknown_field", f"there is no such field; {_nearest(key, list(known))}", column)
    for name, field in known.items():
        if field.required and name not in node.members:
            missing = Spot(member_path(spot.path, name), spot.column)
            yield missing.fault("missing", "this field is required; add it", node.column)


def _nearest(key: str, known: list[str]) -> str:
    """A remedy for a field that does not exist."""
    folded = {re.sub(r"[\W_]", "", name).lower(): name for name in known}
    close = difflib.get_close_matches(re.sub(r"[\W_]", "", key[:128]).lower(), folded, n=1, cutoff=0.6)
    return f"did you mean {folded[close[0]]}?" if close else f"the fields here are {', '.join(known)}"


def _wrong_type(node: Node, expected: types.Type, spot: Spot) -> Fault:
    if not spot.path:
        return spot.fault("wrong_type", "a line of a manifest is one JSON object; write one definition a line")
    wanted = {types.StrType: "a string", types.VarTupleType: "a list"}.get(type(expected), "an object")
    got = {"array": "a list", "null": "null", "boolean": "a boolean"}.get(node.kind, f"a {node.kind}")
    got = "an object" if node.kind == "object" else got
    remedy = "leave the field out" if node.kind == "null" else f"write {wanted}"
    return spot.fault("wrong_type", f"must be {wanted}, not {got}; {remedy}", node.column)


def _count(count: int, expected: types.DictType | types.VarTupleType, node: Node, spot: Spot) -> Iterator[Fault]:
    least, most = expected.min_length or 0, expected.max_length
    if count < least:
        yield spot.fault("too_few", "an empty list is not allowed; leave the field out", node.column)
    if most is not None and count > most:
        added = sum(inner.column == 0 for inner in node.members.values()) if node.column else 0
        origin = f" ({added} of them from the defaults in the configuration)" if added else ""
        message = f"{count} elements{origin}, at most {most} are allowed; remove {count - most}"
        yield spot.fault("too_many", message, node.column)


def _text(node: Node, expected: types.StrType, rule: TextRule | None, spot: Spot) -> Iterator[Fault]:
    """The faults of a string: what its characters are, how many, and how they are put together."""
    text, least, most = node.text, expected.min_length or 0, expected.max_length
    if most is not None and len(text) > most:
        message = f"{len(text)} characters, at most {most} are allowed; shorten it"
        yield spot.fault("too_long", message, node.column)
    if rule is None or rule.fits(text):
        if len(text) < least:
            message = f"{len(text)} characters, at least {least} are needed"
            yield spot.fault("too_short", message, node.column)
    elif not text:
        yield spot.fault("too_short", f"must not be empty; it {rule.says}", node.column)
    else:
        yield spot.fault(*_misfit(text, rule), node.column)


def _misfit(text: str, rule: TextRule) -> tuple[str, str]:
    """The code and the message for a text that breaks its rule."""
    culprit = rule.forbidden.search(text)
    if culprit is None:
        return "pattern", f'"{printable(text, _SHOWN)}" {rule.says}'
    character = culprit.group()
    shown = f"U+{ord(character):04X}" if not character.isprintable() else f"'{character}'"
    place = f"{shown} (character {culprit.start() + 1} of the value) is not allowed here"
    if character == "\ufeff":
        return "byte_order_mark", f"{place}: a byte-order mark may only stand at the start of a manifest; remove it"
    if _CONTROL.match(character):
        return "control_character", f"{place}: it is a control character; remove it"
    return "pattern", f"{place}; the value {rule.says}"
