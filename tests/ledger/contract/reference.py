"""The reference that every store is compared with: whatever facts come, in whatever batches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from hypothesis import strategies as st

from provisioner.core.entry import Entry, Event, Fact, Stamp, State, apply, sources
from provisioner.errors import IntegrityError, ProvisionerError
from tests.ledger.contract.facts import AT, Clock, all_of

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        legal = [event for event in Event if state in sources(event)]
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
)
_WISHES = st.builds(Wish, _FACTS, st.integers(0, 11), st.sampled_from([True, True, True, False]))
ROUNDS = st.lists(st.lists(st.lists(_WISHES, min_size=1, max_size=3), min_size=1, max_size=5), min_size=1, max_size=8)
"""Rounds of records that are begun at once; each record is a list of facts."""


class Reference:
    """The ledger as :func:`provisioner.core.entry.apply` and the rule about ARNs define it."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], Entry] = {}

    def copy(self) -> Reference:
        """One that goes its own way from here on."""
        other = Reference()
        other.entries = self.entries
        return other

    def record(self, facts: Sequence[Fact], at: float, run_id: str = "") -> ProvisionerError | None:
        """Apply all of ``facts`` or none; what refuses them."""
        entries = dict(self.entries)
        try:
            for fact in facts:
                key = (fact.target, fact.name)
                entry = apply(entries.get(key), fact, at=at, run_id=run_id)
                if entry.exists and entry.arn and self._holder(entries, entry) not in (None, key):
                    raise IntegrityError("held")
                entries[key] = entry
        except ProvisionerError as error:
            return error
        self.entries = entries
        return None

    def _holder(self, entries: dict[tuple[str, str], Entry], wanted: Entry) -> tuple[str, str] | None:
        found = {key for key, entry in entries.items() if entry.exists and entry.arn == wanted.arn}
        found.discard((wanted.target, wanted.name))
        return next(iter(found), None)


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


def _granted(wishes: list[Wish], reference: Reference, prefix: str) -> list[Fact]:
    """The facts of one record, in targets and with ARNs that no earlier example used."""
    facts: list[Fact] = []
    for wish in wishes:
        tried = reference.copy()
        tried.record(facts, AT)
        key = (f"{prefix}{wish.fact.target}", wish.fact.name)
        entry = tried.entries.get(key)
        arn = f"{prefix}{wish.fact.arn}" if wish.fact.arn else wish.fact.arn
        facts.append(msgspec.structs.replace(wish.granted(entry.state if entry else None), target=key[0], arn=arn))
    return facts
