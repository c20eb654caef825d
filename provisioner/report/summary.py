"""The summary of a run: its JSON form is a contract; ``text.py`` has the one for people."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from provisioner.core.entry import Outcome
from provisioner.core.problem import Problem  # noqa: TC001  to read a summary, its annotations are looked up
from provisioner.core.versions import Fate
from provisioner.engine.observer import Stage
from provisioner.exit_codes import code_for
from provisioner.report.causes import Cause, Causes
from provisioner.report.recommended import PLAIN
from provisioner.report.statistics import PROBLEMS_SHOWN
from provisioner.report.text import CALLS, summary_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provisioner.errors import Reason
    from provisioner.report.recommended import Recommended
    from provisioner.report.statistics import Statistics


class ManifestCounts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Lines of the manifest, as far as it was read, without blank ones.

    Attributes:
        lines, valid, invalid: how many.
        repeated: those that repeat an earlier line.
        unselected: those of the valid ones whose names are not selected; the outcomes are of the others.
        partial: whether there are more, because the manifest was not read to its end.
    """

    lines: int
    valid: int
    invalid: int
    repeated: int = 0
    unselected: int = 0
    partial: bool = False


class Paused(msgspec.Struct, frozen=True):
    """A pause, as results have it.

    Attributes:
        until: ISO 8601, UTC.
        reason: "" for none.
    """

    until: str
    reason: str


class TargetSummary(msgspec.Struct, frozen=True, omit_defaults=True):
    """One target's part of the summary.

    Attributes:
        halted: why it halted, None if it did not.
        stage: how far it had come then.
        paused: until when nothing is sent to it and why, None if it is not paused.
        resolved: entries that sweeps resolved, by decision, whether or not the manifest has them.
        open: entries that are still unresolved.
        problems: those that are about this target, not about lines of the manifest.
    """

    outcomes: dict[str, int]
    calls: dict[str, int]
    pace_per_s: float
    account_id: str
    region: str
    halted: str | None = None
    stage: Stage = Stage.BEGUN
    paused: Paused | None = None
    resolved: dict[str, int] = {}
    open: int = 0
    problems: int = 0


class Started(msgspec.Struct, frozen=True):
    """What became of workers that one command started.

    Attributes:
        died: how often one of them has died.
        gone: how many of them have died and were not started again.
        unplaced: how many never had a place to run.
    """

    died: int
    gone: int
    unplaced: int


class JobPart(msgspec.Struct, frozen=True):
    """A worker's part of a job.

    Attributes:
        job: its id.
        targets: that the worker could do.
        open: those that had no result when it began.
        left: those that had none when it ended.
        workers: 1, or how many there were at a time, where one command started them.
        bad: those that have ended with another exit code than 0, whoever did them.
        automatic: whether the worker joined it without naming it.
        started: what became of the workers that one command started, which the summary is about; None of any other.
    """

    job: str
    targets: int
    open: int
    left: int
    workers: int = 1
    bad: int = 0
    automatic: bool = False
    started: Started | None = None


class Summary(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a run did.

    Attributes:
        run_id: sortable by start.
        exit_code: of the process.
        elapsed_s: duration.
        started_at: ISO 8601, UTC.
        ledger: where the ledger is.
        manifest, outcomes, calls: totals over all targets; ``manifest`` counts each line once.
        targets: by name.
        problems: the first 100.
        problems_total: all of them.
        open: entries that are still unresolved, over all targets, whether or not the manifest has them.
        pruned: algorithms that were deleted because they left the manifest, or by ``destroy``.
        already_gone: algorithms that were to be deleted and were gone already: somebody else deleted them, or the
            ledger went back in time.
        superseded: older algorithms, over all targets: those that are still to be deleted, and the following.
        superseded_kept: of these, those that ``--keep`` keeps.
        superseded_adopted: those that stay because they were taken over.
        causes: of several problems each, the most frequent first.
        found: findings of ``verify``, by kind.
        stopped: why the run ended early, None if it did not.
        error: the error that ended the run, None if none did.
        job: of which the run was a worker; the summary is about its own targets then. None for a run of its own.
        shard: of the targets that were done, such as ``2/5``; "" for all.
    """

    run_id: str
    exit_code: int
    elapsed_s: float
    started_at: str
    ledger: str
    manifest: ManifestCounts = msgspec.field(name="manifest")
    outcomes: dict[str, int] = msgspec.field(name="outcomes")
    calls: dict[str, int] = msgspec.field(name="calls")
    targets: dict[str, TargetSummary] = msgspec.field(name="targets")
    problems: list[Problem] = msgspec.field(name="problems")
    problems_total: int = msgspec.field(name="problems_total")
    open: int = 0
    pruned: int = msgspec.field(default_factory=int)  # not `= 0`, which would leave a zero out
    superseded: int = msgspec.field(default_factory=int)
    already_gone: int = 0
    superseded_kept: int = 0
    superseded_adopted: int = 0
    causes: list[Cause] = []
    found: dict[str, int] = {}
    stopped: str | None = None
    error: str | None = None
    job: JobPart | None = None
    shard: str = ""

    def json(self) -> bytes:
        """One JSON object, one line, without a line break at the end."""
        return msgspec.json.encode(self)

    def text(self, recommended: Recommended = PLAIN) -> str:
        """The text form, for people; see :mod:`provisioner.report.text`."""
        return summary_text(self, recommended)

    def ending(self, reasons: Iterable[Reason]) -> Summary:
        """The summary of a command that ends for these ``reasons`` instead."""
        return msgspec.structs.replace(self, exit_code=int(code_for(reasons)))


def parsed(summary: bytes) -> Summary | None:
    """The summary that a ledger keeps of a run; None if there is none, or another version wrote it differently."""
    try:
        return msgspec.json.decode(summary, type=Summary)
    except msgspec.DecodeError:
        return None


class RunEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended, apart from what was counted.

    Attributes:
        run_id, ledger: of the run.
        started_at: epoch seconds.
        elapsed_s: duration.
        superseded: what becomes of superseded algorithms.
        found: findings, by kind.
        stopped: why it ended early, "" when it did not.
        error: the error that ended it, None when none did.
        shard: of the targets that were done, "" for all.
        reasons: why it does not end with 0, in addition to those of the targets.
        job: see :class:`Summary`.
    """

    run_id: str
    ledger: str
    started_at: float
    elapsed_s: float
    superseded: Mapping[Fate, int] = {}
    found: Mapping[str, int] = {}
    stopped: str = ""
    error: str | None = None
    shard: str = ""
    reasons: frozenset[Reason] = frozenset()
    job: JobPart | None = None


def summarize(targets: Sequence[Statistics], ending: RunEnd) -> Summary:
    """The summary of a run over ``targets``."""
    outcomes: Counter[Outcome] = Counter()
    calls: Counter[str] = Counter()
    for statistics in targets:
        outcomes.update(statistics.outcomes)
        calls.update(statistics.calls)
    problems = [problem for statistics in targets for problem in statistics.problems]
    causes = Causes()
    for statistics in targets:
        causes.include(statistics.causes)
    reasons = ending.reasons.union(*(statistics.reasons() for statistics in targets))
    return Summary(
        run_id=ending.run_id,
        exit_code=int(code_for(reasons)),
        elapsed_s=round(ending.elapsed_s, 3),
        started_at=iso(ending.started_at),
        ledger=ending.ledger.encode("utf-8", "backslashreplace").decode(),  # a path may hold bytes that are no text
        manifest=_manifest(targets),
        outcomes={outcome.value: outcomes[outcome] for outcome in Outcome},
        calls={call: calls[call] for call in CALLS},
        targets={statistics.target: _target(statistics) for statistics in targets},
        problems=problems[:PROBLEMS_SHOWN],
        problems_total=sum(statistics.problems_total for statistics in targets),
        open=sum(statistics.open for statistics in targets),
        pruned=sum(statistics.pruned for statistics in targets),
        already_gone=sum(statistics.gone for statistics in targets),
        superseded=sum(ending.superseded.values()),
        superseded_kept=ending.superseded.get(Fate.KEPT, 0),
        superseded_adopted=ending.superseded.get(Fate.ADOPTED, 0),
        causes=causes.repeated(),
        found=dict(ending.found),
        stopped=ending.stopped or None,
        error=ending.error,
        job=ending.job,
        shard=ending.shard,
    )


def _manifest(targets: Sequence[Statistics]) -> ManifestCounts:
    """Every target reads the manifest for itself; the one that read most of it counts."""
    fullest = max(targets, key=lambda statistics: statistics.lines, default=None)
    if fullest is None:
        return ManifestCounts(0, 0, 0)
    partial = bool(fullest.lines) and not fullest.whole
    valid = fullest.valid + fullest.elsewhere + fullest.unselected
    return ManifestCounts(
        fullest.lines, valid, fullest.invalid, fullest.repeated, unselected=fullest.unselected, partial=partial
    )


def iso(seconds: float) -> str:
    """A wall-clock time, epoch seconds, as ISO 8601 in UTC."""
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _target(statistics: Statistics) -> TargetSummary:
    return TargetSummary(
        outcomes={outcome.value: statistics.outcomes[outcome] for outcome in Outcome},
        calls={call: statistics.calls[call] for call in CALLS},
        pace_per_s=round(statistics.pace_per_s, 2),
        account_id=statistics.account_id,
        region=statistics.region,
        halted=statistics.halt.what if statistics.halt else None,
        stage=statistics.halt.stage if statistics.halt else Stage.BEGUN,
        paused=pause_of(statistics),
        resolved=dict(statistics.resolved),
        open=statistics.open,
        problems=statistics.own_problems,
    )


def pause_of(statistics: Statistics) -> Paused | None:
    """The pause of a target."""
    return Paused(statistics.pause.end, statistics.pause.reason) if statistics.pause else None
