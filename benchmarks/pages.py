"""Simulated runs for pages: what a run of many targets records, in no time, without AWS and without a ledger."""

from __future__ import annotations

import heapq
import random
from typing import TYPE_CHECKING, Any

from provisioner.core.entry import Entry, Outcome, State
from provisioner.core.problem import Problem
from provisioner.core.verdict import Reply, Verdict
from provisioner.engine.observer import Attempt, Halt, Observers, Sample
from provisioner.errors import Reason
from provisioner.report.page import About, Entries, LedgerCounts, Made, Problems, run_page
from provisioner.report.recorder import Recorder
from provisioner.report.statistics import Statistics
from provisioner.report.summary import RunEnd, summarize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.engine.observer import Observer
    from provisioner.report.samples import Samples

BEGAN = 1_790_000_000.0
RUN = "20260921T131320000-5eed5e"
REASONS = (
    ("ValidationException", "roleArn: the role arn:aws:iam::{account}:role/access cannot be assumed"),
    ("ValidationException", "trainingContainerConfig.imageUri: there is no such image"),
    ("name_taken", "an algorithm that no ledger created has this name, and its definition differs"),
)


class Simulation:
    """A run of ``targets`` with ``definitions`` in each; some have trouble.

    Args:
        targets: how many.
        definitions: in each.
        trouble: whether some fail, are throttled longer, halt or go through an outage.
    """

    def __init__(self, targets: int, definitions: int, *, trouble: bool = True) -> None:
        self._random = random.Random(7)  # noqa: S311  a simulation
        self._now = 0.0
        self._definitions = definitions
        self._trouble = trouble
        names = (
            [f"team-{number % 40:02}-{number // 40:03}" for number in range(targets)] if targets > 1 else ["default"]
        )
        self._recorder = Recorder(names, lambda: self._now)
        self._statistics = {name: Statistics(name) for name in names}
        self._observers: dict[str, Observer] = {
            name: Observers(self._statistics[name], self._recorder.targets[name]) for name in names
        }
        self.entries: list[Entry] = []
        self.problems: list[Problem] = []

    def page(self) -> dict[str, Any]:
        """The page about it."""
        waiting = [(0.0, place, self._target(place, name)) for place, name in enumerate(self._observers)]
        heapq.heapify(waiting)
        while waiting:
            self._now, place, events = heapq.heappop(waiting)
            if (then := next(events, None)) is not None:
                heapq.heappush(waiting, (then, place, events))
        end = RunEnd(run_id=RUN, ledger="/var/lib/provisioner/prod.db", started_at=BEGAN, elapsed_s=self._now)
        for statistics in self._statistics.values():
            statistics.whole = True
            statistics.close()
        summary = summarize([*self._statistics.values()], end)
        about = About(
            run_id=RUN,
            command="apply",
            started_at=BEGAN,
            ended_at=BEGAN + self._now,
            exit_code=summary.exit_code,
            status="ended",
            summary=summary,
            samples=self._recorder.samples(),
        )
        entries, problems = Entries(RUN), Problems()
        for entry in sorted(self.entries, key=lambda one: (one.state is not State.FAILED, one.target, one.name)):
            entries.add(entry)
        for problem in self.problems:
            problems.add(problem)
        made = Made(ledger=end.ledger, ledger_id="0123456789abcdef", at=BEGAN + self._now + 2)
        return run_page(about, LedgerCounts(states={}), entries, problems, made)

    def samples(self) -> Samples:
        """Those that it has recorded."""
        return self._recorder.samples()

    def _target(self, place: int, name: str) -> Iterator[float]:
        """What happens in a target: each time that it yields is the next moment at which something does."""
        draw, observer, statistics = self._random, self._observers[name], self._statistics[name]
        account = f"{100000000000 + place * 7919:012}"
        limit, pace, latency = draw.choice((5.0, 5.0, 8.0, 12.0)), 1.0, draw.uniform(0.06, 0.14)
        observer.target_opened(draw.choice(("us-east-1", "eu-west-1", "ap-northeast-1")), account)
        statistics.lines = statistics.valid = self._definitions
        halted = self._trouble and place % 17 == 5
        outage = self._trouble and place % 11 == 3
        yield draw.uniform(0, 0.8)
        fails = 0.25 if self._trouble and place % 23 == 7 else 0.006 * self._trouble
        for number in range(self._definitions):
            definition = f"lookalike {place:04}-{number:03}"
            if halted and number == self._definitions // 3:
                why = "credentials may not create: iam:PassRole on arn:aws:iam::" + account + ":role/access"
                observer.target_halted(Halt(Reason.DENIED, f"{name}: {why}"))
                break
            if outage and number == self._definitions // 2:
                observer.outage_began("create", "connect_timeout: no connection in 3 s")
                yield self._now + draw.uniform(4, 9)
                observer.outage_ended("create")
            pace = min(limit * 1.03, pace * 1.4)
            while pace > limit and draw.random() < 0.03:
                yield from self._create(observer, definition, Verdict.THROTTLED, 0.02)
                pace = limit * 0.94
                yield self._now + 0.2
            observer.sampled(Sample(pace, limit if pace >= limit * 0.9 else 0.0, 1, 10))
            failed = draw.random() < fails
            seconds = latency * draw.lognormvariate(0, 0.3) * (6 if draw.random() < 0.01 else 1)
            yield from self._create(observer, definition, Verdict.REJECTED if failed else Verdict.CREATED, seconds)
            observer.outcome_changed(Outcome.FAILED if failed else Outcome.CREATED)
            self._record(name, account, definition, failed=failed)
            yield self._now + max(0.0, 1 / pace - seconds)
        observer.target_closed()

    def _create(self, observer: Observer, name: str, verdict: Verdict, seconds: float) -> Iterator[float]:
        observer.call_sent("create")
        yield self._now + seconds
        observer.attempt_ended(Attempt("create", name, "a", 1, verdict, Reply(), seconds))

    def _record(self, target: str, account: str, name: str, *, failed: bool) -> None:
        code, message = self._random.choice(REASONS) if failed else ("", "")
        message = message.format(account=account)
        arn = (
            f"arn:aws:cleanrooms-ml:us-east-1:{account}:configured-model-algorithm/{self._random.getrandbits(128):032x}"
        )
        state = State.FAILED if failed else State.CREATED
        at = BEGAN + self._now
        self.entries.append(
            Entry(target, name, state, "", "", "" if failed else arn, "a", None, at, RUN, code=code, message=message)
        )
        if failed:
            problem = Problem("definitions.jsonl", len(self.entries), name, code, message, target=target)
            self.problems.append(problem)
            self._observers[target].problem_found(problem)
