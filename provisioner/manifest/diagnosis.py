"""Everything that is wrong with a value against its msgspec type, each with column, path, code and remedy.

msgspec stops at the first problem and knows no columns. This walk reads the same limits from the same types, so that
they are written once; a :class:`TextRule` in a type's ``Meta(extra={"text": ...})`` adds what lengths cannot express.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec.inspect as types

from provisioner.errors import printable
from provisioner.manifest.json_scanner import MISPLACED_BYTE_ORDER_MARK, JsonNode, member_path
from provisioner.manifest.problems import LineProblem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from provisioner.manifest.text_rules import TextRule

_CONTROL = re.compile(r"[\x00-\x1f]")
_SHOWN = 60
"""Characters of a wrong value that a message repeats: enough to recognise it, on one terminal line."""


class Location(NamedTuple):
    """Where a value is: its path, and the column to report when the value itself is not in the line."""

    path: str = ""
    column: int = 1

    def member(self, key: str, node: JsonNode) -> Location:
        """The location of the member ``key``, whose value is ``node``."""
        return Location(member_path(self.path, key), node.column or self.column)

    def problem(self, code: str, message: str, column: int | None = None) -> LineProblem:
        """A problem here, or at ``column``; 0 means that the value comes from the defaults."""
        if column == 0:
            message += " (this value comes from the defaults in the configuration)"
        return LineProblem(column or self.column, self.path, code, message)


def node_of(value: object, column: int = 0) -> JsonNode:
    """A value of the defaults as a node; all its columns are ``column``."""
    match value:
        case dict():
            members = {key: node_of(inner, column) for key, inner in value.items()}
            return JsonNode("object", column, members=members, key_column=column)
        case list():
            return JsonNode("array", column, items=[node_of(inner, column) for inner in value], key_column=column)
        case str():
            return JsonNode("string", column, text=value, key_column=column)
        case bool():
            return JsonNode("boolean", column, key_column=column)
    return JsonNode("null" if value is None else "number", column, key_column=column)


def merge_defaults(node: JsonNode, defaults: Mapping[str, object]) -> None:
    """Lay ``defaults`` under the object ``node``: maps merge, everything else in the line replaces its default."""
    for key, default in defaults.items():
        if key not in node.members:
            node.members[key] = node_of(default)
        elif isinstance(default, dict) and node.members[key].kind == "object":
            merge_defaults(node.members[key], default)


def value_of(node: JsonNode) -> object:
    """The value of a node; numbers, which no definition has, become None."""
    match node.kind:
        case "object":
            return {key: value_of(inner) for key, inner in node.members.items()}
        case "array":
            return [value_of(inner) for inner in node.items]
        case "string":
            return node.text
    return None


def problems(node: JsonNode, expected: types.Type, location: Location) -> Iterator[LineProblem]:
    """Everything that is wrong with ``node`` as an ``expected``, but for what the scanner has reported already."""
    expected, extra = _unwrapped(expected)
    if node.kind == "unreadable":
        return
    match expected:
        case types.StructType() if node.kind == "object":
            yield from _fields(node, expected, location)
        case types.DictType() if node.kind == "object":
            yield from _count(len(node.members), expected, node, location)
            for key, value in node.members.items():
                inner = location.member(key, value)
                key_node = JsonNode("string", value.key_column if value.column else 0, text=key)
                yield from problems(
                    key_node, expected.key_type, inner._replace(column=key_node.column or location.column)
                )
                yield from problems(value, expected.value_type, inner)
        case types.VarTupleType() if node.kind == "array":
            yield from _count(len(node.items), expected, node, location)
            for index, item in enumerate(node.items):
                inner = Location(f"{location.path}[{index}]", item.column or location.column)
                yield from problems(item, expected.item_type, inner)
        case types.StrType() if node.kind == "string":
            if node.valid:
                yield from _text(node, expected, extra, location)
        case _:
            yield _wrong_type(node, expected, location)


def _unwrapped(expected: types.Type) -> tuple[types.Type, TextRule | None]:
    """The type without its metadata, and the text rule from the metadata."""
    rule: TextRule | None = None
    while isinstance(expected, types.Metadata):
        rule = (expected.extra or {}).get("text", rule)
        expected = expected.type
    return expected, rule


def _fields(node: JsonNode, expected: types.StructType, location: Location) -> Iterator[LineProblem]:
    known = {field.encode_name: field for field in expected.fields}
    for key, value in node.members.items():
        inner = location.member(key, value)
        if key in known:
            yield from problems(value, known[key].type, inner)
        else:
            column = value.key_column if value.column else 0
            yield inner.problem("unknown_field", f"unknown field; {_nearest(key, list(known))}", column)
    for name, field in known.items():
        if field.required and name not in node.members:
            missing = Location(member_path(location.path, name), location.column)
            yield missing.problem("missing", "required field is missing; add it", node.column)


def _nearest(key: str, known: list[str]) -> str:
    """A suggestion for an unknown field."""
    folded = {re.sub(r"[\W_]", "", name).lower(): name for name in known}
    close = difflib.get_close_matches(re.sub(r"[\W_]", "", key[:128]).lower(), folded, n=1, cutoff=0.6)
    return f"did you mean {folded[close[0]]}?" if close else f"known fields: {', '.join(known)}"


def _wrong_type(node: JsonNode, expected: types.Type, location: Location) -> LineProblem:
    if not location.path:
        message = "a line of a manifest must be one JSON object; write one definition per line"
        if node.kind == "array":
            message += ", for example with: jq -c '.[]' FILE > definitions.jsonl"
        return location.problem("wrong_type", message)
    wanted = {types.StrType: "a string", types.VarTupleType: "a list"}.get(type(expected), "an object")
    got = {"array": "a list", "null": "null", "boolean": "a boolean"}.get(node.kind, f"a {node.kind}")
    got = "an object" if node.kind == "object" else got
    remedy = "leave the field out" if node.kind == "null" else f"write {wanted}"
    return location.problem("wrong_type", f"must be {wanted}, not {got}; {remedy}", node.column)


def _count(
    count: int, expected: types.DictType | types.VarTupleType, node: JsonNode, location: Location
) -> Iterator[LineProblem]:
    least, most = expected.min_length or 0, expected.max_length
    if count < least:
        yield location.problem("too_few", "must not be an empty list; leave the field out", node.column)
    if most is not None and count > most:
        added = sum(inner.column == 0 for inner in node.members.values()) if node.column else 0
        origin = f" ({added} of them from the defaults in the configuration)" if added else ""
        message = f"has {count} elements{origin}, at most {most} are allowed; remove {count - most}"
        yield location.problem("too_many", message, node.column)


def _text(node: JsonNode, expected: types.StrType, rule: TextRule | None, location: Location) -> Iterator[LineProblem]:
    """What is wrong with a string: its length, its characters, its form."""
    text, least, most = node.text, expected.min_length or 0, expected.max_length
    if most is not None and len(text) > most:
        message = f"has {len(text)} characters, at most {most} are allowed; shorten it"
        yield location.problem("too_long", message, node.column)
    if rule is None or rule.fits(text):
        if len(text) < least:
            message = f"has {len(text)} characters, at least {least} are required"
            yield location.problem("too_short", message, node.column)
    elif not text:
        yield location.problem("too_short", f"must not be empty; it {rule.says}", node.column)
    else:
        yield location.problem(*_broken_rule(text, rule), node.column)


def _broken_rule(text: str, rule: TextRule) -> tuple[str, str]:
    """The code and the message for a text that breaks its rule."""
    culprit = rule.forbidden.search(text)
    if culprit is None:
        return "pattern", f'"{printable(text, _SHOWN)}" {rule.says}'
    character = culprit.group()
    shown = f"U+{ord(character):04X}" if not character.isprintable() else f"'{character}'"
    place = f"{shown} (character {culprit.start() + 1} of the value) is not allowed here"
    if character == "\ufeff":
        return "byte_order_mark", f"{place}: {MISPLACED_BYTE_ORDER_MARK}"
    if _CONTROL.match(character):
        return "control_character", f"{place}: it is a control character; remove it"
    return "pattern", f"{place}; the value {rule.says}"
