"""A ledger of another version than the program's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioner.core.entry import State
from provisioner.errors import LedgerError
from tests.ledger.contract.facts import all_of, confirm

if TYPE_CHECKING:
    from tests.ledger.contract.facts import Put, Store


class Migration:
    """Forward by a writer, never by a reader, never backward."""

    async def test_an_older_ledger_is_brought_forward(self, store: Store, older: Put) -> None:
        """A ledger of the first schema opens for writing, with its id, its entries and its paces, and goes on."""
        older()
        for _ in range(2):
            async with store() as ledger:
                assert ledger.ledger_id == "0123456789abcdef"
                assert [(entry.name, entry.attempt) for entry in await all_of(ledger)] == [("a", "a1"), ("b", "a1")]
                assert await ledger.learned("default", "create") == b'{"rate":4.98}'
                assert (await ledger.places(), await ledger.finished("default")) == ({}, None)
                assert [run.run_id for run in await ledger.runs()] == ["run-1"]
        async with store() as ledger:
            await ledger.record([confirm("b", 2)])
            assert {entry.state for entry in await all_of(ledger)} == {State.CREATED}

    async def test_a_reader_brings_nothing_forward(self, store: Store, older: Put) -> None:
        """Opened for reading, an older ledger is left alone, and the message says which commands bring it forward."""
        older()
        for _ in range(2):
            with pytest.raises(LedgerError, match=r"has schema 1.*such as apply, upgrades it"):
                async with store(readonly=True):
                    pass

    @pytest.mark.parametrize("readonly", [False, True])
    async def test_a_newer_ledger_is_refused(self, store: Store, newer: Put, readonly: bool) -> None:  # noqa: FBT001  a parameter of the test
        """A ledger that a newer program wrote is not opened, and the message says what to use."""
        async with store():
            pass
        newer()
        for _ in range(2):
            with pytest.raises(LedgerError, match=r"has schema 99.*Use the newer provisioner"):
                async with store(readonly=readonly):
                    pass
