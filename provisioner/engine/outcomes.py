"""Counts a definition whose algorithm was found in AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.core.entry import Outcome
from provisioner.core.planner import plan

if TYPE_CHECKING:
    from provisioner.engine.job import Job
    from provisioner.engine.problems import ProblemLog
    from provisioner.engine.target import OpenTarget


async def count_found(
    target: OpenTarget, problems: ProblemLog, job: Job, outcome: Outcome, before: Outcome | None = None
) -> None:
    """Count ``job`` as ``outcome``; or as drifted, where what was found is of another definition than the manifest's.

    Args:
        target: where it is.
        problems: takes a drift.
        job: its entry is created.
        outcome: recovered or adopted.
        before: what it counted as until now, None for nothing.
    """
    entry = (await target.ledger.look_up(target.name, [job.name]))[job.name]
    step = plan(target.name, job.row, entry, retry_failed=False)
    await target.ledger.record(step.facts)
    if step.outcome is Outcome.DRIFTED:
        target.observer.outcome_changed(Outcome.DRIFTED, before)
        await problems.add_row(job.row, step.outcome, step.reason)
    else:
        target.observer.outcome_changed(outcome, before)
