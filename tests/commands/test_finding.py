"""Runs and entries that are looked for."""

from __future__ import annotations

from provisioner.commands.finding import find_run_id
from provisioner.ledger import RunRecord
from tests.fakes import FakeLedger


async def test_the_last_run_is_none_of_the_command_that_asks() -> None:
    """What a `destroy --run last` that died has begun, the next one goes on with: both are about the same run."""
    ledger = FakeLedger()
    for number, command in enumerate(("apply", "destroy", "destroy")):
        await ledger.begin_run(RunRecord(f"run {number}", command, float(number)))

    assert await find_run_id(ledger, "last") == "run 2"
    assert await find_run_id(ledger, "last", asking="destroy") == "run 0"
