"""Turns a table of the configuration into its struct, or reports the key that is wrong, with what it must be and is.

The struct's own types are the rules. Two extras complete them: ``extra={"says": "a string of 12 digits"}`` puts a
pattern into words, and ``extra={"check": function}`` refuses a value with a ValueError whose message says why.
"""

from __future__ import annotations

import difflib
import json
import re
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeGuard, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from provisioner.errors import ConfigurationError, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T", bound=msgspec.Struct)

SHOWN = 60
"""Characters of a wrong string that a message repeats."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a string", tuple: "a list of strings"}


def struct_of(table: object, kind: type[T], where: str, key: str = "") -> T:
    """``table`` as a ``kind``.

    Args:
        table: the value in the configuration.
        kind: a struct whose fields are the keys; fields that are structs, or dictionaries of structs, are tables.
        where: the file.
        key: dotted, of the table; "" for the whole file.

    Raises:
        ConfigurationError: a key is unknown, a value is of the wrong type or out of bounds, or ``kind`` refuses it.
    """
    if not isinstance(table, dict):
        raise _wrong(key, f"a table, [{key}]", table, where)
    hints = _hints(kind)
    for name, value in table.items():
        inner = dotted(key, name)
        if name not in hints:
            hint = nearest(name, list(hints), "Known keys: {}", prefix=f"{key}." if key else "")
            if homes := [table for table, type_ in hints.items() if _is_table(type_) and name in _hints(type_)]:
                hint = f"Did you mean {' or '.join(dotted(dotted(key, table), name) for table in homes)}?"
            raise ConfigurationError(f"unknown key {inner}", where=where, hint=hint)
        _check(value, hints[name], where, inner)
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:  # by the struct's own __post_init__: the values have been checked
        why = str(error.__cause__ or error)
        raise ConfigurationError(f"{key}: {why}" if key else why, where=where) from error


def _is_table(hint: object) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


@cache
def _hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def nearest(name: str, known: Sequence[str], otherwise: str, *, prefix: str = "") -> str:
    """A hint for someone who mistyped ``name``: the nearest of ``known``, else all of them.

    Args:
        name: what was typed.
        known: what could have been meant.
        otherwise: the hint where nothing is near; ``{}`` stands for all of ``known``.
        prefix: goes before the nearest one.
    """
    folded = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f"Did you mean {prefix}{folded[near[0]]}?" if near else otherwise.format(", ".join(known))


def _check(value: object, hint: Any, where: str, key: str) -> None:  # noqa: ANN401  a type hint may be anything
    """Refuse a value that does not have the type and limits of its hint."""
    if _is_table(hint):
        struct_of(value, hint, where, key)
    elif get_origin(hint) is dict:
        names, of = get_args(hint)
        if not isinstance(value, dict):
            raise _wrong(key, f"tables, [{key}.NAME]" if _is_table(of) else f"a table, [{key}]", value, where)
        for name, inner in value.items():
            _check_name(name, names, where, key)
            _check(inner, of, where, dotted(key, name))
    else:
        try:
            msgspec.convert(value, hint)
        except msgspec.ValidationError as error:
            raise _wrong(key, _wanted(hint), value, where) from error
        for check in _extras(hint, "check"):
            try:
                check(value)
            except ValueError as error:
                raise ConfigurationError(f"{key}: {error}", where=where) from error


def _check_name(name: str, hint: Any, where: str, key: str) -> None:  # noqa: ANN401  a type hint may be anything
    """Refuse a key of a table whose keys are free, but not any string."""
    try:
        msgspec.convert(name, hint)
    except msgspec.ValidationError as error:
        why = f"{key}: a key must be {_wanted(hint)}, not {_found(name)}"
        raise ConfigurationError(why, where=where) from error


def _extras(hint: Any, name: str) -> list[Any]:  # noqa: ANN401  a type hint and its metadata may be anything
    """The extras called ``name`` in a hint's metadata."""
    metas = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return [meta.extra[name] for meta in metas if meta.extra and name in meta.extra]


def _wrong(key: str, wanted: str, value: object, where: str) -> ConfigurationError:
    return ConfigurationError(f"{key} must be {wanted}, not {_found(value)}", where=where)


def dotted(key: str, name: str) -> str:
    """The key of ``name`` in the table ``key``, as TOML writes it."""
    written = name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)
    return f"{key}.{written}" if key else written


def _wanted(hint: Any) -> str:  # noqa: ANN401  a type hint may be anything
    """What a value must be, in words."""
    for says in _extras(hint, "says"):
        return str(says)
    kind, *metas = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if get_origin(kind) is Literal:
        *others, last = (json.dumps(choice) for choice in get_args(kind))
        return f"{', '.join(others)} or {last}"
    return _KINDS[get_origin(kind) or kind] + _bounds(metas)


def _bounds(metas: list[Meta]) -> str:
    def bound(name: str) -> float | None:
        return next((value for meta in reversed(metas) if (value := getattr(meta, name)) is not None), None)

    least, above, most, length = bound("ge"), bound("gt"), bound("le"), bound("max_length")
    if least is not None:
        return f" from {least:g} to {most:g}" if most is not None else f" of at least {least:g}"
    if above is not None:
        return f" above {above:g}" + (f" and at most {most:g}" if most is not None else "")
    return f" of at most {length:g} characters" if length is not None else ""


def _found(value: object) -> str:
    """What a value is, in words."""
    match value:
        case bool():
            return f"the boolean {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
        case str():
            return f'the string "{printable(value, SHOWN)}"'
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or time"
