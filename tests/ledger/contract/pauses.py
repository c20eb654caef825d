"""Pauses: written beside whoever holds the lease, read by everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioner.core.pause import Pause
from provisioner.core.place import Place
from provisioner.errors import LedgerError
from provisioner.ledger.location import locate
from tests.ledger.contract.facts import AT, all_of, confirm, intend

if TYPE_CHECKING:
    from tests.ledger.contract.facts import Put, Store

LATER = AT + 1e9
ODD = "it's \x00 \u2602"


class Pauses:
    """What :meth:`provisioner.ledger.location.Location.pause` records."""

    async def test_a_pause_is_recorded_beside_a_run(self, store: Store, where: str) -> None:
        """The run that holds the lease sees it at once and goes on writing; it lasts until it is ended."""
        pause, location = Pause(LATER, AT, ODD), locate(where, now=lambda: AT)
        async with store() as ledger:
            await ledger.record([intend("a", target=ODD)])
            await location.pause({ODD: pause, "b": Pause(LATER, AT)})
            at_once = await ledger.pauses()
            await ledger.record([confirm("a", 1, target=ODD)])
        async with store(readonly=True) as ledger:
            assert at_once == await ledger.pauses() == {ODD: pause, "b": Pause(LATER, AT)}
            assert len(await all_of(ledger)) == 1
        await location.pause({ODD: None, "c": None})
        async with store() as ledger:
            assert await ledger.pauses() == {"b": Pause(LATER, AT)}

    async def test_the_last_pause_of_a_target_counts(self, store: Store, where: str) -> None:
        """Another end or reason replaces the one before, and a pause that has ended is dropped by the way."""
        async with store():
            pass
        await locate(where, now=lambda: AT).pause({"a": Pause(LATER, AT, "one"), "b": Pause(AT + 1, AT)})
        await locate(where, now=lambda: AT + 2).pause({"a": Pause(LATER + 1, AT + 2, "two")})
        async with store() as ledger:
            assert await ledger.pauses() == {"a": Pause(LATER + 1, AT + 2, "two")}

    async def test_a_renamed_target_stays_paused(self, store: Store, where: str) -> None:
        """Under its new name; where both are paused, the pause of the one that has the entries counts."""
        async with store() as ledger:
            for old in ("a", "b", "c"):
                await ledger.set_place(old, Place("aws", f"us-{old}-1"))
            await locate(where).pause(
                {"a": Pause(LATER, AT, "a"), "new b": Pause(LATER, AT, "b"), "c": Pause(LATER, AT, "c")}
            )
            await locate(where).pause({"new c": Pause(LATER, AT, "not this")})
            for old in ("a", "b", "c"):
                await ledger.rename_target(old, f"new {old}")

            assert await ledger.pauses() == {f"new {name}": Pause(LATER, AT, name) for name in ("a", "b", "c")}

    async def test_there_has_to_be_a_ledger(self, store: Store, where: str) -> None:
        """None is made for a pause, and one that has moved is left alone."""
        location = locate(where)
        with pytest.raises(LedgerError, match="there is no ledger here"):
            await location.pause({"a": Pause(LATER, AT)})
        assert not await location.exists()
        async with store():
            pass
        async with location.lease(everything=True) as leases:
            await location.retire(leases, "elsewhere")
        with pytest.raises(LedgerError, match="has moved to elsewhere"):
            await location.pause({"a": Pause(LATER, AT)})

    async def test_an_older_ledger_is_not_brought_forward_beside_a_run(self, where: str, older: Put) -> None:
        """An earlier version of the program may be using it; the message says what upgrades it."""
        older()
        with pytest.raises(LedgerError, match=r"has schema 1.*such as apply, upgrades it"):
            await locate(where).pause({"a": Pause(LATER, AT)})
