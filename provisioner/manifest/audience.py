"""The audience of a manifest: the targets that read it, and which of them a line is for."""

from __future__ import annotations

from functools import cached_property, lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from provisioner.config.choice import unmatched
from provisioner.core.targets import choose
from provisioner.manifest.diagnosis import Location
from provisioner.manifest.problems import LineProblem

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from provisioner.core.targets import Tags


KEPT = 64
"""Choices that an audience keeps: most manifests have fewer, and each target may have an audience of its own."""


class Known:
    """All targets of the configuration. Shared by all who read a manifest, so that each choice is made once.

    Args:
        tags: of each, by its name.
    """

    def __init__(self, tags: Mapping[str, Tags]) -> None:
        self._tags = tags
        self._chosen: dict[tuple[str, ...], frozenset[str] | LineProblem] = {}

    def choose(self, patterns: tuple[str, ...]) -> frozenset[str] | LineProblem:
        """The targets that ``patterns`` select; a problem if one of the patterns matches none."""
        found = self._chosen.get(patterns)
        if found is None:
            chosen = choose(patterns, self._tags)
            found = frozenset(chosen.names)
            if chosen.unmatched is not None:
                what, hint = unmatched(chosen.unmatched, self._tags)
                found = Location("targets").problem("unknown_target", f"{what}. {hint}")
            self._chosen[patterns] = found
        return found

    def tags(self, target: str) -> Tags:
        """Of a target, none if it is not known."""
        return self._tags.get(target, {})

    @cached_property
    def digest(self) -> str:
        """Of all that a choice depends on."""
        return sha256(msgspec.json.encode(dict(self._tags), order="sorted")).hexdigest()


class Audience:
    """The targets that read a manifest under the same rules.

    Args:
        known: all targets; a pattern has to match one of them.
        readers: those that read it.
    """

    def __init__(self, known: Known, readers: Collection[str] = ()) -> None:
        self._known = known
        self._readers = frozenset(readers)
        self._chosen = lru_cache(KEPT)(self._choose)

    def of(self, patterns: tuple[str, ...]) -> frozenset[str] | LineProblem:
        """The readers that a line with these patterns is for; a problem if one of them matches no target at all."""
        return self._chosen(patterns)

    def _choose(self, patterns: tuple[str, ...]) -> frozenset[str] | LineProblem:
        found = self._known.choose(patterns)
        return found if isinstance(found, LineProblem) else found & self._readers

    def tags(self, target: str) -> Tags:
        """By which lines select ``target``."""
        return self._known.tags(target)

    def mark(self, target: str) -> str:
        """What the choice of lines for ``target`` depends on."""
        return f"{self._known.digest} {target}"
