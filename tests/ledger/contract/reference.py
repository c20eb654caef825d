"""The reference that every store is compared with: whatever facts come, in whatever batches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from hypothesis import strategies as st

from provisioner.core.entry import VERSION_EVENTS, Entry, Event, Fact, Stamp, State, sources
from provisioner.core.recording import Changes, Key
from provisioner.errors import ProvisionerError
from tests.ledger.contract.facts import AT, Clock, all_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.core.versions import Happening, Version
    from provisioner.ledger import Ledger


class Wish(NamedTuple):
    """A fact to be, whose event is chosen when the state of its entry is known.

    Attributes:
        fact: all but the event.
        choice: picks one of the events.
        legal: pick among those that follow from the state; of all events only few do.
    """

    fact: Fact
    choice: int
    legal: bool

    def granted(self, state: State | None) -> Fact:
        """The fact for an entry in ``state``."""
        legal = [event for event in Event if state in sources(event) or event in VERSION_EVENTS]
        events = legal if self.legal and legal else list(Event)
        return msgspec.structs.replace(self.fact, event=events[self.choice % len(events)])


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
_FACTS = st.builds(
    Fact,
    target=st.sampled_from(["one", "one", "two"]),
    name=st.sampled_from(["a", "b", "c"]),
    event=st.just(Event.PLAN),
    digest=st.none() | _TEXT,
    tags_digest=st.none() | _TEXT,
    arn=st.none() | st.sampled_from(["", "arn:1", "arn:2", "arn:3"]),
    attempt=st.none() | st.sampled_from(["x", "y"]),
    sent=st.none() | st.builds(Stamp, wall=st.floats(0, 4e9), boot=_TEXT, ticks=st.floats(0, 1e7)),
    code=_TEXT,
    message=_TEXT,
    after=st.none() | st.none() | st.sampled_from(["", "x", "y"]),
    tag_keys=st.none() | st.sampled_from(["", "env,team"]),
    request_id=st.sampled_from(["", "r-1"]),
    incoming=st.sampled_from([False, False, True]),
)
_WISHES = st.builds(Wish, _FACTS, st.integers(0, 20), st.sampled_from([True, True, True, False]))
ROUNDS = st.lists(st.lists(st.lists(_WISHES, min_size=1, max_size=3), min_size=1, max_size=5), min_size=1, max_size=8)
"""Rounds of records that are begun at once; each record is a list of facts."""


class Reference:
    """The ledger as :mod:`provisioner.core.recording` defines it, in dictionaries."""

    def __init__(self) -> None:
        self.entries: dict[Key, Entry] = {}
        self.incoming: dict[Key, Entry | None] = {}
        self.versions: dict[str, Version | None] = {}
        self.history: list[Happening] = []

    def copy(self) -> Reference:
        """One that goes its own way from here on."""
        other = Reference()
        other.entries, other.incoming, other.versions = self.entries, self.incoming, self.versions
        return other

    def record(self, facts: Sequence[Fact], at: float, run_id: str = "") -> ProvisionerError | None:
        """Apply all of ``facts`` or none; what refuses them."""
        changes = Changes(self, at=at, run_id=run_id)
        try:
            for fact in facts:
                changes.apply(fact)
        except ProvisionerError as error:
            return error
        self.entries = self.entries | changes.entries
        self.incoming = self.incoming | changes.incoming
        self.versions = self.versions | changes.versions
        self.history = self.history + changes.history
        return None

    def entry(self, key: Key) -> Entry | None:
        """See :class:`provisioner.core.recording.Known`."""
        return self.entries.get(key)

    def replacement(self, key: Key) -> Entry | None:
        """The same."""
        return self.incoming.get(key)

    def version(self, arn: str) -> Version | None:
        """The same."""
        return self.versions.get(arn)

    def holder(self, arn: str) -> Key | None:
        """The same."""
        return next((key for key, entry in self.entries.items() if entry.exists and entry.arn == arn), None)


async def equal_to_reference(ledger: Ledger, clock: Clock, prefix: str, rounds: list[list[list[Wish]]]) -> None:
    """Record ``rounds`` in ``ledger`` and in the reference; answers and entries must be the same."""
    reference = Reference()
    for number, wishes in enumerate(rounds):
        clock.at = AT + number
        records, expected = [], []
        for wished in wishes:
            records.append(_granted(wished, reference, prefix))
            expected.append(reference.record(records[-1], clock.at))
        answers = await asyncio.gather(*(ledger.record(facts) for facts in records), return_exceptions=True)

        assert [type(answer) for answer in answers] == [type(error) for error in expected]
    for target in (f"{prefix}one", f"{prefix}two"):
        entries = {name: entry for (held, name), entry in reference.entries.items() if held == target}

        assert await ledger.look_up(target, ["a", "b", "c"]) == entries
        assert await all_of(ledger, target=target) == [entries[name] for name in sorted(entries)]
        assert await ledger.incoming(target) == {
            name: entry for (held, name), entry in reference.incoming.items() if held == target and entry is not None
        }
        assert {one.arn: one for one in await ledger.versions(target)} == {
            arn: one for arn, one in reference.versions.items() if one is not None and one.target == target
        }
        for name in ("a", "b", "c"):
            assert await ledger.history(target, name) == [
                one for one in reference.history if (one.target, one.name) == (target, name)
            ]


def _granted(wishes: list[Wish], reference: Reference, prefix: str) -> list[Fact]:
    """The facts of one record, in targets and with ARNs that no earlier example used."""
    facts: list[Fact] = []
    for wish in wishes:
        tried = reference.copy()
        tried.record(facts, AT)
        key = (f"{prefix}{wish.fact.target}", wish.fact.name)
        entry = tried.entries.get(key)
        arn = f"{prefix}{wish.fact.arn}" if wish.fact.arn else wish.fact.arn
        if wish.fact.incoming:
            entry = tried.incoming.get(key)
        facts.append(msgspec.structs.replace(wish.granted(entry.state if entry else None), target=key[0], arn=arn))
    return facts
