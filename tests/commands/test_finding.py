"""Runs and entries that are looked for."""

from __future__ import annotations

from provisioner.commands.finding import Cause, Example, find_run_id
from provisioner.ledger import RunRecord
from tests.fakes import FakeLedger


async def test_the_last_run_is_none_of_the_command_that_asks() -> None:
    """What a `destroy --run last` that died has begun, the next one goes on with: both are about the same run."""
    ledger = FakeLedger()
    for number, command in enumerate(("apply", "destroy", "destroy")):
        await ledger.begin_run(RunRecord(f"run {number}", command, float(number)))

    assert await find_run_id(ledger, "last") == "run 2"
    assert await find_run_id(ledger, "last", asking="destroy") == "run 0"


def test_the_message_of_a_group_names_no_single_algorithm() -> None:
    """An ARN that only the first has would read as if it were that of all; one that all have stays."""
    arns = [f"arn:aws:cleanrooms-ml:us-east-1:1:configured-model-algorithm/{number}" for number in range(2)]
    one, other = (
        Example("default", f"n{number}", f"changed since {arn} was created") for number, arn in enumerate(arns)
    )

    assert Cause("drifted", "drifted", 2, [one, other]).message == "changed since its algorithm was created"
    assert Cause("drifted", "drifted", 2, [one, one]).message == f"changed since {arns[0]} was created"
