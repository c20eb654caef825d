"""A create gives up its slot when its reply is there, and is counted when its result is durable. In virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from provisioner.core.entry import Event
from provisioner.core.verdict import Reply
from tests.engine.account import Account, counts, v
from tests.fakes import Act, Endpoint, FakeLedger
from tests.virtual_time import virtual_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.core.entry import Fact

WORKERS = 4
"""Of :meth:`Account.apply`."""
HANGS_S = 60.0
REFUSED = Act(Reply(status=400, code="ValidationException", message="no such image"), effect_s=None)


class SlowDisk(FakeLedger):
    """A ledger whose commits of results take a minute, and which remembers how many waited for one at once."""

    waiting = most = 0

    async def record(self, facts: Sequence[Fact]) -> None:
        """Record; an intent at once."""
        if any(fact.event in {Event.CONFIRM, Event.REJECT} for fact in facts):
            self.waiting += 1
            self.most = max(self.most, self.waiting)
            await anyio.sleep(HANGS_S)
            self.waiting -= 1
        await super().record(facts)


@pytest.mark.parametrize(
    ("endpoint", "most"),
    [(Endpoint, 2 * WORKERS), (lambda: Endpoint([REFUSED] * 40), WORKERS)],
    ids=["created", "refused"],
)
def test_creates_go_on_while_results_are_made_durable(endpoint: Any, most: int) -> None:
    """As many results wait for the disk as creates may be in flight; a refusal keeps its slot until it is recorded."""

    @virtual_time
    async def run() -> None:
        account = Account(endpoint(), ledger=(ledger := SlowDisk()))

        statistics = await account.apply(*(v(f"a{number}") for number in range(40)))

        account.check()
        assert sum(counts(statistics).values()) == 40
        assert statistics.under_way == ledger.waiting == 0
        assert ledger.most == most

    run()


@virtual_time
async def test_a_stop_awaits_results_that_are_not_durable_yet() -> None:
    """What has left its slot is counted all the same, and nothing is left to resolve."""
    account = Account(ledger=SlowDisk())

    async with anyio.create_task_group() as group:

        async def stop() -> None:
            await anyio.sleep(HANGS_S / 2)
            account.stop.request("signal")

        group.start_soon(stop)
        statistics = await account.apply(*(v(f"a{number}") for number in range(40)))

    account.check()
    made = account.endpoint.count("create")
    assert counts(statistics) == {"created": made, "pending": 40 - made}
    assert WORKERS < made < 40
