"""The summary of a run for people: what did not begin says why first, and what failed stands before what is well. Pure.

Each line of a result begins with a word that says what it is about, or belongs to the line above it. How it is laid out
on a terminal is the command line's (``cli/page.py``).
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from provisioner.core.entry import Outcome
from provisioner.core.pause import RESUME
from provisioner.engine.observer import Stage
from provisioner.errors import counted, printable, printable_lines
from provisioner.exit_codes import ADVICE, ExitCode
from provisioner.report.causes import Cause, key_of, single
from provisioner.report.recommended import PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provisioner.core.problem import Problem
    from provisioner.report.causes import Example
    from provisioner.report.recommended import Recommended
    from provisioner.report.summary import ManifestCounts, Started, Summary, TargetSummary

CALLS = ("create", "throttled", "list", "get", "get_resources", "tag", "delete")
SHOWN_IN_TEXT = 20
"""Problems that the text form shows, and targets; the JSON form has up to 100 problems, the ledger all."""
FEW = 8
"""Up to so many targets, each has a line; of more, those that are well have one together."""
NAMED = 3
"""Targets that are named of many with one cause."""
TARGETS = "targets   "
"""What the line begins with that lists several targets, those that halted among them."""
LIST_SUPERSEDED = "list --state superseded"
"""The command that shows what is still to be deleted."""
FINISH_DESTROY = "destroy --state deleted"
"""Deletes what was given up, by `destroy` or `--prune`, and is not deleted yet: no other entry is in that state."""
REFUSED = "refused: the error above says why, and what to do"
"""The advice of exit code 3 where an error ended the run: no definition failed."""
WRONG = {Outcome.FAILED: 0, Outcome.PARKED: 1, Outcome.DRIFTED: 2, Outcome.AMBIGUOUS: 3}
"""Outcomes that somebody has to look at, the most urgent first."""


def summary_text(summary: Summary, recommended: Recommended = PLAIN) -> str:
    """The text form: the ledger, outcomes, calls, targets, problems, the exit code, the next command."""
    return framed(summary, _lines(summary, recommended), recommended, next_steps(summary, recommended))


def past_text(summary: Summary, recommended: Recommended = PLAIN) -> str:
    """The text form of a past run, which is followed by its problems; what is next, later runs have decided."""
    without = msgspec.structs.replace(summary, problems=[], problems_total=0, causes=[])
    return framed(without, _lines(without, recommended), recommended)


def _lines(summary: Summary, recommended: Recommended) -> list[str]:
    return [] if _never_began(summary) else _work_lines(summary, recommended)


def framed(summary: Summary, lines: Sequence[str], recommended: Recommended = PLAIN, steps: Iterable[str] = ()) -> str:
    """The text form of a command: where the ledger is, ``lines``, what ended the run early, the exit code, ``steps``.

    Without ``lines`` nothing was done, so the cause comes first. The path of the ledger is whole: a relative one is
    another file wherever a scheduler starts the same job.
    """
    ledger = [f"ledger    {whole_path(summary.ledger)}"] if summary.ledger else []
    if summary.shard:
        ledger.append(f"shard     {summary.shard}: {counted(len(summary.targets), 'target', 'targets')}")
    ends = [] if any(line.startswith(TARGETS) for line in lines) else halt_lines(summary, recommended)
    ends += [f"stopped   {summary.stopped}"] if summary.stopped else []
    ends += [f"error     {summary.error}"] if summary.error else []
    more = f" (`{recommended.command(f'explain {summary.exit_code}')}`)" if summary.exit_code else ""
    code = [f"exit      {summary.exit_code}: {_advice(summary)}{more}"]
    body = [*ledger, *lines, *ends] if lines else [*ends, *ledger]
    return printable_lines([*body, *code, *(f"next      {step}" for step in steps)])


def whole_path(ledger: str) -> str:
    """The absolute path of a ledger, for people."""
    try:
        if not ledger or "://" in ledger or ledger.endswith("…"):  # the URL of a database, or what may be one
            return ledger
        return os.path.abspath(ledger)  # noqa: PTH100  without the ".." of a path
    except OSError:  # the working directory was removed
        return ledger


def _never_began(summary: Summary) -> bool:
    """Whether the run ended before it counted anything."""
    halted = [target.halted for target in summary.targets.values()]
    if summary.job is not None:
        return False
    ended = summary.error or summary.stopped or (halted and all(halted))
    return bool(ended) and not (summary.manifest.lines or any(summary.outcomes.values()))


def _advice(summary: Summary) -> str:
    """What the exit code asks for."""
    if summary.exit_code == ExitCode.FAILED and summary.error:
        return REFUSED
    return ADVICE[ExitCode(summary.exit_code)]


def next_steps(summary: Summary, recommended: Recommended = PLAIN) -> list[str]:
    """What to type next, the most urgent first: how many definitions it is about, and the command."""
    outcomes = summary.outcomes
    unresolved = max(summary.open, outcomes.get(Outcome.AMBIGUOUS, 0))
    lines = "invalid line" if summary.manifest.invalid == 1 else "invalid lines"
    steps = (
        (outcomes.get(Outcome.FAILED, 0), "failed", "list --state failed"),
        (outcomes.get(Outcome.PARKED, 0), "parked", "list --state parked"),
        (unresolved, "unresolved", "reconcile"),
        (summary.manifest.invalid, lines, "validate MANIFEST"),
        (outcomes.get(Outcome.DRIFTED, 0), "drifted", "plan MANIFEST --on-change replace"),
    )
    return [f"{number} {what}: {recommended.command(words)}" for number, what, words in steps if number]


def found_text(summary: Summary, *, command: str, recommended: Recommended = PLAIN) -> str:
    """The text form of a past run of a command that registers nothing: what it found, resolved and deleted."""
    found = counts_text(summary.found)
    manifest = manifest_text(summary.manifest) if summary.manifest.lines else ""
    if command == "verify" and not found:
        compared = "manifest, ledger and AWS" if manifest else "the ledger and AWS"
        found = f"nothing: {compared} agree" if not summary.exit_code else "nothing so far"
    lines = {
        "manifest": manifest,
        "found": found,
        "resolved": counts_text(resolved_of(summary)),
        "deleted": counted(summary.pruned, "algorithm", "algorithms") if summary.pruned else "",
        "calls": counts_text(summary.calls) or "none",
        "time": f"{summary.elapsed_s:.1f} s",
    }
    shown = [f"{what:10s}{text}" for what, text in lines.items() if text]
    rest = superseded_lines(summary, recommended)
    return framed(summary, [*shown, *gone_lines(summary), *rest], recommended)


def one_line(summary: Summary) -> str:
    """What a run did, in one line."""
    resolved = resolved_of(summary)
    done = Counter(summary.outcomes) + Counter({"deleted": summary.pruned, "already gone": summary.already_gone})
    did = counts_text(summary.found) or counts_text(done) or counts_text(resolved) or counts_text(summary.calls)
    ends = [f"stopped: {summary.stopped}"] if summary.stopped else []
    paused = [name for name, target in summary.targets.items() if _is_paused(target)]
    ends += [f"paused: {named(paused)}"] if paused else []
    ends += [f"error: {summary.error}"] if summary.error else []
    return "; ".join([did or "nothing", *ends])


def resolved_of(summary: Summary) -> Counter[str]:
    """Entries that sweeps resolved, by decision."""
    resolved: Counter[str] = Counter()
    for target in summary.targets.values():
        resolved.update(target.resolved)
    return resolved


def counts_text(counts: Mapping[str, int]) -> str:
    """``3 created, 1 failed``."""
    return ", ".join(f"{number} {what}" for what, number in counts.items() if number)


def job_lines(summary: Summary, recommended: Recommended) -> list[str]:
    """Which part of a job a worker had; none for a run of its own, or one that nobody else took part in."""
    if (part := summary.job) is None or (part.automatic and len(summary.targets) == part.targets):
        return []
    left = f", {part.left} left" if part.left else ""
    others = len(summary.targets) < part.targets
    bad = f", {counted(part.bad, 'target', 'targets')} of the job did not end with 0" if part.bad and others else ""
    by = _started_text(part.workers, part.started) if part.started else "this worker"
    mine = f"{len(summary.targets)} of {counted(part.targets, 'target', 'targets')} by {by}{left}{bad}"
    if not part.open:
        mine = f"finished before this worker began, so nothing was done{bad}; another --job ID begins a new job"
    return [f"job       {part.job}: {mine}; `{recommended.command(f'runs --job {part.job}')}` shows the whole job"]


def _started_text(workers: int, started: Started) -> str:
    """How many workers one command started, and what became of them: ``4 workers (1 died and was not restarted)``."""
    again = started.died - started.gone
    became = [
        (again, "died and was restarted", "died and were restarted"),
        (started.gone, "died and was not restarted", "died and were not restarted"),
        (started.unplaced, "never had a place", "never had a place"),
    ]
    notes = ", ".join(f"{number} {one if number == 1 else several}" for number, one, several in became if number)
    return counted(workers, "worker", "workers") + (f" ({notes})" if notes else "")


def manifest_text(manifest: ManifestCounts) -> str:
    """``3 lines, 2 valid, 1 invalid``."""
    read = counted(manifest.lines, "line", "lines") + (" read before the run ended" if manifest.partial else "")
    repeated = f", {manifest.repeated} repeated" if manifest.repeated else ""
    left_out = f" ({manifest.unselected} not selected)" if manifest.unselected else ""
    return f"{read}, {manifest.valid} valid{left_out}, {manifest.invalid} invalid{repeated}"


def _work_lines(summary: Summary, recommended: Recommended) -> list[str]:
    """The lines about the manifest, outcomes, calls, targets and problems."""
    manifest, calls = summary.manifest, summary.calls
    outcomes = counts_text(summary.outcomes)
    # What a sweep resolved without a line of the manifest would otherwise show nowhere.
    resolved = "" if outcomes else counts_text(resolved_of(summary))
    nothing = "none" if summary.exit_code or resolved else "nothing to do"
    if manifest.unselected and manifest.unselected == manifest.valid:
        nothing = "none: no definition is selected"
    # An earlier version did not count every kind.
    others = [f"{calls.get(kind, 0)} {kind}" for kind in CALLS[2:] if calls.get(kind) or kind in {"list", "get"}]
    sent = ", ".join([f"{calls['create']} create ({calls['throttled']} throttled)", *others])
    lines = [
        *job_lines(summary, recommended),
        f"manifest  {manifest_text(manifest)}",
        f"outcomes  {outcomes or nothing}",
        *([f"resolved  {resolved}"] if resolved else []),
        *([f"deleted   {summary.pruned} pruned"] if summary.pruned else []),
        *gone_lines(summary),
        f"calls     {sent}",
        f"time      {summary.elapsed_s:.1f} s{_per_s(calls, summary.elapsed_s)}",
        *target_lines(summary, recommended),
    ]
    lines += superseded_lines(summary, recommended)
    if summary.problems_total:
        lines += [f"problems  {summary.problems_total}", *problem_lines(summary, recommended)]
    return lines


def gone_lines(summary: Summary) -> list[str]:
    """How many algorithms were to be deleted and were gone already; none if there were none."""
    number = summary.already_gone
    what = counted(number, "algorithm that was to be deleted was", "algorithms that were to be deleted were")
    return [f"gone      {what} gone already"] if number else []


def superseded_lines(summary: Summary, recommended: Recommended = PLAIN) -> list[str]:
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
        look = f"`{recommended.command(LIST_SUPERSEDED)}` says why"
        lines.append(f"to delete {what}: {look}, and what deletes {'it' if due == 1 else 'them'}")
    return lines


# Targets.


class _Part(NamedTuple):
    """One target's part of a run.

    Attributes:
        name, target: of it.
        weight: the lower, the more urgent it is; see :func:`_weight`.
    """

    name: str
    target: TargetSummary
    weight: int


UNOPENED, HALTED, TROUBLED, PAUSED, NOT_BEGUN, UNFINISHED, WELL = -2, -1, 4, 7, 8, 9, 10
"""Weights of other targets. The last two need no attention: some work is left; everything is as the manifest says."""
_HALTS = {Stage.UNOPENED: UNOPENED, Stage.BEGUN: HALTED, Stage.NOT_BEGUN: NOT_BEGUN}
_HEADS = {
    UNOPENED: "unopened",
    HALTED: "halted",
    TROUBLED: "with problems",
    PAUSED: "paused",
    NOT_BEGUN: "not begun",
    UNFINISHED: "with work left",
    WELL: "done",
}


_RESUME = f"`{RESUME} TARGET...`"
"""What the reason of a paused target has in place of the command that ends its pause."""


def _weight(target: TargetSummary) -> int:
    if target.halted:
        return PAUSED if _is_paused(target) else _HALTS[target.stage]
    wrong = [weight for outcome, weight in WRONG.items() if target.outcomes.get(outcome)]
    if wrong or target.open:
        return min(wrong, default=WRONG[Outcome.AMBIGUOUS])
    if target.problems:  # such as an algorithm that nothing names, or a prune that was refused
        return TROUBLED
    return UNFINISHED if target.outcomes.get(Outcome.PENDING) else WELL


def _is_paused(target: TargetSummary) -> bool:
    """Whether a pause is why it halted; what only reads a paused target may halt for another reason."""
    return target.paused is not None and (target.halted or "").startswith("paused ")


def target_lines(summary: Summary, recommended: Recommended = PLAIN) -> list[str]:
    """The targets: those that need attention first, each with its counts, the reason and the command to look."""
    if len(summary.targets) == 1:
        return [f"target    {name} ({_place(target)})" for name, target in summary.targets.items()]
    parts = [_Part(name, target, _weight(target)) for name, target in summary.targets.items()]
    parts.sort(key=lambda part: (part.weight, -part.target.outcomes.get(Outcome.FAILED, 0)))
    attention = [part for part in parts if part.weight < UNFINISHED]
    others = parts[len(attention) :]
    heads = Counter(_head(part.weight) for part in parts)  # in the order of the parts
    lines = [f"{TARGETS}{len(parts)}: {counts_text(heads)}"] if parts else []
    alike = _alike(attention)
    if len(alike) > SHOWN_IN_TEXT:
        alike = _alike(attention, by_state=True)
    groups = [_group_lines(group, recommended) for group in alike]
    lines += [line for group in groups[:SHOWN_IN_TEXT] for line in group]
    if len(groups) > SHOWN_IN_TEXT:
        lines.append(f"  and {len(groups) - SHOWN_IN_TEXT} more that need attention: `{recommended.command('status')}`")
    if len(parts) <= FEW:
        return lines + [f"{_target_line(part)}{_per_s(part.target.calls, summary.elapsed_s)}" for part in others]
    for _, same in groupby(others, lambda part: part.weight):
        collapsed = list(same)
        outcomes = sum((Counter(part.target.outcomes) for part in collapsed), Counter[str]())
        targets = counted(len(collapsed), "other", "others") if attention else "all of them"
        lines.append(f"  {targets}: {counts_text(outcomes) or 'nothing to do'}")
    return lines


def _head(weight: int) -> str:
    if weight in _HEADS:
        return _HEADS[weight]
    urgent = weight in {WRONG[Outcome.FAILED], WRONG[Outcome.PARKED]}
    return "with failures" if urgent else "unresolved or drifted"


def _alike(parts: Iterable[_Part], *, by_state: bool = False) -> list[list[_Part]]:
    """The parts, those together that halted for one reason if they are many.

    Args:
        parts: in order.
        by_state: whether many that did not halt are together, too, where the same is wrong with them: each kind is
            shown then, rather than the first kind alone.
    """
    groups: dict[tuple[str, str], list[_Part]] = {}
    for part in parts:
        if part.target.halted:
            key = key_of("halted", _without_name(part))
        else:
            key = ("", str(part.weight) if by_state else part.name)
        groups.setdefault(key, []).append(part)
    return [
        group for alike in groups.values() for group in ([alike] if len(alike) > NAMED else [[part] for part in alike])
    ]


def _group_lines(group: Sequence[_Part], recommended: Recommended) -> list[str]:
    first = group[0]
    if len(group) == 1:
        line = _target_line(first)
    else:
        outcomes = sum((Counter(part.target.outcomes) for part in group), Counter[str]())
        outcomes += Counter(problems=sum(part.target.problems for part in group if part.weight == TROUBLED))
        line = f"  {len(group)} targets ({named([part.name for part in group])}): {counts_text(outcomes) or 'nothing'}"
    look = "" if len(group) > 1 and first.target.halted else _look(group, recommended)
    line += f": `{look}`" if look else ""
    reason = [f"    {_head(first.weight)}: {_reason_of_all(group, recommended)}"] if first.target.halted else []
    return [line, *reason]


def _look(group: Sequence[_Part], recommended: Recommended) -> str:
    """The command that shows what is wrong in these targets; with several of them, in all targets."""
    target, where = group[0].target, f" --target {group[0].name}" if len(group) == 1 else ""
    for outcome in (Outcome.FAILED, Outcome.PARKED, Outcome.DRIFTED):
        if target.outcomes.get(outcome):
            return recommended.command(f"list --state {outcome}{where}")
    unresolved = target.open or target.outcomes.get(Outcome.AMBIGUOUS)
    return recommended.command(f"reconcile{where}") if unresolved else ""


def _target_line(part: _Part) -> str:
    counts = counts_text(part.target.outcomes) or "nothing done"
    if part.weight == TROUBLED:
        counts += f", {counted(part.target.problems, 'problem', 'problems')}"
    return f"  {part.name} ({_place(part.target)}): {counts}"


def _place(target: TargetSummary) -> str:
    return f"{target.account_id} {target.region}".strip() or "account and Region unknown"


def _reason(part: _Part) -> str:
    """Why it halted, without what the line says besides."""
    return (part.target.halted or "").removeprefix(f"{part.name}: ").removeprefix("paused ")


def _reason_of_all(group: Sequence[_Part], recommended: Recommended) -> str:
    """Why they halted; a command that ends the pause of one ends that of each, with its name."""
    reason, resumed = _without_name(group[0]), shlex.quote(group[0].name) if len(group) == 1 else "TARGET..."
    if any(_without_name(part) != reason for part in group):
        _, reason = key_of("", reason)
    return reason.replace(_RESUME, f"`{recommended.command(f'resume {resumed}')}`")


def _without_name(part: _Part) -> str:
    return _reason(part).replace(f"`{RESUME} {shlex.quote(part.name)}`", _RESUME)


def named(names: Sequence[str]) -> str:
    """The first of ``names``, and how many more there are."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def halt_lines(summary: Summary, recommended: Recommended = PLAIN) -> list[str]:
    """A line for each reason for which targets halted."""
    halted = [_Part(name, target, _weight(target)) for name, target in summary.targets.items() if target.halted]
    groups = _alike(sorted(halted, key=lambda part: part.weight))
    lines = [
        f"{_head(group[0].weight):10s}{named([part.name for part in group])}: {_reason_of_all(group, recommended)}"
        for group in groups[:SHOWN_IN_TEXT]
    ]
    more = len(groups) - SHOWN_IN_TEXT
    return lines + ([f"          and {more} more: --output json has all"] if more > 0 else [])


# Problems.


def problem_lines(summary: Summary, recommended: Recommended = PLAIN, *, listed_by: str = "") -> list[str]:
    """The problems by cause: what several definitions have in common once, with a count, then the others.

    Args:
        summary: with the problems.
        recommended: completes commands.
        listed_by: the command that lists all of them; "" is the one about the run.
    """
    several = len(summary.targets) > 1
    # The ledger has no record of a process that only started workers, but one of each of them.
    run = f"runs --job {summary.job.job}" if summary.job and summary.job.started else f"runs {summary.run_id}"
    record = listed_by or run
    causes = [
        line
        for cause in summary.causes[:SHOWN_IN_TEXT]
        for line in _cause_lines(cause, cause.listed_by("" if listed_by else record), recommended, several=several)
    ]
    others = single(summary.problems, summary.causes)[: max(0, SHOWN_IN_TEXT - len(summary.causes))]
    shown = sum(cause.count for cause in summary.causes[:SHOWN_IN_TEXT]) + len(others)
    more = summary.problems_total - shown
    rest = [f"  and {more} more: `{recommended.command(record)}` lists all"] if more > 0 else []
    return [*causes, *(problem_line(problem, several=several) for problem in others), *rest]


def _cause_lines(cause: Cause, words: str, recommended: Recommended, *, several: bool) -> list[str]:
    names = ", ".join(_example(example, several=several) for example in cause.examples)
    more = cause.count - len(cause.examples)
    names += f" and {more} more" if more else ""
    return [
        f"  {cause.code} ({cause.count} times): {printable(cause.message)}",
        f"    {names}: `{recommended.command(words)}` lists them" if words else f"    {names}",
    ]


def _example(example: Example, *, several: bool) -> str:
    if not (example.name or example.source):  # it is about the target as a whole
        return example.target
    return f"{example} ({example.target})" if several and example.target else str(example)


def problem_line(problem: Problem, *, several: bool = False) -> str:
    """A problem in one line, with its target where there are several."""
    target = f"{problem.target}: " if several and problem.target else ""
    place = f"{problem.source}:{problem.line}: " if problem.source else ""
    name = f"{problem.name}: " if problem.name else ""
    return f"  {target}{place}{name}{problem.code}: {printable(problem.message)}"


def _per_s(calls: Mapping[str, int], elapsed_s: float) -> str:
    """The rate of a whole run that created: creates that were answered and not throttled, over its duration."""
    answered = calls["create"] - calls["throttled"]
    return f", {answered / elapsed_s:.1f} creates/s" if answered and elapsed_s else ""
