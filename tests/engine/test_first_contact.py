"""The first look at an account before anything is created in it, over fakes and in virtual time."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest

from provisioner.core.entry import Entry, Outcome, State
from provisioner.core.ownership import OwnershipTag
from provisioner.core.verdict import Reply
from provisioner.engine.stop import Stop
from provisioner.errors import Reason
from provisioner.manifest.definition import Definition
from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import Manifest
from provisioner.report.statistics import Statistics
from tests.definition_lines import manifest_of
from tests.fakes import LEDGER_ID, ROLE, TAG, Algorithm, Endpoint, FakeLedger, make_policy, open_target
from tests.faults.world import UnthreadedEngine
from tests.virtual_time import virtual_time

OTHER_LEDGER_ID = "00000000000000bb"


def put(endpoint: Endpoint, name: str, ledger_id: str = "", description: str = "", *, since: float = 0.0) -> Algorithm:
    """What an earlier create made, with the ownership tag of ``ledger_id`` unless that is empty."""
    definition = Definition(name=name, role_arn=ROLE)
    one = (msgspec.structs.replace(definition, description=description) if description else definition).canonical()
    tags = {TAG: str(OwnershipTag(ledger_id, one.digest, "old-1"))} if ledger_id else {}
    return endpoint.put(one.request(tags), since=since)


async def applied(endpoint: Endpoint, ledger: FakeLedger, *names: str, **policy: Any) -> Statistics:
    """A run over definitions of these names."""
    statistics = Statistics("here")
    target = open_target(endpoint, ledger, observer=statistics)
    manifest = Manifest(["-"], Rules(ownership_tag=TAG), stdin=io.BytesIO(manifest_of(*names)))
    await UnthreadedEngine(target, make_policy(**policy), Stop(), workers=4).run(manifest)
    statistics.close()
    return statistics


def counts(statistics: Statistics) -> dict[str, int]:
    """The outcomes that occur."""
    return {outcome.value: number for outcome, number in statistics.outcomes.items() if number}


@virtual_time
async def test_a_ledger_that_went_back_in_time_recovers_what_it_lost() -> None:
    """Algorithms with our tag that the ledger does not know are recovered; nothing is made twice."""
    endpoint, ledger = Endpoint(), FakeLedger()
    lost = {name: put(endpoint, name, LEDGER_ID).arn for name in "abc"}

    statistics = await applied(endpoint, ledger, *"abcde")

    assert counts(statistics) == {"recovered": 3, "created": 2}
    assert {name: ledger.table["here", name].arn for name in "abc"} == lost
    assert ledger.table["here", "a"].code == "recovered"
    assert endpoint.count("create") == 2


@virtual_time
async def test_another_ledgers_algorithm_is_refused_and_decided_anew() -> None:
    """What another ledger created is not created again but failed, with that ledger's id; each run decides anew."""
    endpoint, ledger = Endpoint(), FakeLedger()
    there = put(endpoint, "a", OTHER_LEDGER_ID)

    first = await applied(endpoint, ledger, "a", "b")
    del endpoint.algorithms[there.arn]
    second = await applied(endpoint, ledger, "a", "b")

    assert counts(first) == {"failed": 1, "created": 1}
    assert OTHER_LEDGER_ID in first.problems[0].message
    assert first.problems[0].code == "other_ledger"
    assert first.reasons() == {Reason.FAILED}
    assert counts(second) == {"created": 1, "unchanged": 1}


@virtual_time
async def test_another_ledgers_algorithms_are_taken_over_when_asked() -> None:
    """With --take-over and the other ledger's id, its algorithms are adopted."""
    endpoint, ledger = Endpoint(), FakeLedger()
    there = put(endpoint, "a", OTHER_LEDGER_ID)

    statistics = await applied(endpoint, ledger, "a", take_over=OTHER_LEDGER_ID)

    assert counts(statistics) == {"adopted": 1}
    assert ledger.table["here", "a"].arn == there.arn


@virtual_time
async def test_what_is_recovered_may_have_drifted() -> None:
    """A recovered algorithm of an older definition is drifted, and names what it was created as."""
    endpoint, ledger = Endpoint(), FakeLedger()
    put(endpoint, "a", LEDGER_ID, description="older")

    statistics = await applied(endpoint, ledger, "a")

    assert counts(statistics) == {"drifted": 1}
    assert ledger.state("a") is State.DRIFTED


@virtual_time
async def test_the_first_look_costs_a_page_for_a_hundred_and_no_get() -> None:
    """Where no name matches, List is read once and Get never, also where nothing turns out to be created."""
    endpoint, ledger = Endpoint(page_size=10), FakeLedger()
    for number in range(95):
        put(endpoint, f"other-{number}")

    first = await applied(endpoint, ledger, "a", "b")
    second = await applied(endpoint, ledger, "a", "b")

    assert (first.calls["list"], first.calls["get"], first.calls["create"]) == (10, 0, 2)
    assert dict(second.calls) == {"list": 10}


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Reply(status=500, request_id="r"), Reason.UNFINISHED),
        (Reply(status=403, code="AccessDeniedException"), Reason.DENIED),
    ],
)
def test_without_a_whole_list_nothing_is_created(failure: Reply, reason: Reason) -> None:
    """A List that breaks off or is denied sends no create: the definitions stay planned, and the run says why."""

    @virtual_time
    async def body() -> None:
        endpoint, ledger = Endpoint(), FakeLedger()
        endpoint.list_failures = [failure] * 8

        statistics = await applied(endpoint, ledger, "a", "b")

        assert endpoint.count("create") == 0
        assert counts(statistics) == {"pending": 2}
        assert statistics.reasons() == {reason}

    body()


@virtual_time
async def test_what_is_listed_and_cannot_be_read_is_left_for_the_next_run() -> None:
    """Where Get has no certain answer about an algorithm of the name, that definition is not created."""
    endpoint, ledger = Endpoint(), FakeLedger()
    put(endpoint, "a", LEDGER_ID)
    endpoint.get_failures = [Reply(status=404, code="ResourceNotFoundException", request_id="r")]

    first = await applied(endpoint, ledger, "a", "b")
    second = await applied(endpoint, ledger, "a", "b")

    assert counts(first) == {"pending": 1, "created": 1}
    assert counts(second) == {"recovered": 1, "unchanged": 1}


@virtual_time
async def test_a_twin_is_taken_up_where_the_recorded_one_is_gone() -> None:
    """If the recorded algorithm was deleted and a duplicate of it exists, the duplicate is recovered."""
    endpoint = Endpoint()
    twin = put(endpoint, "a", LEDGER_ID)
    ledger = FakeLedger([Entry("here", "a", State.DELETED, "d", "t", arn=twin.arn.replace("0000", "9999"))])

    statistics = await applied(endpoint, ledger, "a")

    assert counts(statistics) == {"recovered": 1}
    assert ledger.table["here", "a"].arn == twin.arn


@virtual_time
async def test_duplicates_that_a_run_sees_are_no_success() -> None:
    """Of two algorithms of this ledger under one name one is kept and one reported, and the run ends with 5."""
    endpoint, ledger = Endpoint(), FakeLedger()
    put(endpoint, "a", LEDGER_ID)
    put(endpoint, "a", LEDGER_ID)

    statistics = await applied(endpoint, ledger, "a")

    assert counts(statistics) == {Outcome.RECOVERED: 1}
    assert [problem.code for problem in statistics.problems] == ["duplicate"]
    assert statistics.reasons() == {Reason.AMBIGUOUS}
