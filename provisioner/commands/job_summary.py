"""What the workers of a job did, as the summary of one run: for the process that started them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from provisioner.commands.apply import note_changes
from provisioner.commands.finding import fates_of
from provisioner.commands.runs import exit_code_of
from provisioner.commands.session import CLOSED_BY_S
from provisioner.core.entry import Outcome
from provisioner.engine.observer import Halt
from provisioner.errors import LedgerError, ProvisionerError, Reason, heaviest
from provisioner.exit_codes import reason_for
from provisioner.ledger.location import locate
from provisioner.report.statistics import Statistics
from provisioner.report.summary import JobPart, Started

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.commands.run import Run
    from provisioner.commands.workers import Part
    from provisioner.ledger.jobs import JobRecord, TargetResult
    from provisioner.report.summary import Summary


class Workers(msgspec.Struct, kw_only=True):
    """The workers of a job, as the process saw them that started them.

    Attributes:
        number: how many there were at a time.
        parts: what each of them has done, by run, also of those that died; the first that began first.
        died: how often one of them has died.
        gone: why those have died that were not started again.
        unplaced: how many never had a place to run.
    """

    number: int
    parts: dict[str, Part] = {}
    died: int = 0
    gone: list[str] = []
    unplaced: int = 0


class WorkersError(ProvisionerError):
    """What ended the workers of a job before it was finished.

    Args:
        reason: the kind of the error.
        what: for people.
    """

    def __init__(self, reason: Reason, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what, why=why, hint=hint)
        self.reason = reason


async def whole(run: Run, job: str, workers: Workers) -> Summary:
    """The summary of what all workers of ``job`` did, in place of those of their own.

    Args:
        run: of the process that started them.
        job: of the workers.
        workers: those.
    """
    record, error, parts = None, None, [*workers.parts.values()]
    try:
        with run.stop.ends_by(CLOSED_BY_S):
            location = locate(run.order.settings.run.ledger)
            record = await location.jobs().find(job)
            async with location.read() as ledger:
                policy = run.order.policy
                run.superseded = await fates_of(ledger, run.statistics, policy.keep, adopted=policy.adopted)
    except LedgerError as raised:
        error = raised
    run.statistics = together([*run.statistics], parts, record)
    note_changes(run)
    left = sum(not one.result for one in record.targets) if record else len(run.statistics)
    opened = max((part.job.open for part in parts if part.job), default=len(run.statistics))
    if record is not None:
        started = Started(workers.died, len(workers.gone), workers.unplaced)
        run.job = JobPart(job, len(run.statistics), opened, left, workers.number, started=started)
        if code := exit_code_of(record):
            run.reasons.add(reason_for(code))
    return run.summary(error=error or (ended_by(parts, workers.gone) if left else None))


def together(targets: Sequence[str], parts: Sequence[Part], record: JobRecord | None) -> dict[str, Statistics]:
    """The statistics of one run that did what the workers did.

    Outcomes are those that ``runs --job`` has: of the worker that finished the target. Calls are those of all workers.

    Args:
        targets: of the job.
        parts: of every worker, of those that died as well; the first that began first.
        record: of the job, None if no worker came to join it.
    """
    results = {one.target: one for one in record.targets if one.result} if record else {}
    merged = {}
    for name in targets:
        result = results.get(name)
        had = [part for part in parts if name in part.statistics]
        finished = [part for part in had if result is not None and part.run_id == result.run_id]
        chosen = (finished or had)[-1:]
        one = merged[name] = chosen[0].statistics[name] if chosen else Statistics(name)
        one.calls = sum((part.statistics[name].calls for part in had), Counter())
        if result is not None:
            _finish(one, result)
    return merged


def _finish(statistics: Statistics, result: TargetResult) -> None:
    """Complete what was last seen of a worker, which may have died since, by what the ledger has."""
    statistics.outcomes = Counter({Outcome(outcome): number for outcome, number in result.outcomes.items()})
    statistics.valid = sum(result.outcomes.values())
    statistics.lines = max(statistics.lines, statistics.valid)
    statistics.whole = True
    if result.exit_code and result.message:
        statistics.target_halted(Halt(reason_for(result.exit_code), result.message))


def ended_by(parts: Sequence[Part], gone: Sequence[str]) -> ProvisionerError | None:
    """The error that counts most, of those that ended the workers of a job that is not finished; None if none did.

    Args:
        parts: of the workers.
        gone: why workers have died that were not started again.
    """
    errors = dict(reversed([part.error for part in parts if part.error]))
    if reason := heaviest(errors):
        return WorkersError(reason, errors[reason])
    if gone:
        hint = "Look at its log (`ray logs`), then run again with the same --job to go on"
        return WorkersError(Reason.UNFINISHED, "a worker died and was not restarted", why=gone[0], hint=hint)
    return None
