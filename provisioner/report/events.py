"""Log events of a run, as the engine reports them: ``noun.verb_past``, with the target in each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from provisioner.core.verdict import Verdict
from provisioner.engine.observer import Observer
from provisioner.logger import log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioner.core.problem import Problem
    from provisioner.engine.observer import Attempt, Halt


class EventLog(Observer):
    """Logs one target's run.

    Args:
        target: its name.
        monotonic: the clock of the run.
    """

    def __init__(self, target: str, monotonic: Callable[[], float]) -> None:
        self._target = target
        self._monotonic = monotonic

    def problem_found(self, problem: Problem) -> None:
        """See :class:`Observer`."""
        report = log.info if problem.severity == "problem" else log.debug
        report("definition.reported", **msgspec.structs.asdict(problem))

    def attempt_ended(self, attempt: Attempt) -> None:
        """See :class:`Observer`. An unanswered create is a warning, because only a sweep can resolve it."""
        if attempt.verdict is Verdict.CREATED:
            return
        what = {"target": self._target, "name": attempt.name, "attempt": attempt.attempt, "why": str(attempt.reply)}
        if attempt.verdict is Verdict.AMBIGUOUS:
            log.warning("create.unanswered", **what)
        else:
            log.debug("create.refused", verdict=attempt.verdict, **what)

    def read_failed(self, kind: str, where: str, why: str) -> None:
        """See :class:`Observer`."""
        log.warning("read.failed", target=self._target, kind=kind, where=where, why=why)

    def notice_found(self, notice: str) -> None:
        """See :class:`Observer`."""
        log.warning("target.notice", target=self._target, notice=notice)

    def waiting_began(self, what: str, until: float) -> None:
        """See :class:`Observer`."""
        known = {"seconds": round(max(0.0, until - self._monotonic()), 1)} if until else {}
        log.info("wait.began", target=self._target, what=what, **known)

    def sweep_ended(self, *, complete: bool, resolved: Mapping[str, int], left: int) -> None:
        """See :class:`Observer`."""
        log.info(
            "sweep.finished", target=self._target, complete=complete, resolved=sum(resolved.values()), unresolved=left
        )

    def target_halted(self, halt: Halt) -> None:
        """See :class:`Observer`."""
        log.error("target.halted", target=self._target, why=halt.what, reason=halt.reason)

    def stop_requested(self, reason: str, in_flight: int) -> None:
        """See :class:`Observer`."""
        log.warning("run.stopping", target=self._target, reason=reason, in_flight=in_flight)
