"""What is about to be sent while the lease is in doubt. In virtual time."""

from __future__ import annotations

import pytest

from provisioner.core.entry import Event, State
from provisioner.errors import LedgerLockedError, UnsureLeaseError
from provisioner.ledger.lease import OvertakenError
from tests.engine.account import Account, counts, v
from tests.fakes import FakeLedger
from tests.virtual_time import virtual_time


class Fenced(FakeLedger):
    """A ledger that refuses commits once another run has the lease, as every ledger does."""

    taken = False

    async def record(self, facts: object) -> None:
        """Record, unless it is another's."""
        if self.taken:
            raise OvertakenError("memory", target="here", why="it was suspended", hint="run again")
        await super().record(facts)  # type: ignore[arg-type]


@virtual_time
async def test_a_process_that_was_suspended_goes_on_if_nobody_took_its_lease() -> None:
    """What it was about to send is withdrawn and sent again: once, and with nothing left to resolve."""
    account = Account()
    account.lease.unsure = 3
    statistics = await account.apply(*(v(f"a{number}") for number in range(5)))

    account.check()
    assert counts(statistics) == {"created": 5}
    assert len(account.endpoint.algorithms) == account.endpoint.count("create") == 5
    assert statistics.under_way == 0
    released = [fact for _, facts in account.ledger.commits for fact in facts if fact.event is Event.RELEASE]
    assert [fact.code for fact in released] == ["stale"] * 3


@virtual_time
async def test_a_process_that_was_suspended_learns_that_another_has_its_lease() -> None:
    """It sends nothing; the run that has the lease resolves what this one had intended."""
    account = Account(ledger=(ledger := Fenced()))

    def taken() -> None:
        ledger.taken = True
        account.lease.check = checked  # type: ignore[method-assign]
        checked()

    checked, account.lease.unsure = account.lease.check, 1
    account.lease.check = taken  # type: ignore[method-assign]
    with pytest.raises(ExceptionGroup) as raised:
        await account.apply(v("a"))

    assert raised.group_contains(LedgerLockedError)
    assert not raised.group_contains(UnsureLeaseError)
    assert account.endpoint.count("create") == 0
    assert ledger.table["here", "a"].state is State.SENT
