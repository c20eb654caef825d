"""Runs and entries that are looked for."""

from __future__ import annotations

from provisioner.commands.finding import Cause, Example, find_run_id, names_of
from provisioner.core.selection import Selection
from provisioner.ledger import RunRecord
from tests.fakes import FakeLedger
from tests.ledger.contract.facts import intend


async def test_the_last_run_is_none_of_the_command_that_asks() -> None:
    """What a `destroy --run last` that died has begun, the next one goes on with: both are about the same run."""
    ledger = FakeLedger()
    for number, command in enumerate(("apply", "destroy", "destroy")):
        await ledger.begin_run(RunRecord(f"run {number}", command, float(number)))

    assert await find_run_id(ledger, "last") == "run 2"
    assert await find_run_id(ledger, "last", asking="destroy") == "run 0"


async def test_a_run_never_means_itself() -> None:
    """By the time it looks for the last run, or one whose id begins alike, it is in the ledger as well."""
    ledger = FakeLedger()
    for number in range(3):
        await ledger.begin_run(RunRecord(f"run {number}", "apply", float(number)))

    assert await find_run_id(ledger, "last", own="run 2") == "run 1"
    assert await find_run_id(ledger, "run 1", own="run 2") == "run 1"
    await ledger.begin_run(RunRecord("walk 0", "apply", 3.0))
    await ledger.begin_run(RunRecord("walk 1", "apply", 4.0))
    assert await find_run_id(ledger, "walk", own="walk 1") == "walk 0"


async def test_apply_and_verify_select_what_the_run_before_them_changed() -> None:
    """They are in the ledger themselves by then. A verify that is typed again is about the same run."""
    ledger = FakeLedger()
    last, selected = Selection(run="last"), []
    for run_id, command, asking in (("r1", "apply", ""), ("r2", "apply", ""), ("r3", "verify", "verify")):
        await ledger.begin_run(RunRecord(run_id, command, 0.0))
        if run_id != "r1":
            test = await names_of(ledger, last, "default", own=run_id, asking=asking)
            selected.append({name for name in ("a r1", "a r2") if test is None or test(name)})
        await ledger.record([intend(f"a {run_id}")])
    await ledger.begin_run(RunRecord("r4", "verify", 0.0))
    again = await names_of(ledger, last, "default", own="r4", asking="verify")

    assert selected == [{"a r1"}, {"a r2"}]
    assert again is not None
    assert again("a r2")
    assert not again("a r1")


def test_the_message_of_a_group_names_no_single_algorithm() -> None:
    """An ARN that only the first has would read as if it were that of all; one that all have stays."""
    arns = [f"arn:aws:cleanrooms-ml:us-east-1:1:configured-model-algorithm/{number}" for number in range(2)]
    one, other = (
        Example("default", f"n{number}", f"changed since {arn} was created") for number, arn in enumerate(arns)
    )

    assert Cause("drifted", "drifted", 2, [one, other]).message == "changed since its algorithm was created"
    assert Cause("drifted", "drifted", 2, [one, one]).message == f"changed since {arns[0]} was created"
