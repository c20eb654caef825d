"""The facts of one commit, applied in memory between one reading and one writing. Every store uses it.

:mod:`provisioner.core.recording` alone decides, so that a store has no rules of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.core.recording import GIVING_UP, Changes, Key
from provisioner.errors import ProvisionerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.core.entry import Entry, Fact
    from provisioner.core.versions import Happening, Version
    from provisioner.ledger.requests import Answer

_OPEN_ENTRIES = 10_000
"""A bound on memory: more creates are never in flight, and each entry takes about 2 KB."""


class OpenEntries:
    """A cache of unresolved entries that this writer wrote, so that recording a result need not read them first."""

    def __init__(self) -> None:
        self.known: dict[Key, Entry] = {}

    def learn(self, changed: Mapping[Key, Entry]) -> None:
        """Update the cache by what was ``changed``. After a rollback, call :meth:`forget`."""
        for key, entry in changed.items():
            if entry.unresolved:
                self.known[key] = entry
            else:
                self.known.pop(key, None)
        if len(self.known) > _OPEN_ENTRIES:
            self.forget()

    def forget(self) -> None:
        """Read every entry anew."""
        self.known.clear()


class Batch:
    """The entries that the facts of one commit are about, as the facts so far have changed them.

    Args:
        stored: the entries that the facts name, as far as they are known.
        holders: which entry holds each ARN that the facts or these entries name.
        incoming: the replacements of entries that the facts are about.
        versions: the older versions with those ARNs.

    Attributes:
        changed: the entries that facts have changed, by key.
        incoming: their replacements, None for one that is over.
        versions: older versions, by ARN.
        history: what is worth a row of its own.
    """

    def __init__(
        self,
        stored: Mapping[Key, Entry],
        holders: Mapping[str, Key | None],
        incoming: Mapping[Key, Entry],
        versions: Mapping[str, Version],
    ) -> None:
        self.changed: dict[Key, Entry] = {}
        self.incoming: dict[Key, Entry | None] = {}
        self.versions: dict[str, Version | None] = {}
        self.history: list[Happening] = []
        self._stored = stored
        self._holders = dict(holders)
        self._known_incoming = incoming
        self._known_versions = versions

    @property
    def second_day(self) -> bool:
        """Whether there is more to write than entries."""
        return bool(self.incoming or self.versions or self.history)

    def targets(self) -> set[str]:
        """The targets that the facts have changed."""
        versions = {version.target for version in self.versions.values() if version is not None}
        return {target for target, _ in self.changed} | {target for target, _ in self.incoming} | versions

    def apply(self, facts: Sequence[Fact], at: float, run_id: str) -> Answer:
        """Apply all of ``facts``, or none and say why."""
        step = Changes(self, at=at, run_id=run_id)
        try:
            for fact in facts:
                step.apply(fact)
        except ProvisionerError as error:
            return error
        self.changed |= step.entries
        self.incoming |= step.incoming
        self.versions |= step.versions
        self.history += step.history
        self._holders |= step.holders
        return None

    def entry(self, key: Key) -> Entry | None:
        """The entry as the facts so far have left it."""
        return self.changed.get(key) or self._stored.get(key)

    def replacement(self, key: Key) -> Entry | None:
        """Its replacement, likewise."""
        return self.incoming[key] if key in self.incoming else self._known_incoming.get(key)

    def version(self, arn: str) -> Version | None:
        """The older version with this ARN, likewise."""
        return self.versions[arn] if arn in self.versions else self._known_versions.get(arn)

    def holder(self, arn: str) -> Key | None:
        """The entry that holds ``arn``, likewise."""
        return self._holders.get(arn)

    def freed(self) -> list[Key]:
        """The keys of entries that no longer hold their stored ARN."""
        return [
            key
            for key, after in self.changed.items()
            if (before := self._stored.get(key)) and before.exists and not (after.exists and after.arn == before.arn)
        ]


def keys_of(facts: Sequence[Fact]) -> set[Key]:
    """The entries that ``facts`` are about."""
    return {(fact.target, fact.name) for fact in facts}


def arns_of(facts: Sequence[Fact], known: Mapping[Key, Entry]) -> set[str]:
    """The ARNs that ``facts``, or the entries ``known`` of theirs, name."""
    return {fact.arn for fact in facts if fact.arn} | {entry.arn for entry in known.values() if entry.arn}


def replaced_by(facts: Sequence[Fact]) -> set[Key]:
    """The entries among those of ``facts`` whose replacement matters."""
    return {(fact.target, fact.name) for fact in facts if fact.incoming or fact.event in GIVING_UP}
