"""The summary of a run: its JSON form is a contract, its text form is for people."""

from __future__ import annotations

import datetime as dt
import os
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from provisioner.core.entry import Outcome
from provisioner.core.problem import Problem  # noqa: TC001  to read a summary, its annotations are looked up
from provisioner.core.versions import Fate
from provisioner.errors import Reason, counted, printable, printable_lines
from provisioner.exit_codes import ADVICE, ExitCode, code_for
from provisioner.report.causes import Cause, Causes, single
from provisioner.report.statistics import PROBLEMS_SHOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provisioner.report.statistics import Statistics

CALLS = ("create", "throttled", "list", "get", "get_resources", "tag", "delete")
SHOWN_IN_TEXT = 20
"""Problems that the text form shows; the JSON form has up to 100, the ledger all."""
NAMED = 5
"""Most targets in one line."""
LIST_SUPERSEDED = "provisioner list --state superseded"
"""The command that shows what is still to be deleted."""
FINISH_DESTROY = "provisioner destroy --state deleted"
"""Deletes what was given up, by `destroy` or `--prune`, and is not deleted yet: no other entry is in that state."""


class ManifestCounts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Lines of the manifest, as far as it was read, without blank ones.

    Attributes:
        lines, valid, invalid: how many.
        repeated: those that repeat an earlier line.
        partial: whether there are more, because the manifest was not read to its end.
    """

    lines: int
    valid: int
    invalid: int
    repeated: int = 0
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
        paused: until when nothing is sent to it and why, None if it is not paused.
        resolved: entries that sweeps resolved, by decision, whether or not the manifest has them.
        open: entries that are still unresolved.
    """

    outcomes: dict[str, int]
    calls: dict[str, int]
    pace_per_s: float
    account_id: str
    region: str
    halted: str | None = None
    paused: Paused | None = None
    resolved: dict[str, int] = {}
    open: int = 0


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

    def json(self) -> bytes:
        """One JSON object, one line, without a line break at the end."""
        return msgspec.json.encode(self)

    def text(self) -> str:
        """The text form: the ledger, outcomes, calls, problems, the exit code."""
        began = self.manifest.lines or any(self.outcomes.values()) or (not self.error and not self.stopped)
        return self.framed(_work_lines(self) if began else [])

    def framed(self, lines: Iterable[str]) -> str:
        """The text form of a command: where the ledger is, ``lines``, what ended the run early, the exit code.

        The path is whole: a relative one is another file wherever a scheduler starts the same job.
        """
        return printable_lines([f"ledger    {whole_path(self.ledger)}", *lines, *self._closing()])

    def _closing(self) -> list[str]:
        lines = self.halts()
        if self.stopped:
            lines.append(f"stopped   {self.stopped}")
        if self.error:
            lines.append(f"error     {self.error}")
        more = f" (`provisioner explain {self.exit_code}`)" if self.exit_code else ""
        return [*lines, f"exit      {self.exit_code}: {ADVICE[ExitCode(self.exit_code)]}{more}"]

    def ending(self, reasons: Iterable[Reason]) -> Summary:
        """The summary of a command that ends for these ``reasons`` instead."""
        return msgspec.structs.replace(self, exit_code=int(code_for(reasons)))

    def halts(self) -> list[str]:
        """A line for each target that halted, with the reason."""
        return [
            f"{'paused' if target.paused else 'halted':10s}{name}: "
            f"{target.halted.removeprefix(f'{name}: ').removeprefix('paused ')}"
            for name, target in self.targets.items()
            if target.halted
        ]


def whole_path(ledger: str) -> str:
    """The absolute path of a ledger, for people."""
    try:
        return ledger if not ledger or "://" in ledger else os.path.abspath(ledger)  # noqa: PTH100  without the ".." of a path
    except OSError:  # the working directory was removed
        return ledger


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
        reasons: why it does not end with 0, in addition to those of the targets.
    """

    run_id: str
    ledger: str
    started_at: float
    elapsed_s: float
    superseded: Mapping[Fate, int] = {}
    found: Mapping[str, int] = {}
    stopped: str = ""
    error: str | None = None
    reasons: frozenset[Reason] = frozenset()


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
    )


def found_text(summary: Summary, *, command: str) -> str:
    """The text form of a past run of a command that registers nothing: what it found, resolved and deleted."""
    found = _counts(summary.found)
    if command == "verify" and not found:
        found = "nothing: the ledger and AWS agree" if not summary.exit_code else "nothing so far"
    lines = {
        "found": found,
        "resolved": _counts(_resolved(summary)),
        "deleted": counted(summary.pruned, "algorithm", "algorithms") if summary.pruned else "",
        "calls": _counts(summary.calls) or "none",
        "time": f"{summary.elapsed_s:.1f} s",
    }
    shown = [f"{what:10s}{text}" for what, text in lines.items() if text]
    return summary.framed([*shown, *gone_lines(summary), *superseded_lines(summary)])


def one_line(summary: Summary) -> str:
    """What a run did, in one line."""
    resolved = _resolved(summary)
    done = Counter(summary.outcomes) + Counter({"deleted": summary.pruned, "already gone": summary.already_gone})
    did = _counts(done) or _counts(summary.found) or _counts(resolved) or _counts(summary.calls)
    ends = [f"stopped: {summary.stopped}"] if summary.stopped else []
    paused = [name for name, target in summary.targets.items() if target.halted and target.paused]
    ends += [f"paused: {', '.join(paused[:NAMED])}{' ...' if len(paused) > NAMED else ''}"] if paused else []
    ends += [f"error: {summary.error}"] if summary.error else []
    return "; ".join([did or "nothing", *ends])


def _resolved(summary: Summary) -> Counter[str]:
    """Entries that sweeps resolved, by decision."""
    resolved: Counter[str] = Counter()
    for target in summary.targets.values():
        resolved.update(target.resolved)
    return resolved


def _counts(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in counted.items() if number)


def _manifest(targets: Sequence[Statistics]) -> ManifestCounts:
    """Every target reads the manifest for itself; the one that read most of it counts."""
    fullest = max(targets, key=lambda statistics: statistics.lines, default=None)
    if fullest is None:
        return ManifestCounts(0, 0, 0)
    partial = bool(fullest.lines) and not fullest.whole
    return ManifestCounts(fullest.lines, fullest.valid, fullest.invalid, fullest.repeated, partial)


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
        paused=pause_of(statistics),
        resolved=dict(statistics.resolved),
        open=statistics.open,
    )


def pause_of(statistics: Statistics) -> Paused | None:
    """The pause of a target."""
    return Paused(statistics.pause.end, statistics.pause.reason) if statistics.pause else None


def _work_lines(summary: Summary) -> list[str]:
    """The lines about the manifest, outcomes, calls, targets and problems."""
    manifest, calls = summary.manifest, summary.calls
    read = counted(manifest.lines, "line", "lines") + (" read before the run ended" if manifest.partial else "")
    repeated = f", {manifest.repeated} repeated" if manifest.repeated else ""
    outcomes = _counts(summary.outcomes)
    # An earlier version did not count every kind.
    others = [f"{calls.get(kind, 0)} {kind}" for kind in CALLS[2:] if calls.get(kind) or kind in {"list", "get"}]
    sent = ", ".join([f"{calls['create']} create ({calls['throttled']} throttled)", *others])
    lines = [
        f"manifest  {read}, {manifest.valid} valid, {manifest.invalid} invalid{repeated}",
        f"outcomes  {outcomes or ('none' if summary.exit_code else 'nothing to do')}",
        *([f"deleted   {summary.pruned} pruned"] if summary.pruned else []),
        *gone_lines(summary),
        f"calls     {sent}",
        f"time      {summary.elapsed_s:.1f} s{_per_s(calls, summary.elapsed_s)}",
        *(_target_line(name, target, summary.elapsed_s) for name, target in summary.targets.items()),
    ]
    lines += superseded_lines(summary)
    if summary.problems_total:
        lines += [f"problems  {summary.problems_total}", *problem_lines(summary)]
    return lines


def gone_lines(summary: Summary) -> list[str]:
    """How many algorithms were to be deleted and were gone already; none if there were none."""
    number = summary.already_gone
    were = counted(number, "algorithm was", "algorithms were")
    return [f"gone      {were} to be deleted, and gone already"] if number else []


def superseded_lines(summary: Summary) -> list[str]:
    """What stays of superseded algorithms and why, and what is still to be deleted."""
    kept, adopted = summary.superseded_kept, summary.superseded_adopted
    due = summary.superseded - kept - adopted
    lines = []
    if kept:
        lines.append(f"kept      {counted(kept, 'older version', 'older versions')}, as --keep says")
    if adopted:
        what = counted(adopted, "superseded algorithm that was", "superseded algorithms that were")
        lines.append(f"left      {what} adopted: --adopted deletes {'it' if adopted == 1 else 'them'}, too")
    if due:
        what = counted(due, "superseded algorithm", "superseded algorithms")
        lines.append(f"to delete {what}: `{LIST_SUPERSEDED}` says why, and what deletes {'it' if due == 1 else 'them'}")
    return lines


def problem_lines(summary: Summary, *, listed_by: str = "") -> list[str]:
    """The problems by cause: what several definitions have in common once, with a count, then the others.

    Args:
        summary: with the problems.
        listed_by: the command that lists all of them; "" is the one about the run.
    """
    listed_by = listed_by or f"provisioner runs {summary.run_id}"
    causes = [line for cause in summary.causes[:SHOWN_IN_TEXT] for line in _cause_lines(cause, listed_by)]
    others = single(summary.problems, summary.causes)[: max(0, SHOWN_IN_TEXT - len(summary.causes))]
    shown = sum(cause.count for cause in summary.causes[:SHOWN_IN_TEXT]) + len(others)
    more = summary.problems_total - shown
    rest = [f"  and {more} more: `{listed_by}` lists all"] if more > 0 else []
    return [*causes, *map(problem_line, others), *rest]


def _cause_lines(cause: Cause, record: str) -> list[str]:
    names = ", ".join(map(str, cause.examples))
    more = cause.count - len(cause.examples)
    names += f" and {more} more" if more else ""
    return [
        f"  {cause.code} ({cause.count} times): {printable(cause.message)}",
        f"    {names}: `{cause.listed_by(record)}` lists them",
    ]


def _per_s(calls: Mapping[str, int], elapsed_s: float) -> str:
    """The rate of a whole run that created: creates that were answered and not throttled, over its duration."""
    answered = calls["create"] - calls["throttled"]
    return f", {answered / elapsed_s:.1f} creates/s" if answered and elapsed_s else ""


def problem_line(problem: Problem) -> str:
    """A problem in one line."""
    place = f"{problem.source}:{problem.line}: " if problem.source else ""
    name = f"{problem.name}: " if problem.name else ""
    return f"  {place}{name}{problem.code}: {printable(problem.message)}"


def _target_line(name: str, target: TargetSummary, elapsed_s: float) -> str:
    place = f"{target.account_id} {target.region}".strip() or "account and Region unknown"
    return f"target    {name} ({place}){_per_s(target.calls, elapsed_s)}"
