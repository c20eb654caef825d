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
    """Count ``job`` as ``outcome``, or as drifted if what was found differs from the manifest.

    Args:
        target: of the job.
        problems: records a drift.
        job: the entry of its definition is created.
        outcome: recovered or adopted.
        before: its outcome until now, None if it had none.
    """
    entry = (await target.ledger.look_up(target.name, [job.name]))[job.name]
    step = plan(target.name, job.row, entry, retry_failed=False)
    await target.ledger.record(step.facts)
    if step.outcome is Outcome.DRIFTED:
        target.observer.outcome_changed(Outcome.DRIFTED, before)
        await problems.add_row(job.row, step.outcome, step.reason)
    else:
        target.observer.outcome_changed(outcome, before)
