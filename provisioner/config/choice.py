"""Selects targets by patterns, or reports the pattern that no target matches, with the nearest one that does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.config.tables import nearest
from provisioner.core.targets import TAG, choose, is_glob
from provisioner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.core.targets import Tags

NAMED = 10
"""Targets that a message names."""
NO_TAGS = "No target has tags: set some in [targets.NAME.tags] or a source, or `tags = true` in [fleet.organizations]"


def select(patterns: Sequence[str], known: Mapping[str, Tags], *, ledger: bool = False) -> tuple[str, ...]:
    """The names of the targets that ``patterns`` select; see :func:`provisioner.core.targets.choose`.

    Args:
        patterns: of the command line; none select all.
        known: all targets, by name, with their tags.
        ledger: whether these are the targets of a ledger, not of the configuration.

    Raises:
        UsageError: no target matches one of the patterns, or none is left.
    """
    chosen = choose(patterns, known)
    if chosen.unmatched is not None:
        what, hint = unmatched(chosen.unmatched, known, ledger=ledger)
        raise UsageError(what, hint=hint)
    if patterns and not chosen.names:
        raise UsageError(
            "no target is selected", hint="The patterns with ! exclude all that the others select: leave one out"
        )
    return chosen.names


def unmatched(pattern: str, known: Mapping[str, Tags], *, ledger: bool = False) -> tuple[str, str]:
    """What to say about a pattern that no target matches, and the hint."""
    there = "the ledger has no entries of a target" if ledger else "there is no target"
    if not known:
        return f"{there} {pattern!r}", "It has no entries at all" if ledger else "The configuration has no targets"
    if pattern.startswith(TAG):
        pairs = sorted({f"{TAG}{key}={value}" for tags in known.values() for key, value in tags.items()})
        return f"{there} with {pattern!r}", _hint(pattern, pairs, "The tags are") if pairs else NO_TAGS
    if is_glob(pattern):
        return f"{there} like {pattern!r}", _named(list(known), "The targets are")
    head = "The ledger has" if ledger else "The configuration has"
    return f"{there} {pattern!r}", _hint(pattern, list(known), head)


def _hint(pattern: str, meant: Sequence[str], head: str) -> str:
    return nearest(pattern, meant, _named(meant, head).replace("{", "{{").replace("}", "}}"))


def _named(all_: Sequence[str], head: str) -> str:
    more = f" and {len(all_) - NAMED} more" if len(all_) > NAMED else ""
    return f"{head} {', '.join(all_[:NAMED])}{more}"
