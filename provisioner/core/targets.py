"""Which targets a list of patterns selects: the one rule behind ``--target`` and ``targets`` of a definition. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Tags = Mapping[str, str]

TAG = "tag:"
"""What a pattern of tags begins with; no name has a colon."""
NOT = "!"
"""What a pattern begins with that excludes."""


class Chosen(NamedTuple):
    """What patterns select.

    Attributes:
        names: of the targets, in the order of the configuration.
        unmatched: the first pattern that no target matches, without its ``!``; None if each matches one.
    """

    names: tuple[str, ...]
    unmatched: str | None = None


def choose(patterns: Sequence[str], known: Mapping[str, Tags]) -> Chosen:
    """The targets that match one of the patterns and none of those that begin with ``!``.

    A pattern is a name, a glob of names (``prod-*``), ``tag:KEY=VALUE``, where VALUE may be a glob, or ``tag:KEY`` for
    any value. Patterns are case-sensitive. Where all patterns exclude, every other target is selected.

    A pattern that matches nothing selects nothing and is reported: most likely it is mistyped, and a mistyped exclusion
    would let a run reach what it should not.

    Args:
        patterns: none select all.
        known: all targets, by name, with their tags.
    """
    wanted: dict[str, None] = {}
    excluded: set[str] = set()
    for pattern in patterns:
        plain = pattern.removeprefix(NOT)
        found = _matching(plain, known)
        if not found:
            return Chosen((), plain)
        if plain != pattern:
            excluded.update(found)
        else:
            wanted.update(dict.fromkeys(found))
    among = wanted if any(not pattern.startswith(NOT) for pattern in patterns) else known
    return Chosen(tuple(name for name in known if name in among and name not in excluded))


def _matching(pattern: str, known: Mapping[str, Tags]) -> Sequence[str]:
    """The targets that match one pattern."""
    if pattern in known:
        return [pattern]
    if not pattern.startswith(TAG):
        return [name for name in known if fnmatchcase(name, pattern)] if is_glob(pattern) else []
    key, equals, value = pattern.removeprefix(TAG).partition("=")
    return [name for name, tags in known.items() if key in tags and (not equals or fnmatchcase(tags[key], value))]


def is_glob(pattern: str) -> bool:
    """Whether a pattern of names may match more than one."""
    return any(character in pattern for character in "*?[")
