"""Who may hold an ARN, a name or an identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioner.core.entry import Event, Fact, State
from provisioner.errors import IntegrityError, LedgerError
from tests.ledger.contract.facts import all_of, arn, confirm, intend

if TYPE_CHECKING:
    from tests.ledger.contract.facts import Store


class Claims:
    """Who may hold an ARN, a name or an identity."""

    async def test_an_arn_belongs_to_one_entry(self, store: Store) -> None:
        """An ARN that another entry with an existing algorithm holds is refused, also across targets."""
        async with store() as ledger:
            await ledger.record([intend("a"), confirm("a", 1), intend("b", target="other")])
            with pytest.raises(IntegrityError, match="a"):
                await ledger.record([confirm("b", 1, target="other")])
            with pytest.raises(IntegrityError):
                await ledger.record([intend("c"), confirm("c", 2), intend("d"), confirm("d", 2)])

            assert (await ledger.look_up("other", ["b"]))["b"].state is State.SENT

    async def test_an_arn_is_free_when_its_algorithm_is_gone(self, store: Store) -> None:
        """Two entries may exchange their ARNs in one record, and a deleted algorithm holds none."""
        async with store() as ledger:
            await ledger.record([confirm("a", 1), confirm("b", 2)])
            gone = [Fact("default", name, Event.REPLAN) for name in ("a", "b")]
            await ledger.record([*gone, confirm("a", 2), confirm("b", 1)])
            await ledger.record([Fact("default", "a", Event.DELETE)])
            await ledger.record([confirm("c", 2)])
            held = {entry.name: entry.arn for entry in await all_of(ledger) if entry.exists}

            assert held == {"b": arn(1), "c": arn(2)}

    async def test_an_empty_ledger_may_take_an_identity(self, store: Store) -> None:
        """A ledger without entries bears the id that it is given, for good; one with entries keeps its own."""
        async with store() as ledger:
            await ledger.take_identity("0123456789abcdef")
            told = ledger.ledger_id
            await ledger.record([intend("a")])
            with pytest.raises(LedgerError, match="keeps its identity"):
                await ledger.take_identity("fedcba9876543210")
        async with store() as ledger:
            assert (told, ledger.ledger_id) == ("0123456789abcdef", "0123456789abcdef")
