"""A plan as it is shown: its JSON form is a contract, its text form is for people."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import msgspec

from provisioner.core.difference import Change  # noqa: TC001  to read a plan, its annotations are looked up
from provisioner.core.problem import Problem  # noqa: TC001  the same
from provisioner.errors import counted, printable
from provisioner.report.recommended import PLAIN
from provisioner.report.summary import Paused  # noqa: TC001  the same
from provisioner.report.text import counts_text, framed, next_steps, problem_lines

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from provisioner.report.recommended import Recommended
    from provisioner.report.summary import Summary

SHOWN = 20
"""Steps of one action that are shown unless all are asked for."""
QUOTAS_SHOWN = 20
"""Targets whose quota is too small that have a line of their own."""
TARGETS_NAMED = 10
"""New or gone targets that are named."""
_SIGNS = {
    "create": "+",
    "recreate": "+",
    "recover": "=",
    "adopt": "=",
    "update": "~",
    "replace": "±",
    "delete": "-",
    "drifted": "!",
    "orphaned": "?",
    "conflict": "!",
    "failed": "!",
    "ambiguous": "?",
}
_TITLES = {
    "create": "to create",
    "recreate": "to create again",
    "recover": "to recover",
    "adopt": "to adopt",
    "update": "to update (tags)",
    "replace": "to replace",
    "delete": "to delete",
    "drifted": "drifted, and left as they are",
    "orphaned": "no longer in the manifest, and left as they are",
    "conflict": "in conflict",
    "failed": "failed before",
    "ambiguous": "unresolved",
}


class PlanStep(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of a plan, as it is shown.

    Attributes:
        target, name: of the definition or the entry.
        action: what is done.
        reason: why.
        changes: what differs, path by path.
        arn: of the algorithm that it is about, "" if there is none.
    """

    target: str
    name: str
    action: str
    reason: str
    changes: list[Change] = []
    arn: str = ""


class Plan(msgspec.Struct, kw_only=True):
    """What ``apply`` would do.

    Attributes:
        plan_id: of this plan.
        ledger_id: of the ledger.
        serial: the ledger's count of changes of the planned targets.
        exit_code: of ``plan``.
        counts: of steps by action.
        steps: all but those of unchanged definitions, grouped by action.
        calls: that the plan made.
        estimate_s: how long ``apply`` is expected to take at the learned paces.
        problems, problems_total: of the manifest.
        offline: whether the account was not read.
        deletes: how many algorithms would be deleted, those that are replaced included.
        refused: why ``apply`` would do nothing, and what to do; "" if it would not refuse.
        halted: why a target could not be planned, by target.
        quotas: how many creates do not fit into the quota, and where its number comes from, by target.
        paused: targets that ``apply`` leaves alone until their pause ends.
        new: targets that no run with this ledger has reached; none for a new ledger.
        gone: targets that the ledger has and the configuration has no longer, with how many entries they have.
        joined, left: targets that are selected, and that are not, because their account's tags have changed.
    """

    plan_id: str
    ledger_id: str
    serial: int
    exit_code: int
    counts: dict[str, int]
    steps: list[PlanStep]
    calls: dict[str, int]
    estimate_s: float
    problems: list[Problem]
    problems_total: int
    offline: bool = False
    deletes: int = 0
    refused: str = ""
    halted: dict[str, str] = {}
    quotas: dict[str, str] = {}
    paused: dict[str, Paused] = {}
    new: list[str] = []
    gone: dict[str, int] = {}
    joined: list[str] = []
    left: list[str] = []


def plan_text(plan: Plan, summary: Summary, recommended: Recommended = PLAIN, *, everything: bool) -> str:
    """The plan for people.

    Args:
        plan: to show.
        summary: of the command.
        recommended: completes commands.
        everything: show every step.
    """
    several = len({step.target for step in plan.steps}) > 1
    lines: list[str] = []
    for action, group in groupby(plan.steps, lambda step: step.action):
        lines += [*_group(action, list(group), several=several, everything=everything), ""]
    if summary.problems_total:
        lines += [
            f"problems  {summary.problems_total}",
            *problem_lines(summary, recommended, listed_by="validate MANIFEST"),
        ]
    return framed(summary, [*lines, *_closing(plan, summary)], recommended, next_steps(summary, recommended))


def _group(action: str, steps: Sequence[PlanStep], *, several: bool, everything: bool) -> list[str]:
    lines = [f"{len(steps)} {_TITLES[action]}"]
    shown = steps if everything else steps[:SHOWN]
    for step in shown:
        name = f"{step.target}: {printable(step.name)}" if several else printable(step.name)
        lines.append(f"  {_SIGNS[action]} {name}: {printable(step.reason)}")
        lines += [f"      {change}" for change in step.changes]
    if len(shown) < len(steps):
        lines.append(f"    and {len(steps) - len(shown)} more: --all shows them, --output json has them")
    return lines


def _closing(plan: Plan, summary: Summary) -> list[str]:
    counts, calls = counts_text(plan.counts), counts_text(plan.calls) or "none"
    source = "the ledger alone (--offline)" if plan.offline else f"the ledger and the account, calls: {calls}"
    lines = [
        f"plan      {counts or ('nothing yet' if summary.stopped else 'the manifest has no definitions')}",
        f"read      {source}",
    ]
    if plan.estimate_s:
        lines.append(f"time      about {_duration(plan.estimate_s)} at the learned pace")
    if plan.refused:
        lines.append(f"refused   {plan.refused}")
    elif plan.deletes:
        lines.append(
            f"deletes   {counted(plan.deletes, 'algorithm', 'algorithms')}; `apply` asks first, or needs --yes"
        )
    pauses: dict[Paused, list[str]] = {}
    for name, pause in plan.paused.items():
        pauses.setdefault(pause, []).append(name)
    for pause, names in pauses.items():
        why = f": {printable(pause.reason)}" if pause.reason else ""
        who = names[0] if len(names) == 1 else _named(names)
        lines.append(f"paused    {who} until {pause.until}{why}; until then `apply` sends nothing there")
    if plan.new:
        lines.append(f"new       {_named(plan.new)}: no run with this ledger has been there yet")
    if plan.gone:
        left = counted(sum(plan.gone.values()), "entry", "entries")
        lines.append(f"gone      {_named(plan.gone)}, with {left}: not in the configuration; nothing there is changed")
    if plan.joined:
        lines.append(f"joined    {_named(plan.joined)}: newly selected, because account tags have changed")
    if plan.left:
        why = "no longer selected, because account tags have changed; nothing there is changed"
        lines.append(f"left      {_named(plan.left)}: {why}")
    several = len(summary.targets) > 1
    over = [f"quota     {name}: {text}" if several else f"quota     {text}" for name, text in plan.quotas.items()]
    more = len(over) - QUOTAS_SHOWN
    return [*lines, *over[:QUOTAS_SHOWN], *([f"quota     and {more} more: --output json has all"] if more > 0 else [])]


def _named(targets: Collection[str]) -> str:
    names = list(targets)
    more = f" and {len(names) - TARGETS_NAMED} more" if len(names) > TARGETS_NAMED else ""
    return f"{counted(len(names), 'target', 'targets')} ({', '.join(names[:TARGETS_NAMED])}{more})"


def _duration(seconds: float) -> str:
    if seconds < 60:  # noqa: PLR2004  a minute
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004  an hour
