"""Counts a definition whose algorithm a sweep has found in AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.core.entry import Outcome
from provisioner.core.planner import Action, Planner, Situation

if TYPE_CHECKING:
    from provisioner.core.policy import Policy
    from provisioner.engine.job import Job
    from provisioner.engine.problems import ProblemLog
    from provisioner.engine.target import OpenTarget


async def count_found(target: OpenTarget, policy: Policy, problems: ProblemLog, job: Job, outcome: Outcome) -> None:
    """Count ``job`` as ``outcome`` instead of ambiguous, or as drifted if what was found differs from the manifest.

    Args:
        target: of the job.
        policy: the rules of the run.
        problems: records a drift.
        job: the entry of its definition is created.
        outcome: recovered or adopted.
    """
    entry = (await target.ledger.look_up(target.name, [job.name]))[job.name]
    step = Planner(target.name, policy, target.ledger.ledger_id).plan(job.row, Situation(entry))
    if step.action is Action.UNCHANGED:
        await target.ledger.record(step.facts)
        target.observer.outcome_changed(outcome, Outcome.AMBIGUOUS)
        return
    await target.ledger.record(step.facts)
    target.observer.outcome_changed(Outcome.DRIFTED, Outcome.AMBIGUOUS)
    await problems.add_row(job.row, Outcome.DRIFTED, f"{step.reason}. Run again")
