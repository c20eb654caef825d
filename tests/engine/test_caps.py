"""Bounds of a target's run, over fakes and in virtual time."""

from __future__ import annotations

import io
from typing import Any

import pytest

from provisioner.core.verdict import Reply
from provisioner.engine.stop import Stop
from provisioner.errors import Reason
from provisioner.exit_codes import ExitCode, code_for
from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import Manifest
from provisioner.report.statistics import Statistics
from tests.definition_lines import numbered
from tests.fakes import TAG, Act, Endpoint, FakeLedger, make_policy, open_target
from tests.faults.world import UnthreadedEngine
from tests.virtual_time import virtual_time

WORKERS = 4
INVALID = Act(Reply(status=400, code="ValidationException", message="no such image"), effect_s=None)
OTHER = Act(Reply(status=400, code="OtherException", message="odd"), effect_s=None)


async def applied(endpoint: Endpoint, ledger: FakeLedger, count: int, **policy: Any) -> Statistics:
    """A run over ``count`` definitions."""
    statistics = Statistics("here")
    target = open_target(endpoint, ledger, observer=statistics)
    manifest = Manifest(["-"], Rules(ownership_tag=TAG), stdin=io.BytesIO(numbered(count)))
    await UnthreadedEngine(target, make_policy(**policy), Stop(), workers=WORKERS).run(manifest)
    statistics.close()
    return statistics


def counts(statistics: Statistics) -> dict[str, int]:
    """The outcomes that occur."""
    return {outcome.value: number for outcome, number in statistics.outcomes.items() if number}


@virtual_time
async def test_no_more_creates_than_allowed() -> None:
    """--max-create N sends N and leaves the rest pending (75); each run goes on from there, and the last one ends."""
    endpoint, ledger = Endpoint(), FakeLedger()

    first = await applied(endpoint, ledger, 5, max_create=2)
    second = await applied(endpoint, ledger, 5, max_create=2)
    third = await applied(endpoint, ledger, 5, max_create=2)

    assert [counts(one) for one in (first, second, third)] == [
        {"created": 2, "pending": 3},
        {"created": 2, "unchanged": 2, "pending": 1},
        {"created": 1, "unchanged": 4},
    ]
    assert [one.reasons() for one in (first, second, third)] == [{Reason.UNFINISHED}, {Reason.UNFINISHED}, set()]
    assert [one.beyond for one in (first, second, third)] == [3, 1, 0]


@virtual_time
async def test_a_create_that_is_sent_again_counts_once() -> None:
    """Throttled calls are not counted."""
    throttled = Act(Reply(status=429, code="ThrottlingException", message="slow"), effect_s=None)
    endpoint = Endpoint([throttled, throttled])

    statistics = await applied(endpoint, FakeLedger(), 3, max_create=2)

    assert counts(statistics) == {"created": 2, "pending": 1}
    assert endpoint.count("create") == 4


@pytest.mark.parametrize(
    ("bound", "most"), [({"max_failures": 3}, 3), ({"max_failures_share": 0.05}, 60), ({"max_failures": 1}, 1)]
)
def test_ten_thousand_failures_for_one_cause_are_one_message(bound: dict[str, Any], most: int) -> None:
    """The target halts after a few calls: what failed is recorded, and everything else stays planned."""

    @virtual_time
    async def run() -> None:
        endpoint, ledger = Endpoint([INVALID] * 10_000), FakeLedger()

        statistics = await applied(endpoint, ledger, 10_000, **bound)

        failed = counts(statistics)["failed"]
        assert bound.get("max_failures", 3) <= failed <= most + WORKERS
        assert counts(statistics)["pending"] == 10_000 - failed
        assert endpoint.count("create") == failed
        assert statistics.reasons() == {Reason.FAILED}
        assert statistics.halt is not None
        assert statistics.halt.what.split(" ", 2)[2] == (
            "failed with ValidationException, the most that --max-failures allows: "
            "400 ValidationException no such image. Look at `provisioner list --code ValidationException`, then run "
            "again"
        )

    run()


@virtual_time
async def test_failures_for_several_causes_are_counted_apart() -> None:
    """Fewer than the bound for each cause: every definition is tried."""
    endpoint = Endpoint([INVALID, OTHER, INVALID, OTHER])

    statistics = await applied(endpoint, FakeLedger(), 10, max_failures=3)

    assert (counts(statistics), statistics.halt) == ({"failed": 4, "created": 6}, None)


@virtual_time
async def test_failures_for_missing_permissions_end_with_77() -> None:
    """Also where --max-failures ends the run: it is the permission that is to be fixed, not the definitions."""
    denied = Act(Reply(status=403, code="AccessDeniedException", message="not authorized: iam:PassRole"), effect_s=None)

    statistics = await applied(Endpoint([denied] * 10), FakeLedger(), 10, max_failures=2)

    assert statistics.halt is not None
    assert "--max-failures" in statistics.halt.what
    assert code_for(statistics.reasons()) is ExitCode.DENIED


@virtual_time
async def test_a_share_is_one_of_fifty_at_least() -> None:
    """The first failure of a short manifest is not a large share of it."""
    statistics = await applied(Endpoint([INVALID] * 2), FakeLedger(), 4, max_failures_share=0.05)

    assert counts(statistics) == {"failed": 2, "created": 2}
