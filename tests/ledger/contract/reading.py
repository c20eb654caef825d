"""What a reader sees, in which order, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from provisioner.core.entry import Event, Fact, State
from provisioner.errors import LedgerError
from tests.ledger.contract.facts import all_of, arn, confirm, intend

if TYPE_CHECKING:
    from tests.ledger.contract.facts import Store


class Reading:
    """What a reader sees, in which order, and when."""

    async def test_a_new_ledger_is_empty(self, store: Store) -> None:
        """A new ledger has an id of 16 hex digits and nothing else."""
        async with store() as ledger:
            assert len(bytes.fromhex(ledger.ledger_id)) == 8
            assert await all_of(ledger) == []
            assert await ledger.counts() == {}
            assert await ledger.look_up("default", ["x"]) == {}
            assert await ledger.runs() == []

    async def test_a_record_is_read_at_once(self, store: Store) -> None:
        """Reads see every fact whose record returned before they began."""
        async with store() as ledger:
            for number in range(20):
                await ledger.record([intend(f"n{number}")])

                assert f"n{number}" in await ledger.look_up("default", [f"n{number}"])

    async def test_registered_are_the_created_ones_with_their_digests(self, store: Store) -> None:
        """Of many names only those whose entry is created are registered, under the digests that were intended."""
        async with store() as ledger:
            await ledger.record([intend("sent"), intend('cre"ated ☂'), intend("drifted")])
            await ledger.record([confirm('cre"ated ☂', 1), confirm("drifted", 2)])
            await ledger.record([Fact("default", "drifted", Event.DRIFT)])

            names = ["sent", 'cre"ated ☂', "drifted", "unknown"]
            entry = (await ledger.look_up("default", names))['cre"ated ☂']
            assert entry.digest
            assert entry.tags_digest
            assert await ledger.registered("default", names) == {
                entry.name: (entry.digest + entry.tags_digest, entry.arn)
            }
            assert await ledger.registered("other", names) == {}
            assert await ledger.registered("default", []) == {}

    async def test_entries_come_in_order_and_by_selection(self, store: Store) -> None:
        """Entries come in order of target and name, across pages, and only those of the target and states asked for."""
        names = [f"n{number:05}" for number in range(2500)]
        async with store() as ledger:
            await ledger.record([intend(name, target=target) for name in reversed(names) for target in ("b", "a")])
            await ledger.record([confirm(name, number, target="a") for number, name in enumerate(names)])
            keys = [(entry.target, entry.name) for entry in await all_of(ledger)]
            created = await all_of(ledger, states={State.CREATED})
            open_in_a = await all_of(ledger, target="a", states=[State.SENT, State.AMBIGUOUS])
            open_in_b = await all_of(ledger, target="b", states=[State.SENT, State.AMBIGUOUS])

            assert keys == [(target, name) for target in ("a", "b") for name in names]
            assert [entry.name for entry in created] == names
            assert (len(open_in_a), [entry.name for entry in open_in_b]) == (0, names)
            assert await all_of(ledger, states=[]) == []

    async def test_entries_may_change_while_they_are_read(self, store: Store) -> None:
        """A reader that stops half way holds nothing up, and sees what changes behind it."""
        async with store() as ledger:
            await ledger.record([intend(f"n{number:05}") for number in range(1500)])
            stream = ledger.entries()
            first = await anext(stream)
            await ledger.record([confirm("n01499", 1)])
            *_, last = [entry async for entry in stream]

            assert (first.name, last.name, last.state) == ("n00000", "n01499", State.CREATED)

    async def test_an_arn_leads_to_its_entry_for_ever(self, store: Store) -> None:
        """Whether an algorithm is there, was replaced or is gone: its ARN leads to the entry that had it."""
        async with store() as ledger:
            await ledger.record([intend("a"), confirm("a", 1), intend("b"), confirm("b", 2)])
            await ledger.record([msgspec.structs.replace(intend("a", "a2"), incoming=True)])
            await ledger.record([msgspec.structs.replace(confirm("a", 3), incoming=True)])
            await ledger.record([Fact("default", "b", Event.DELETE), Fact("default", "b", Event.REPLAN)])
            await ledger.record([intend("b", "b2"), confirm("b", 4)])

            assert [await ledger.named(arn(number)) for number in (1, 2, 3, 4, 5)] == [
                [("default", "a")],
                [("default", "b")],
                [("default", "a")],
                [("default", "b")],
                [],
            ]

    async def test_counts(self, store: Store) -> None:
        """Counts are by target and state, and leave out what is not there."""
        async with store() as ledger:
            await ledger.record([intend("a"), intend("b"), confirm("b", 1), intend("c", target="other")])

            assert await ledger.counts() == {
                "default": {State.SENT: 1, State.CREATED: 1},
                "other": {State.SENT: 1},
            }

    async def test_a_reader_sees_a_run_under_way(self, store: Store) -> None:
        """A ledger can be opened for reading beside its writer; it sees commits and refuses to write."""
        async with store() as writer, store(readonly=True) as reader:
            await writer.record([intend("a")])

            assert [entry.name for entry in await all_of(reader)] == ["a"]
            with pytest.raises(LedgerError, match="reading only"):
                await reader.record([intend("b")])
            with pytest.raises(LedgerError, match="reading only"):
                await reader.learn("default", "create", b"1")
