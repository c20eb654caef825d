"""What one record changes: facts, applied in their order to what the ledger has. Pure; every store uses it.

All rules of the ledger stand here and in the modules that this one calls, so a store has none of its own: it reads what
the facts are about, applies them, and writes what has changed, all of it or nothing.
"""

from __future__ import annotations

from typing import Protocol

from provisioner.core.entry import VERSION_EVENTS, Entry, Event, Fact, State, apply
from provisioner.core.versions import (
    Happening,
    Role,
    SameArnError,
    Version,
    apply_to_version,
    check_unknown,
    happening,
    promoted,
    superseded,
)
from provisioner.errors import IllegalTransitionError, IntegrityError

Key = tuple[str, str]
"""Target and name."""
GIVING_UP = frozenset({Event.RETIRE, Event.DELETE})
"""Events with which an entry gives up its algorithm."""


class Known(Protocol):
    """What the ledger has of the keys and ARNs that the facts name."""

    def entry(self, key: Key) -> Entry | None:
        """The entry."""

    def replacement(self, key: Key) -> Entry | None:
        """Its replacement that is under way or came to nothing."""

    def version(self, arn: str) -> Version | None:
        """The older version with this ARN."""

    def holder(self, arn: str) -> Key | None:
        """The entry with an existing algorithm that holds this ARN."""


class Changes:
    """The facts of one record, applied to what is known.

    Args:
        known: what the ledger has; it is read, not changed.
        at: wall-clock time of the change, seconds since the epoch.
        run_id: the run that records it.

    Attributes:
        entries: that have changed, by key.
        incoming: replacements that have changed; None for one that is over.
        versions: older versions that have changed, by ARN; None for one that is the current one again.
        history: what is worth a row of its own.
        holders: which entry holds an ARN now; None for none.
    """

    def __init__(self, known: Known, *, at: float, run_id: str) -> None:
        self.entries: dict[Key, Entry] = {}
        self.incoming: dict[Key, Entry | None] = {}
        self.versions: dict[str, Version | None] = {}
        self.history: list[Happening] = []
        self.holders: dict[str, Key | None] = {}
        self._known = known
        self._at = at
        self._run_id = run_id

    def apply(self, fact: Fact) -> None:
        """Apply one fact.

        Raises:
            IllegalTransitionError: it does not follow from what is there.
            IntegrityError: it names an ARN that something else in the ledger has.
        """
        key = (fact.target, fact.name)
        before = self.entries.get(key) or self._known.entry(key)
        about = self._replacement(key) if fact.incoming else None if fact.event in VERSION_EVENTS else before
        if fact.event in VERSION_EVENTS:
            self._apply_to_version(fact)
        elif fact.incoming:
            self._apply_to_incoming(key, before, fact)
        else:
            after = apply(before, fact, at=self._at, run_id=self._run_id)
            if fact.event in GIVING_UP:
                self._end_replacement(key, fact)
            if before is not None and fact.event is Event.RETIRE:
                self._put(superseded(before, fact.code, at=self._at, run_id=self._run_id))
            elif fact.event is Event.REINSTATE:
                self._take_back(after.arn)
            self._replace(key, before, after)
        if (one := happening(about, fact, at=self._at, run_id=self._run_id)) is not None:
            self.history.append(one)

    def _replacement(self, key: Key) -> Entry | None:
        return self.incoming[key] if key in self.incoming else self._known.replacement(key)

    def _replace(self, key: Key, before: Entry | None, after: Entry) -> None:
        if before is not None and before.exists and before.arn:
            self.holders[before.arn] = None
        if after.exists and after.arn:
            self._claim(after)
        self.entries[key] = after

    def _apply_to_incoming(self, key: Key, entry: Entry | None, fact: Fact) -> None:
        # Meanwhile its algorithm may be missing or given up: what replaces it is resolved all the same.
        if entry is None or not (entry.exists or entry.state is State.DELETED):
            raise IllegalTransitionError(f"no algorithm of {fact.name!r}", f"{fact.event} (of its replacement)")
        before = self._replacement(key)
        after = apply(before, fact, at=self._at, run_id=self._run_id)
        if not after.exists:
            self.incoming[key] = after
            return
        if after.arn == entry.arn:
            raise SameArnError(after.arn)
        self.incoming[key] = None
        self._replace(key, entry, promoted(after))
        if entry.exists:
            self._put(superseded(entry, "replaced", at=self._at, run_id=self._run_id))

    def _end_replacement(self, key: Key, fact: Fact) -> None:
        """A replacement ends with what it was to replace; one that may exist already has to be resolved first."""
        before = self.incoming[key] if key in self.incoming else self._known.replacement(key)
        if before is not None and before.unresolved:
            raise IllegalTransitionError(f"a replacement is {before.state}", fact.event)
        if before is not None:
            self.incoming[key] = None

    def _apply_to_version(self, fact: Fact) -> None:
        arn = fact.arn or ""
        if fact.event is Event.SUPERSEDE and self._holder(arn) is not None:
            raise IllegalTransitionError("the current algorithm", fact.event)
        before = self._version(arn)
        self.versions[arn] = apply_to_version(before, fact, at=self._at, run_id=self._run_id)

    def _take_back(self, arn: str) -> None:
        version = self._version(arn)
        if version is None or version.role is not Role.SUPERSEDED:
            raise IllegalTransitionError("no superseded version", Event.REINSTATE)
        self.versions[arn] = None

    def _version(self, arn: str) -> Version | None:
        return self.versions[arn] if arn in self.versions else self._known.version(arn)

    def _put(self, version: Version) -> None:
        if self._version(version.arn) is not None:
            raise IllegalTransitionError("an older version", "to supersede it again")
        self.versions[version.arn] = version

    def _holder(self, arn: str) -> Key | None:
        return self.holders[arn] if arn in self.holders else self._known.holder(arn)

    def _claim(self, entry: Entry) -> None:
        check_unknown(entry.arn, self._version(entry.arn))
        holder = self._holder(entry.arn)
        if holder not in (None, (entry.target, entry.name)):
            raise IntegrityError(
                f"the reply for {entry.name!r} names an ARN that the ledger already has for {holder[1]!r}",
                where=f"target {entry.target}",
                why=entry.arn,
                hint="Nothing more is sent to this target. Compare the ledger with AWS: `provisioner verify`",
            )
        self.holders[entry.arn] = (entry.target, entry.name)
