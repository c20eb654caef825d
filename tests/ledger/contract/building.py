"""A ledger that is made whole or not at all, and one that has moved."""

from __future__ import annotations

import pytest

from provisioner.core.entry import State
from provisioner.errors import LedgerError, UsageError
from provisioner.ledger.location import locate
from tests.ledger.contract.facts import all_of, confirm, intend
from tests.ledger.opening import open_ledger

COPIED = "0123456789abcdef"


class Building:
    """What there is before, during and after a ledger is built, and after it has moved."""

    async def test_a_ledger_appears_when_it_is_whole(self, where: str) -> None:
        """Until then there is none, for whoever asks; afterwards it is one like any other."""
        location = locate(where)
        before = await location.exists()
        async with location.lease(everything=True) as leases, location.build(leases) as building:
            await building.ledger.take_identity(COPIED)
            await building.ledger.record([intend("a"), confirm("a", 1)])
            during = await location.exists()
            with pytest.raises(LedgerError, match="there is no ledger here"):
                async with location.read():
                    pass
            await building.finish()
        async with open_ledger(where) as ledger:
            assert (before, during, await location.exists()) == (False, False, True)
            assert ledger.ledger_id == COPIED
            assert [entry.state for entry in await all_of(ledger)] == [State.CREATED]

    async def test_a_ledger_that_is_not_finished_leaves_nothing(self, where: str) -> None:
        """Neither for the next who builds one, nor for a run that begins with an empty ledger."""
        location = locate(where)
        for name in ("a", "b"):
            async with location.lease(everything=True) as leases, location.build(leases) as building:
                await building.ledger.record([intend(name)])
                assert [entry.name for entry in await all_of(building.ledger)] == [name]
        assert not await location.exists()
        async with open_ledger(where) as ledger:
            assert await all_of(ledger) == []

    async def test_no_ledger_is_built_over_another(self, where: str) -> None:
        """One that is there is left as it is."""
        location = locate(where)
        async with open_ledger(where) as ledger:
            await ledger.record([intend("a")])
        async with location.lease(everything=True) as leases:
            with pytest.raises(UsageError, match="there is a ledger here already"):
                async with location.build(leases):
                    pass
        async with open_ledger(where) as ledger:
            assert [entry.name for entry in await all_of(ledger)] == ["a"]

    async def test_a_copy_is_continued_and_another_is_not(self, where: str) -> None:
        """What was copied of the same ledger is there at the next try; that of another ledger is discarded."""
        location = locate(where)
        found: list[list[str]] = []
        for copy_of in (COPIED, COPIED, "f" * 16):
            async with location.lease(everything=True) as leases, location.build(leases, copy_of=copy_of) as building:
                found.append([entry.name for entry in await all_of(building.ledger)])
                assert building.ledger.ledger_id == copy_of
                await building.ledger.record([intend(f"n{len(found)}")])

        assert found == [[], ["n1"], []]
        assert not await location.exists()

    async def test_a_ledger_that_has_moved_is_only_read(self, where: str) -> None:
        """No run gets it any more, and its message says where it is."""
        location = locate(where)
        async with open_ledger(where) as ledger:
            await ledger.record([intend("a")])
        async with location.lease(everything=True) as leases:
            assert await location.moved_to() == ""
            await location.retire(leases, "elsewhere")
        for _ in range(2):
            with pytest.raises(LedgerError, match="has moved to elsewhere"):
                async with open_ledger(where):
                    pass
        async with open_ledger(where, readonly=True) as ledger:
            assert await location.moved_to() == "elsewhere"
            assert [entry.name for entry in await all_of(ledger)] == ["a"]
