"""``show``: all that a ledger has of one name. Needs neither AWS nor the lease."""

from __future__ import annotations

import difflib
from heapq import nlargest
from operator import eq
from typing import TYPE_CHECKING

import msgspec

from provisioner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from provisioner.core.entry import Entry
    from provisioner.core.versions import Happening, Version
    from provisioner.ledger import Ledger

NEAR = 3
"""Names that a message about an unknown one suggests."""
COMPARED = 50
"""Names that are compared thoroughly with an unknown one. That takes 0.1 ms each when all look alike, and the quick
comparison that chooses them a twentieth of it."""
ALIKE = 0.6
"""How much of two names must agree for the one to be meant by the other (difflib's own default)."""


class Shown(msgspec.Struct, frozen=True):
    """All that a ledger has of one (target, name).

    Attributes:
        target, name: of the entry.
        entry: None when it was forgotten, and only its history is left.
        replacement: that is under way or came to nothing.
        versions: the algorithms that it had before, the latest change first.
        events: its history, the oldest first.
    """

    target: str
    name: str
    entry: Entry | None
    replacement: Entry | None
    versions: list[Version]
    events: list[Happening]


async def show(ledger: Ledger, name: str, targets: Collection[str]) -> list[Shown]:
    """What the ledger has of ``name``, which may also be the ARN of an algorithm that an entry has or had.

    Args:
        ledger: to read.
        name: of an entry, exact; or an ARN.
        targets: to look into, by name; all of them if there are none.

    Raises:
        UsageError: there is nothing of that name.
    """
    known = sorted(targets) or sorted({*await ledger.counts(), *await ledger.places()})
    found = [one for target in known if (one := await _shown(ledger, target, name))]
    if not found and name.startswith("arn:"):
        keys = [key for key in await ledger.named(name) if key[0] in known]
        found = [one for target, its_name in keys if (one := await _shown(ledger, target, its_name))]
        if not found:
            hint = "`provisioner verify` looks for it in AWS"
            raise UsageError("no entry has or had this algorithm", where=name, hint=hint)
    if not found:
        near = await _nearest(ledger, name, known)
        meant = " or ".join(filter(None, [", ".join(map(repr, near[:-1])), *map(repr, near[-1:])]))
        hint = f"Did you mean {meant}?" if near else "`provisioner list` lists them"
        raise UsageError(f"the ledger has no entry {name!r}", hint=hint)
    return found


async def _shown(ledger: Ledger, target: str, name: str) -> Shown | None:
    entry = (await ledger.look_up(target, [name])).get(name)
    events = await ledger.history(target, name)
    if entry is None and not events:
        return None
    replacement = (await ledger.incoming(target)).get(name)
    return Shown(target, name, entry, replacement, await ledger.versions(target, names=[name]), events)


async def _nearest(ledger: Ledger, name: str, targets: Collection[str]) -> list[str]:
    typed = name.casefold()
    matcher = difflib.SequenceMatcher(b=typed)
    alike: dict[str, tuple[float, int]] = {}
    for target in targets:
        async for entry in ledger.entries(target=target):
            written = entry.name.casefold()
            matcher.set_seq1(written)
            if matcher.real_quick_ratio() >= ALIKE and (ratio := matcher.quick_ratio()) >= ALIKE:
                # Where names are numbered, many have the same characters: one mistake leaves what is before it and
                # what is after it where it was, seen from either end.
                in_place = sum(map(eq, written, typed)) + sum(map(eq, reversed(written), reversed(typed)))
                alike[entry.name] = (ratio, in_place)
        alike = dict(nlargest(COMPARED, alike.items(), key=lambda item: item[1]))
    ranked: list[tuple[float, int, str]] = []
    for other, (_, in_place) in alike.items():
        matcher.set_seq1(other.casefold())
        if (ratio := matcher.ratio()) >= ALIKE:
            ranked.append((-ratio, -in_place, other))
    return [other for _, _, other in sorted(ranked)[:NEAR]]
