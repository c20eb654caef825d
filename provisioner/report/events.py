"""Log events of a run: ``noun.verb_past``, with the run's id in each, and the target where it concerns one.

docs/logging.md lists every event with its level and its fields.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from provisioner import __version__
from provisioner.core.verdict import Verdict
from provisioner.engine.observer import Observer, Stage
from provisioner.errors import Reason
from provisioner.logger import log
from provisioner.report.summary import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from structlog.typing import FilteringBoundLogger

    from provisioner.core.pause import Pause
    from provisioner.core.problem import Problem
    from provisioner.engine.observer import Attempt, Halt
    from provisioner.report.summary import Summary

TARGETS_NAMED = 20
"""Most targets that the event of a run's start names: a line must not grow with the fleet."""


def run_started(run_id: str, command: str, ledger: str, targets: Sequence[str]) -> None:
    """Log the start of a run."""
    log.info(
        "run.started",
        run_id=run_id,
        command=command,
        version=__version__,
        ledger=ledger,
        targets=list(targets[:TARGETS_NAMED]),
        targets_total=len(targets),
    )


def organization_asked(run_id: str, *, accounts: int, skipped: Sequence[str], asked_at: float, failure: str) -> None:
    """Log what AWS Organizations answered, or that an earlier answer is used, and which accounts are no targets."""
    if failure:
        log.warning("organization.unreachable", run_id=run_id, why=failure, accounts=accounts, asked_at=iso(asked_at))
    else:
        log.info("organization.asked", run_id=run_id, accounts=accounts)
    if skipped:
        log.warning(
            "accounts.skipped",
            run_id=run_id,
            accounts=list(skipped[:TARGETS_NAMED]),
            accounts_total=len(skipped),
            why="they are not active; `exclude` in [fleet.organizations] silences this",
        )


def job_joined(job: str, targets: int, left: int) -> None:
    """The run is a worker of a job that has ``targets``; ``left`` of them have no result yet."""
    log.info("job.joined", job=job, targets=targets, left=left)


def job_waiting(job: str, left: int) -> None:
    """Other workers, or other runs, have all targets of a job that are ``left``."""
    log.info("job.waiting", job=job, left=left)


def worker_began(worker: int, job: str, run_id: str) -> None:
    """A worker that this process started has a place; ``run_id`` is that of its run."""
    log.info("worker.began", worker=worker, job=job, worker_run_id=run_id)


def worker_died(worker: int, job: str, why: str) -> None:
    """A worker that this process started has died."""
    log.warning("worker.died", worker=worker, job=job, why=why)


def run_finished(summary: Summary, command: str) -> None:
    """Log the end of a run, and the error that ended it if one did."""
    if summary.error:
        log.error("run.failed", run_id=summary.run_id, command=command, exit_code=summary.exit_code, why=summary.error)
    log.info(
        "run.finished",
        run_id=summary.run_id,
        command=command,
        exit_code=summary.exit_code,
        duration_s=summary.elapsed_s,
        ledger=summary.ledger,
        targets_total=len(summary.targets),
        lines=summary.manifest.lines,
        outcomes=_nonzero(summary.outcomes),
        calls=_nonzero(summary.calls),
        problems_total=summary.problems_total,
        superseded=summary.superseded,
        pruned=summary.pruned,
        stopped=summary.stopped,
        version=__version__,
    )


def _nonzero(counts: Mapping[str, int]) -> dict[str, int]:
    return {what: number for what, number in counts.items() if number}


class EventLog(Observer):
    """Logs one target's run.

    Args:
        target: its name.
        run_id: of the run.
        monotonic: the clock of the run.
    """

    def __init__(self, target: str, run_id: str, monotonic: Callable[[], float]) -> None:
        self._target = target
        self._run_id = run_id
        self._monotonic = monotonic
        self._said: set[object] = set()
        self._waiting: tuple[str, float] | None = None
        self._outages: dict[str, float] = {}
        self._bound: FilteringBoundLogger | None = None

    @property
    def _log(self) -> FilteringBoundLogger:
        """The logger, bound at the first event: a program may configure structlog until the run begins."""
        if self._bound is None:
            self._bound = log.bind(run_id=self._run_id)  # type: ignore[assignment]  # has the methods of this one
        return self._bound  # type: ignore[return-value]  # it is set

    def _is_new(self, what: object) -> bool:
        """Whether ``what`` was not logged yet: a run that plans before it acts opens each target twice."""
        new = what not in self._said
        self._said.add(what)
        return new

    def target_opened(self, region: str, account_id: str) -> None:
        """See :class:`Observer`."""
        if self._is_new((region, account_id)):
            self._log.info("target.opened", target=self._target, region=region, account_id=account_id or None)

    def problem_found(self, problem: Problem) -> None:
        """See :class:`Observer`. A problem of a line concerns every target, and is reported once."""
        self._log.log(
            logging.WARNING if problem.severity == "problem" else logging.INFO,
            "definition.reported",
            target=problem.target or None,
            source=problem.source or None,
            line=problem.line or None,
            column=problem.column or None,
            name=problem.name or None,
            severity=problem.severity,
            code=problem.code,
            message=problem.message,
        )

    def attempt_ended(self, attempt: Attempt) -> None:
        """See :class:`Observer`. An unanswered one is a warning, because only a sweep can resolve it."""
        reply = attempt.reply
        self._log.debug(
            "attempt.ended",
            target=self._target,
            operation=attempt.operation,
            name=attempt.name,
            number=attempt.number,
            attempt=attempt.attempt,
            verdict=attempt.verdict,
            latency_s=round(attempt.seconds, 4),
            request_id=reply.request_id or None,
            status=reply.status or None,
            code=reply.code or reply.loss,
            why=reply.message or None,
            # Of another verdict, the ARN may be anything that a server that is not AWS has made up.
            arn=reply.arn if attempt.verdict is Verdict.CREATED else None,
        )
        if attempt.verdict is Verdict.AMBIGUOUS:
            self._log.warning(
                "attempt.unanswered",
                target=self._target,
                operation=attempt.operation,
                name=attempt.name,
                attempt=attempt.attempt,
                request_id=reply.request_id or None,
                code=reply.code or reply.loss or str(reply.status),
                why=reply.message or None,
            )

    def read_failed(self, kind: str, where: str, why: str) -> None:
        """See :class:`Observer`."""
        self._log.warning("read.failed", target=self._target, operation=kind, where=where or None, why=why)

    def notice_found(self, notice: str) -> None:
        """See :class:`Observer`."""
        if self._is_new(notice):
            self._log.warning("target.noticed", target=self._target, message=notice)

    def pace_published(self, rate_per_s: float | None) -> None:
        """See :class:`Observer`."""
        self._log.info("pace.published", target=self._target, rate_per_s=rate_per_s)

    def throttling_began(self, pace_per_s: float) -> None:
        """See :class:`Observer`."""
        self._log.info("throttling.began", target=self._target, pace_per_s=round(pace_per_s, 2))

    def outage_began(self, operation: str, why: str) -> None:
        """See :class:`Observer`."""
        self._outages[operation] = self._monotonic()
        self._log.warning("outage.began", target=self._target, operation=operation, why=why)

    def outage_ended(self, operation: str) -> None:
        """See :class:`Observer`. A warning too: who was woken by the outage wants to know."""
        if (since := self._outages.pop(operation, None)) is not None:
            duration_s = round(self._monotonic() - since, 1)
            self._log.warning("outage.ended", target=self._target, operation=operation, duration_s=duration_s)

    def waiting_began(self, what: str, until: float) -> None:
        """See :class:`Observer`."""
        now = self._monotonic()
        self._waiting = what, now
        wait_s = round(max(0.0, until - now), 1) if until else None
        self._log.info("wait.began", target=self._target, what=what, wait_s=wait_s)

    def waiting_ended(self) -> None:
        """See :class:`Observer`."""
        if self._waiting is not None:
            (what, since), self._waiting = self._waiting, None
            duration_s = round(self._monotonic() - since, 3)
            self._log.debug("wait.ended", target=self._target, what=what, duration_s=duration_s)

    def resolving_ended(self, left: int) -> None:
        """See :class:`Observer`. It ends the wait for the settle time."""
        del left
        self.waiting_ended()

    def sweep_ended(self, *, complete: bool, resolved: Mapping[str, int], left: int) -> None:
        """See :class:`Observer`."""
        self._log.info(
            "sweep.finished", target=self._target, complete=complete, resolved=sum(resolved.values()), unresolved=left
        )

    def target_paused(self, pause: Pause) -> None:
        """See :class:`Observer`."""
        if self._is_new(pause):
            self._log.warning("target.paused", target=self._target, until=pause.end, reason=pause.reason or None)

    def target_halted(self, halt: Halt) -> None:
        """See :class:`Observer`. One that waits for a quota is parked."""
        if halt.pause is not None:
            self.target_paused(halt.pause)
        elif halt.stage is Stage.NOT_BEGUN:
            self._log.warning("target.skipped", target=self._target, why=halt.what)
        elif halt.stage is Stage.UNOPENED:
            self._log.error("target.unopened", target=self._target, why=halt.what, reason=halt.reason)
        elif halt.reason is Reason.QUOTA:
            self._log.error("target.parked", target=self._target, why=halt.what, reason=halt.reason)
        else:
            self._log.error("target.halted", target=self._target, why=halt.what, reason=halt.reason)

    def stop_requested(self, reason: str, in_flight: int) -> None:
        """See :class:`Observer`."""
        self._log.warning("run.stopping", target=self._target, reason=reason, in_flight=in_flight)
