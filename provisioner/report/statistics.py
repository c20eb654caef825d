"""Statistics of a target's run: the one source of progress, summary and exit code. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from provisioner.core.entry import Outcome
from provisioner.core.verdict import Verdict
from provisioner.core.versions import DESTROYED, PRUNED
from provisioner.engine.observer import Observer
from provisioner.errors import Reason
from provisioner.report.causes import Causes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.core.pause import Pause
    from provisioner.core.problem import Problem
    from provisioner.core.versions import Version
    from provisioner.engine.observer import Attempt, Halt, Sample
    from provisioner.manifest.reader import Batch

PROBLEMS_SHOWN = 100
"""Most problems in a summary; all of them are in the ledger."""
REGISTERED = (
    Outcome.CREATED,
    Outcome.RECOVERED,
    Outcome.ADOPTED,
    Outcome.UNCHANGED,
    Outcome.UPDATED,
    Outcome.REPLACED,
)
"""Outcomes of definitions whose algorithm exists as the manifest defines it."""

CHANGES = frozenset({Outcome.CREATED, Outcome.RECOVERED, Outcome.ADOPTED, Outcome.UPDATED, Outcome.REPLACED})
"""Outcomes of definitions for which something was done."""


class Statistics(Observer):
    """Counts of one target.

    Attributes:
        target: the target's name.
        region, account_id: "" until known.
        lines, valid, invalid, repeated: of the manifest, as far as it was read; ``elsewhere`` counts the lines that are
            for other targets only, ``unselected`` the valid ones whose names are not selected.
        expected: estimated number of definitions in the manifest, None if unknown.
        exact: whether that is their number: the manifest was read to its end, though not all is carried out.
        outcomes: of the valid lines; they always add up to ``valid`` once the run has ended.
        calls: made to AWS.
        problems: the first of them; ``problems_total`` counts all, and ``causes`` by cause; ``own_problems`` those that
            are not about lines of the manifest, which concern every target.
        resolved: entries that sweeps resolved, by decision, whether or not the manifest has them.
        open: entries that stay unresolved at the end.
        unknown: algorithms that this ledger created, and no entry names: duplicates, and what a ledger that went back
            in time has lost.
        pruned: algorithms that were pruned or destroyed.
        deleted: all that were deleted; ``due`` counts those that are to be.
        gone: those that were to be, and were gone already.
        superseded: older versions that are still to be deleted.
        undeleted: of these, how many could not be deleted in this run.
        left: deletions that a stop left to the next run.
        beyond: creates that ``--max-create`` left to the next run.
        denied: whether any create was denied.
        undecided: whether the drafts of deletions left something open.
        unpruned: whether nothing was pruned although it was asked for, because of the manifest or the variables.
        halt: why nothing more is sent, None if the target has not halted.
        pause: of the target, None if it is not paused.
        whole: whether the manifest was read to its end.
        compares: whether the manifest is only compared: what is pending is no work that the run has left.
        stopped: whether the run was asked to end early.
        under_way: creates whose result is not durable yet.
        outages: why calls get no reply, by operation, as long as they do not.
        waiting: what the run waits for, "" if it does not wait.
        waiting_until: monotonic time at which that wait ends.
        pace_per_s: creates per second that the pacer let start when it was last sampled.
        limit_per_s: the limit that it had measured then, 0.0 if none.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.region = ""
        self.account_id = ""
        self.expected: int | None = None
        self.exact = False
        self.outcomes: Counter[Outcome] = Counter()
        self.calls: Counter[str] = Counter()
        self.problems: list[Problem] = []
        self.problems_total = 0
        self.own_problems = 0
        self.causes = Causes()
        self.resolved: Counter[str] = Counter()
        self.open = 0
        self.unknown = 0
        self.pruned = 0
        self.deleted = 0
        self.gone = 0
        self.due = 0
        self.superseded = 0
        self.undeleted = 0
        self.left = 0
        self.beyond = 0
        self.denied = False
        self.undecided = False
        self.unpruned = False
        self.halt: Halt | None = None
        self.pause: Pause | None = None
        self.compares = False
        self.stopped = False
        self.under_way = 0
        self.outages: dict[str, str] = {}
        self.waiting = ""
        self.waiting_until = 0.0
        self.pace_per_s = 0.0
        self.limit_per_s = 0.0
        self.read_again()

    # What the engine reports.

    def target_opened(self, region: str, account_id: str) -> None:
        """See :class:`Observer`."""
        self.region, self.account_id = region, account_id

    def batch_read(self, batch: Batch, size_bytes: int | None) -> None:
        """See :class:`Observer`."""
        self.lines += batch.lines
        self.valid += len(batch.rows)
        self.invalid += batch.invalid
        self.repeated += batch.repeated
        self.elsewhere += batch.elsewhere
        self.unselected += batch.unselected
        if size_bytes is not None and batch.read_bytes:
            self.expected = max(self.valid, round(self.valid * size_bytes / batch.read_bytes))
            self.exact = batch.read_bytes >= size_bytes

    def manifest_read(self) -> None:
        """See :class:`Observer`."""
        self.whole = True

    def outcome_changed(self, new: Outcome | None, old: Outcome | None = None, count: int = 1) -> None:
        """See :class:`Observer`."""
        if new is not None:
            self.outcomes[new] += count
        if old is not None:
            self.outcomes[old] -= count

    def problem_found(self, problem: Problem) -> None:
        """See :class:`Observer`. Notices are not counted."""
        if problem.severity != "problem":
            return
        self.problems_total += 1
        self.own_problems += bool(problem.target)
        self.causes.add(problem)
        self.unknown += problem.code in {"duplicate", "unrecorded"}
        self.undeleted += problem.code == "superseded"
        if len(self.problems) < PROBLEMS_SHOWN:
            self.problems.append(problem)

    def version_deleted(self, version: Version) -> None:
        """See :class:`Observer`."""
        self.deleted += 1
        self.pruned += version.reason in {PRUNED, DESTROYED}

    def version_gone(self, version: Version) -> None:
        """See :class:`Observer`."""
        del version
        self.gone += 1

    def deletion_due(self) -> None:
        """See :class:`Observer`."""
        self.due += 1

    def deletions_left(self, count: int) -> None:
        """See :class:`Observer`."""
        self.left += count

    def bound_reached(self) -> None:
        """See :class:`Observer`."""
        self.beyond += 1

    def call_sent(self, kind: str) -> None:
        """See :class:`Observer`."""
        self.calls[kind] += 1
        self.under_way += kind == "create"

    def attempt_ended(self, attempt: Attempt) -> None:
        """See :class:`Observer`."""
        self.under_way -= attempt.operation == "create"
        if attempt.verdict is Verdict.THROTTLED:
            self.calls["throttled"] += 1
        elif attempt.verdict is Verdict.DENIED:
            self.denied = True

    def outage_began(self, operation: str, why: str) -> None:
        """See :class:`Observer`."""
        self.outages[operation] = why

    def outage_ended(self, operation: str) -> None:
        """See :class:`Observer`."""
        self.outages.pop(operation, None)

    def waiting_began(self, what: str, until: float) -> None:
        """See :class:`Observer`."""
        self.waiting, self.waiting_until = what, until

    def waiting_changed(self, what: str) -> None:
        """See :class:`Observer`."""
        self.waiting = what

    def waiting_ended(self) -> None:
        """See :class:`Observer`."""
        self.waiting = ""

    def sweep_ended(self, *, complete: bool, resolved: Mapping[str, int], left: int) -> None:
        """See :class:`Observer`."""
        del complete
        self.resolved.update(resolved)
        self.open = left

    def resolving_ended(self, left: int) -> None:
        """See :class:`Observer`."""
        self.waiting, self.open = "", left

    def target_paused(self, pause: Pause) -> None:
        """See :class:`Observer`."""
        self.pause = pause

    def target_halted(self, halt: Halt) -> None:
        """See :class:`Observer`."""
        self.halt = self.halt or halt
        self.pause = self.pause or self.halt.pause

    def sampled(self, sample: Sample) -> None:
        """See :class:`Observer`."""
        self.pace_per_s, self.limit_per_s = sample.pace_per_s, sample.limit_per_s

    # What commands call.

    def read_again(self) -> None:
        """Forget the lines that were counted: the manifest is read again."""
        self.lines = self.valid = self.invalid = self.repeated = self.elsewhere = self.unselected = 0
        self.whole = False

    def unchanged_all(self, lines: int) -> None:
        """Count ``lines`` lines of a finished manifest as unchanged."""
        self.lines = self.valid = self.outcomes[Outcome.UNCHANGED] = lines
        self.whole = True

    def close(self) -> None:
        """Give every valid line an outcome, whatever ended the run: ambiguous if it was sent, otherwise pending."""
        left = max(0, self.valid - self.known)
        unanswered = min(self.under_way, left)
        self.under_way = 0
        self.outcomes[Outcome.AMBIGUOUS] += unanswered
        self.outcomes[Outcome.PENDING] += left - unanswered

    @property
    def finished(self) -> bool:
        """Whether every line of the manifest is valid, unique and registered."""
        registered = sum(self.outcomes[one] for one in REGISTERED)
        settled = not (self.open or self.superseded)
        return self.whole and settled and self.halt is None and registered == self.lines - self.elsewhere

    @property
    def failed(self) -> bool:
        """Whether the target has gone wrong, by itself: a pause, a stop and the manifest are not its fault."""
        wrong = self._counted() - {Reason.INVALID, Reason.UNFINISHED}
        return bool(wrong) or (self.halt is not None and self.halt.pause is None)

    @property
    def changed(self) -> bool:
        """Whether the run changed something in AWS or in what the ledger names."""
        made = sum(number for outcome, number in self.outcomes.items() if outcome in CHANGES)
        return bool(made or self.pruned or self.gone or self.calls["delete"])

    @property
    def known(self) -> int:
        """Definitions whose outcome is known."""
        return sum(self.outcomes.values())

    def reasons(self) -> set[Reason]:
        """Why this target does not end with 0."""
        applied = self._counted()
        if self.unpruned:
            applied.add(Reason.FAILED)
        if self.halt:
            applied.add(self.halt.reason)
        # Pending definitions without any of these reasons are left for the next run too.
        return applied or ({Reason.UNFINISHED} if self._unsent else applied)

    def _counted(self) -> set[Reason]:
        """Those of what was done with definitions and algorithms."""
        reasons = {
            Reason.INVALID: self.invalid,
            Reason.FAILED: self.outcomes[Outcome.FAILED] + self.outcomes[Outcome.DRIFTED] + self.undeleted,
            Reason.QUOTA: self.outcomes[Outcome.PARKED],
            Reason.AMBIGUOUS: self.outcomes[Outcome.AMBIGUOUS] or self.open or self.unknown or self.undecided,
            Reason.DENIED: self.denied,
            Reason.UNFINISHED: self.stopped and self._work_left,
        }
        return {reason for reason, applies in reasons.items() if applies}

    @property
    def _unsent(self) -> int:
        """Definitions that the run was to send, and has not."""
        return 0 if self.compares else self.outcomes[Outcome.PENDING]

    @property
    def _work_left(self) -> bool:
        """Whether a next run has something to do, unread lines, unanswered creates and deletions included."""
        unsettled = self._unsent + self.outcomes[Outcome.AMBIGUOUS]
        return not self.whole or bool(self.left or self.open or unsettled)

    def __repr__(self) -> str:
        outcomes = " ".join(f"{outcome}={number}" for outcome, number in self.outcomes.items() if number)
        return f"Statistics({self.target}: {outcomes or 'nothing yet'}; halt={self.halt and self.halt.what})"
