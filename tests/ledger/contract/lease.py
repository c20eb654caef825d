"""Who may write: one run at a time, and nobody who was overtaken."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from provisioner.core.entry import INTENTS, Event, Fact, Stamp, State
from provisioner.core.place import Place
from provisioner.core.problem import Problem
from provisioner.core.sweep import interrupted
from provisioner.errors import LedgerLockedError
from provisioner.ledger import FinishedManifest, RunRecord
from provisioner.ledger.lease import OvertakenError
from tests.ledger.contract.facts import AT, all_of, arn, confirm, intend

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from provisioner.ledger import Ledger
    from tests.ledger.contract.facts import Rival, Store

WRITES: dict[str, Callable[[Ledger], Awaitable[None]]] = {
    "record": lambda ledger: ledger.record([confirm("a", 1)]),
    "begin_run": lambda ledger: ledger.begin_run(RunRecord("run-9", "apply", AT)),
    "end_run": lambda ledger: ledger.end_run(RunRecord("run-9", "apply", AT, AT, 0, b"{}")),
    "add_problems": lambda ledger: ledger.add_problems([Problem("m", 1, "a", "invalid", "no")]),
    "keep_samples": lambda ledger: ledger.keep_samples(b"1"),
    "set_place": lambda ledger: ledger.set_place("default", Place("aws", "us-east-1")),
    "set_finished": lambda ledger: ledger.set_finished("default", FinishedManifest("f", 1, 1)),
    "rename_target": lambda ledger: ledger.rename_target("default", "other"),
}


class LeaseTopic:
    """The lease and its epoch."""

    async def test_a_second_writer_is_refused(self, store: Store) -> None:
        """While one run holds the ledger no other gets it; afterwards the next does."""
        async with store():
            with pytest.raises(LedgerLockedError, match="another run holds the ledger"):
                async with store():
                    pass
        async with store():
            pass

    @pytest.mark.parametrize("write", WRITES)
    async def test_a_writer_that_was_overtaken_writes_nothing_more(
        self, store: Store, rival: Rival, write: str
    ) -> None:
        """After another run has taken over, no write of the earlier one takes effect, whichever it is."""
        async with store() as sleeper:
            await sleeper.record([intend("a")])
            async with rival() as ledger:
                await ledger.record([confirm("a", 7)])
                before = (await all_of(ledger), await ledger.runs(), await ledger.places(), await ledger.counts())
                with pytest.raises(LedgerLockedError, match="taken over the ledger"):
                    await WRITES[write](sleeper)

                after = (await all_of(ledger), await ledger.runs(), await ledger.places(), await ledger.counts())
                assert after == before
                assert await ledger.finished("default") is None
                await ledger.record([Fact("default", "a", Event.DRIFT)])

    async def test_an_intent_carries_the_epoch_under_which_it_was_made(self, store: Store, rival: Rival) -> None:
        """It keeps it, whatever a later run learns of it, and that run has another one: so it was interrupted."""
        async with store() as sleeper:
            first = sleeper.epoch("default")
            await sleeper.record([intend("a", epoch=first)])
            async with rival() as ledger:
                second = ledger.epoch("default")
                [entry] = await all_of(ledger)
                await ledger.record([interrupted(entry, Stamp(AT, "boot", 99.0)), intend("b", epoch=second)])
                found = [entry.sent and (entry.sent.epoch, entry.sent.ticks) for entry in await all_of(ledger)]

        assert first != second
        assert found == [(first, 99.0), (second, 17.25)]

    @pytest.mark.parametrize("event", sorted(INTENTS))
    async def test_an_intent_of_another_epoch_is_refused(self, store: Store, event: Event) -> None:
        """Nothing may be sent for it: it was made under a lease that has ended since. Its neighbours are recorded."""
        async with store() as ledger:
            await ledger.record([intend("a"), confirm("a", 1), intend("b")])
            before = await all_of(ledger)
            late = Fact("default", "a", event, arn=arn(1), attempt="a2", sent=Stamp(AT, epoch="0-other"))
            refused, recorded = await asyncio.gather(
                ledger.record([late]), ledger.record([confirm("b", 2)]), return_exceptions=True
            )

            assert isinstance(refused, OvertakenError)
            assert recorded is None
            assert (await all_of(ledger))[0] == before[0]
            await ledger.record([Fact("default", "a", Event.DRIFT)])

    async def test_an_overtaken_writer_is_refused_again_and_again(self, store: Store, rival: Rival) -> None:
        """Also when the other run has ended since, and also for facts that would follow from the state."""
        async with store() as sleeper:
            async with rival() as ledger:
                await ledger.record([intend("b")])
            for _ in range(2):
                with pytest.raises(LedgerLockedError):
                    await sleeper.record([intend("a"), confirm("b", 1)])
        async with store() as ledger:
            assert [(entry.name, entry.state) for entry in await all_of(ledger)] == [("b", State.SENT)]

    async def test_what_a_pacer_learned_late_is_dropped(self, store: Store, rival: Rival) -> None:
        """What an overtaken writer has yet to write of its paces never replaces what the other one learned."""
        async with store() as sleeper:
            await sleeper.learn("default", "create", b"old")
            async with rival() as ledger:
                await ledger.learn("default", "create", b"new")
        async with store() as ledger:
            assert await ledger.learned("default", "create") == b"new"

    async def test_a_reader_overtakes_nobody(self, store: Store) -> None:
        """Opening for reading raises no epoch: the writer goes on."""
        async with store() as ledger:
            await ledger.record([intend("a")])
            async with store(readonly=True) as reader:
                assert len(await all_of(reader)) == 1
            await ledger.record([confirm("a", 1)])
