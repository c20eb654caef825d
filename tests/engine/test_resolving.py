"""What a run does about creates that were not answered, from the lost reply to its end, over fakes in virtual time."""

from __future__ import annotations

import pytest

from provisioner.core.entry import Entry, State
from provisioner.core.verdict import Reply
from provisioner.engine.answers import BROKEN_SWEEPS
from provisioner.engine.retry import READ_ATTEMPTS
from tests.engine.test_first_contact import applied, counts, put
from tests.fakes import DROPPED, LEDGER_ID, LOST, Endpoint, FakeLedger, now
from tests.virtual_time import virtual_time

UNAVAILABLE = Reply(status=500, code="InternalFailure", request_id="r")
GONE = Reply(status=404, code="ResourceNotFoundException", request_id="r")


@virtual_time
async def test_a_deleted_algorithm_that_is_still_listed_is_not_what_the_lost_create_made() -> None:
    """The entry keeps the ARN of what was deleted, so that a sweep of the same run does not recover it."""
    endpoint = Endpoint([DROPPED])
    old = put(endpoint, "a", LEDGER_ID)
    ledger = FakeLedger([Entry("here", "a", State.DELETED, "d", "t", arn=old.arn)])

    statistics = await applied(endpoint, ledger, "a")

    assert counts(statistics) == {"created": 1}
    assert ledger.table["here", "a"].arn == endpoint.named("a")[-1].arn != old.arn


@virtual_time
async def test_nothing_is_waited_for_when_all_is_resolved() -> None:
    """A sweep that could not read everything, but resolved every create, ends the run at once."""
    endpoint, ledger = Endpoint([LOST]), FakeLedger()
    put(endpoint, "a stranger's", since=5.0)
    endpoint.get_failures = [None, GONE]

    statistics = await applied(endpoint, ledger, "a")

    assert counts(statistics) == {"recovered": 1}
    assert now() == pytest.approx(max(at for _, at in endpoint.calls), abs=1.0)


@virtual_time
async def test_nothing_is_waited_for_after_the_last_broken_sweep() -> None:
    """When List fails again and again, the run gives up right after its last sweep."""
    endpoint, ledger = Endpoint([LOST]), FakeLedger()
    endpoint.list_failures = [None] + [UNAVAILABLE] * BROKEN_SWEEPS * READ_ATTEMPTS

    statistics = await applied(endpoint, ledger, "a")

    assert counts(statistics) == {"ambiguous": 1}
    assert endpoint.count("list") == 1 + BROKEN_SWEEPS * READ_ATTEMPTS
    assert now() == pytest.approx(max(at for _, at in endpoint.calls), abs=1.0)
