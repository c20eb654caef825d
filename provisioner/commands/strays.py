"""What earlier runs have found in a target and no entry names: a run that changes the target reports it again."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from provisioner.engine.problems import ProblemLog
from provisioner.engine.strays import known, report_again

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from provisioner.commands.run import Run
    from provisioner.engine.target import OpenTarget


@asynccontextmanager
async def strays_reported(run: Run, target: OpenTarget) -> AsyncIterator[None]:
    """Report at the end what was known at the beginning, as long as it is there; not if the run is stopped."""
    before = await known(target.ledger, target.name)
    yield
    if not (run.stop.requested or run.statistics[target.name].halt):
        problems = ProblemLog(target.name, target.ledger, target.observer)
        await report_again(target, run.order.policy.ownership_tag, problems, before)
