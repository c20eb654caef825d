"""A paused target: a run sends nothing to it, says so, and leaves its work to a later run. In virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from provisioner.core.pause import Pause
from provisioner.report.plan import plan_text
from provisioner.report.summary import Paused
from provisioner.report.text import one_line
from tests.commands.test_plan import PRUNE, Here, v
from tests.fakes import EPOCH_S, LOST, Endpoint
from tests.virtual_time import virtual_time

if TYPE_CHECKING:
    from pathlib import Path

HOUR = Pause(EPOCH_S + 3600, EPOCH_S, "an audit")
MANY = [v(f"a{number}") for number in range(200)]


@pytest.fixture
def here(tmp_path: Path) -> Here:
    """An empty account and ledger."""
    return Here(tmp_path / "m.jsonl", Endpoint(latency_s=1.0))


async def paused_after(here: Here, seconds: float) -> None:
    """Pause the target in the ledger."""
    await asyncio.sleep(seconds)
    here.ledger.kept_pauses["here"] = HOUR


@pytest.mark.parametrize("given", [{}, PRUNE])
@virtual_time
async def test_nothing_is_sent_to_a_paused_target(here: Here, given: dict[str, bool]) -> None:
    """No call at all; the run ends with 75, and the summary has the end and the reason."""
    here.ledger.kept_pauses["here"] = HOUR
    summary = await here.apply(*MANY, **given)

    assert (summary.exit_code, here.endpoint.calls) == (75, [])
    assert msgspec.to_builtins(summary.targets["here"].paused) == {"until": HOUR.end, "reason": "an audit"}
    assert f"paused    here: until {HOUR.end}: an audit. `provisioner resume here` ends" in summary.text()
    assert one_line(summary).endswith("; paused: here")


@virtual_time
async def test_a_run_under_way_notices_a_pause(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing leaves later than a look after the pause; what was in flight is recorded, and the rest is left."""
    monkeypatch.setattr("provisioner.fleet.pauses.LOOK_EVERY_S", 0.5)
    pausing = asyncio.create_task(paused_after(here, 1.2))
    summary = await here.apply(*MANY)
    await pausing

    made = summary.outcomes["created"]
    assert summary.exit_code == 75
    assert 0 < made == len(here.endpoint.algorithms) < len(MANY)
    assert made + summary.outcomes["pending"] == len(MANY)
    assert max(at for _, at in here.endpoint.calls) <= 1.7
    assert {entry.state.value for entry in here.ledger.table.values()} <= {"created", "planned"}


@virtual_time
async def test_a_run_that_waits_for_the_settle_time_notices_a_pause(here: Here) -> None:
    """It sweeps nothing then, and the unanswered create stays unresolved for the next run."""
    here.endpoint.acts = [LOST]
    pausing = asyncio.create_task(paused_after(here, 60.0))
    summary = await here.apply(v("a"), policy={"settle_s": 300.0, "list_lag_s": 30.0})
    await pausing
    again = here.endpoint.count("list")
    del here.ledger.kept_pauses["here"]
    resolved = await here.apply(policy={"settle_s": 300.0, "list_lag_s": 30.0})

    assert (summary.exit_code, summary.outcomes["ambiguous"], again) == (75, 1, 1)
    assert (resolved.exit_code, resolved.outcomes["recovered"], len(here.endpoint.algorithms)) == (0, 1, 1)


@virtual_time
async def test_a_pause_ends_by_itself(here: Here) -> None:
    """One whose end has passed keeps nothing from being sent."""
    here.ledger.kept_pauses["here"] = HOUR
    await asyncio.sleep(3601)
    summary = await here.apply(v("a"))

    assert (summary.exit_code, summary.outcomes["created"], summary.targets["here"].paused) == (0, 1, None)


@virtual_time
async def test_a_plan_is_made_all_the_same(here: Here) -> None:
    """It only looks; and it says that the target is paused."""
    here.ledger.kept_pauses["here"] = HOUR
    here.write(v("a"))
    plan = await here.plan()

    assert (plan.counts["create"], plan.exit_code, plan.halted) == (1, 0, {})
    assert msgspec.to_builtins(plan.paused) == {"here": {"until": HOUR.end, "reason": "an audit"}}


@virtual_time
async def test_a_plan_says_of_many_targets_in_one_line_that_they_are_paused(here: Here) -> None:
    """A thousand lines would hide the plan; so it is with quotas that are too small, beyond twenty."""
    here.write(v("a"))
    plan, summary = await here.plan(), await here.apply()
    plan.paused = {f"t{number}": Paused(HOUR.end, "") for number in range(1000)}
    plan.quotas = {f"t{number}": "1 of 2 creates will not fit" for number in range(1000)}

    lines = plan_text(plan, summary, everything=False).splitlines()

    names = ", ".join(f"t{number}" for number in range(10))
    until = f"until {HOUR.end}; until then `apply` sends nothing there"
    assert [line for line in lines if line.startswith("paused")] == [
        f"paused    1000 targets ({names} and 990 more) {until}"
    ]
    quotas = [line for line in lines if line.startswith("quota")]
    assert (len(quotas), quotas[-1]) == (21, "quota     and 980 more: --output json has all")
