"""What differs between two definitions, path by path, as people and plans need it. Pure.

Definitions come as JSON values with the API's names. Absent and empty fields are equal, and ``metricDefinitions`` are a
set, as in the canonical form, so that there is no difference exactly when the canonical forms are equal.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from itertools import zip_longest
from typing import TYPE_CHECKING

import msgspec

from provisioner.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]
_Path = tuple[tuple[int, str], ...]
"""The steps to a value: the text of each, after the index where it is an element, so that ``[2]`` precedes ``[10]``."""

METRICS = "metricDefinitions"
TAGS = "tags"

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN_VALUE = re.compile(r"""[^\s"\\…(][^\s"\\]*""")
_BREAKS = ("/:,;=@ ", ".")
"""Where a common beginning may be cut, first choice first: what follows is a word, such as the tag of an image."""
_CONTEXT = 24
"""Most characters of the common beginning that stay."""
_WORTH_CUTTING = 16
"""A shorter common beginning is not cut."""


class Change(msgspec.Struct, frozen=True, rename={"before": "from", "after": "to"}):
    """One value that differs.

    Attributes:
        path: such as ``trainingContainerConfig.arguments[2]``, ``tags["a.b"]`` or, for the regex of a metric,
            ``trainingContainerConfig.metricDefinitions[name=loss]``. Only metrics of the same name share a path.
        before, after: the value on each side; None where there is none.
    """

    path: str
    before: Json
    after: Json

    def __str__(self) -> str:
        before, after = _texts(self.before, self.after)
        return f"{printable(self.path)}: {before} -> {after}"


def differences(before: Mapping[str, Json], after: Mapping[str, Json]) -> list[Change]:
    """What has to change for the definition ``before`` to become ``after``, sorted by path.

    Args:
        before: a definition with the API's names, ``tags`` among them; without the ownership tag.
        after: likewise.
    """
    old, new = _values(before), _values(after)
    changes = []
    for path in sorted(old.keys() | new.keys()):
        text = "".join(step for _, step in path).removeprefix(".")
        gone, come = sorted(old[path] - new[path]), sorted(new[path] - old[path])
        changes += [Change(text, _decoded(one), _decoded(other)) for one, other in zip_longest(gone, come)]
    return changes


def _values(definition: Mapping[str, Json]) -> defaultdict[_Path, set[str]]:
    """The values at each path, as JSON; a path has several only where metrics have the same name."""
    values: defaultdict[_Path, set[str]] = defaultdict(set)
    for path, value in _leaves(definition, ()):
        values[path].add(json.dumps(value, ensure_ascii=False))
    return values


def _leaves(value: object, path: _Path) -> Iterator[tuple[_Path, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == METRICS and isinstance(inner, list | tuple):
                yield from _metrics(inner, (*path, _member(key)))
            elif inner != "" or path == (_member(TAGS),):  # the empty value of a tag is a value
                yield from _leaves(inner, (*path, _member(key)))
    elif isinstance(value, list | tuple):  # tuples are what msgspec.to_builtins makes of them
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, (index, f"[{index}]")))
    elif value is not None:
        yield path, value


def _metrics(metrics: Iterable[object], path: _Path) -> Iterator[tuple[_Path, object]]:
    for metric in metrics:
        members = metric if isinstance(metric, dict) else {}
        step = (0, f"[name={_key(str(members.get('name', '')))}]")
        yield (*path, step), members["regex"] if members.keys() == {"name", "regex"} else metric


def _member(key: str) -> tuple[int, str]:
    return (0, f".{key}" if _PLAIN_KEY.fullmatch(key) else f"[{_key(key)}]")


def _key(key: str) -> str:
    return key if _PLAIN_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _decoded(value: str | None) -> Json:
    return None if value is None else msgspec.json.decode(value)


def _texts(before: Json, after: Json) -> tuple[str, str]:
    cut = 0
    if isinstance(before, str) and isinstance(after, str):
        cut = _cut(before, after)
    return _text(before, cut), _text(after, cut)


def _cut(before: str, after: str) -> int:
    """How many characters of the common beginning to leave out."""
    pairs = enumerate(zip(before, after, strict=False))
    common = next((index for index, (one, other) in pairs if one != other), min(len(before), len(after)))
    start = max(0, common - _CONTEXT)
    places = (max(before.rfind(character, start, common) for character in breaks) for breaks in _BREAKS)
    cut = next((place for place in places if place >= 0), start)
    return cut if cut >= _WORTH_CUTTING else 0


def _text(value: Json, cut: int) -> str:
    """A value in a line of text: in quotes, as JSON, unless it is one word that cannot be taken for anything else."""
    if value is None:
        return "(none)"
    if not isinstance(value, str):
        return printable(json.dumps(value, ensure_ascii=False))
    rest = value[cut:]
    plain = _PLAIN_VALUE.fullmatch(rest) and rest.isprintable()
    return ("…" if cut else "") + printable(rest if plain else json.dumps(rest, ensure_ascii=False))
