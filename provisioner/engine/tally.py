"""What a run has done so far, counted as it happens: the one source of progress, summary and exit code."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from provisioner.core.entry import Outcome
from provisioner.errors import Reason

if TYPE_CHECKING:
    from provisioner.core.problem import Problem
    from provisioner.manifest.reader import Batch

PROBLEMS_SHOWN = 100
"""Problems in a summary; all of them are in the ledger."""


class Halt(msgspec.Struct, frozen=True):
    """Why a target sends nothing more in this run.

    Attributes:
        reason: what kind of halt it is.
        what: for the reader: what happened and what to do.
    """

    reason: Reason
    what: str


class Tally:
    """Counts of one target.

    Attributes:
        target: the target's name.
        region, account_id: "" until known.
        lines, valid, invalid, repeated: of the manifest, as far as it was read.
        expected: how many definitions the manifest is likely to have, None when nobody knows.
        outcomes: of the valid lines; they always add up to ``valid`` once the run has ended.
        calls: made to AWS.
        problems: the first of them; ``problems_total`` counts all.
        resolved: what sweeps concluded, for entries of the manifest and others.
        open: entries that may have an algorithm that the ledger cannot name, at the end.
        denied: whether any definition was refused for want of permission.
        halt: why nothing more is sent, None while all is well.
        whole: whether the manifest was read to its end.
        fingerprint: of the manifest, once it was.
        stopped: whether the run was asked to end early.
        under_way: creates whose result is not durable yet.
        waiting: what the tail of the run waits for, "" when it does not.
        waiting_until: monotonic time at which that wait ends.
        pace_per_s: creates per second that the pacer held at the end.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.region = ""
        self.account_id = ""
        self.lines = 0
        self.valid = 0
        self.invalid = 0
        self.repeated = 0
        self.expected: int | None = None
        self.outcomes: Counter[Outcome] = Counter()
        self.calls: Counter[str] = Counter()
        self.problems: list[Problem] = []
        self.problems_total = 0
        self.resolved: Counter[str] = Counter()
        self.open = 0
        self.denied = False
        self.halt: Halt | None = None
        self.whole = False
        self.fingerprint = ""
        self.stopped = False
        self.under_way = 0
        self.waiting = ""
        self.waiting_until = 0.0
        self.pace_per_s = 0.0

    def read(self, batch: Batch, size_bytes: int | None) -> None:
        """Count a batch of a manifest that has ``size_bytes`` in all, None when that is not known."""
        self.lines += batch.lines
        self.valid += len(batch.rows)
        self.invalid += batch.invalid
        self.repeated += batch.repeated
        if size_bytes is not None and batch.read_bytes:
            self.expected = max(self.valid, round(self.valid * size_bytes / batch.read_bytes))

    @property
    def expected_creates(self) -> int:
        """Creates that the whole manifest is likely to need, in proportion to the part that was read."""
        needed = self.valid - self.outcomes[Outcome.UNCHANGED]
        return round(needed * max(1.0, (self.expected or 0) / max(1, self.valid)))

    @property
    def finished(self) -> bool:
        """Whether every line of the manifest is valid, told once, and registered."""
        registered = sum(self.outcomes[one] for one in (Outcome.CREATED, Outcome.ADOPTED, Outcome.UNCHANGED))
        return self.whole and not self.open and self.halt is None and registered == self.lines

    def move(self, before: Outcome, after: Outcome) -> None:
        """A definition that counted as ``before`` has become ``after``."""
        self.outcomes[before] -= 1
        self.outcomes[after] += 1

    def problem(self, record: Problem) -> None:
        """Keep a problem for the summary, unless it is a mere notice."""
        if record.severity != "problem":
            return
        self.problems_total += 1
        if len(self.problems) < PROBLEMS_SHOWN:
            self.problems.append(record)

    def close(self) -> None:
        """Give every valid line an outcome, whatever ended the run: no result is ambiguous, not sent is pending."""
        left = max(0, self.valid - self.settled)
        doubtful = min(self.under_way, left)
        self.under_way = 0
        self.outcomes[Outcome.AMBIGUOUS] += doubtful
        self.outcomes[Outcome.PENDING] += left - doubtful

    @property
    def settled(self) -> int:
        """Definitions whose outcome is known."""
        return sum(self.outcomes.values())

    def reasons(self) -> set[Reason]:
        """Why this target did not end as asked."""
        reasons = {
            Reason.INVALID: self.invalid,
            Reason.FAILED: self.outcomes[Outcome.FAILED] + self.outcomes[Outcome.DRIFTED],
            Reason.QUOTA: self.outcomes[Outcome.PARKED],
            Reason.AMBIGUOUS: self.outcomes[Outcome.AMBIGUOUS] or self.open,
            Reason.DENIED: self.denied,
            Reason.UNFINISHED: self.stopped and self._work_left,
        }
        applied = {reason for reason, applies in reasons.items() if applies}
        if self.halt:
            applied.add(self.halt.reason)
        # What is left without any of these reasons is left for the next run all the same.
        return applied or ({Reason.UNFINISHED} if self.outcomes[Outcome.PENDING] else applied)

    @property
    def _work_left(self) -> bool:
        """Whether a next run has something to do: also what was not read, and what had no reply when the stop came."""
        return not self.whole or bool(self.open or self.outcomes[Outcome.PENDING] or self.outcomes[Outcome.AMBIGUOUS])

    def __repr__(self) -> str:
        outcomes = " ".join(f"{outcome}={number}" for outcome, number in self.outcomes.items() if number)
        return f"Tally({self.target}: {outcomes or 'nothing yet'}; halt={self.halt and self.halt.what})"
