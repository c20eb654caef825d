"""The text form of a plan."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from provisioner.errors import counted, printable, printable_lines
from provisioner.exit_codes import ADVICE, ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.commands.plan import Plan, PlanStep
    from provisioner.report.summary import Summary

SHOWN = 20
"""Steps of one action that are shown unless all are asked for."""
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


def plan_text(plan: Plan, summary: Summary, *, everything: bool) -> str:
    """The plan for people.

    Args:
        plan: to show.
        summary: of the command.
        everything: show every step.
    """
    several = len({step.target for step in plan.steps}) > 1
    lines: list[str] = []
    for action, group in groupby(plan.steps, lambda step: step.action):
        lines += [*_group(action, list(group), several=several, everything=everything), ""]
    lines += summary.halts()
    for problem in summary.problems[:SHOWN]:
        lines.append(f"problem   {printable(problem.source)}:{problem.line}: {printable(problem.message)}")
    return printable_lines([*lines, *_closing(plan, summary)])


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
    counts = ", ".join(f"{number} {action}" for action, number in plan.counts.items() if number)
    calls = ", ".join(f"{number} {kind}" for kind, number in plan.calls.items() if number) or "none"
    source = "the ledger alone (--offline)" if plan.offline else f"the ledger and the account, calls: {calls}"
    lines = [
        f"plan      {counts or 'the manifest has no definitions'}",
        f"read      {source}",
    ]
    if plan.estimate_s:
        lines.append(f"time      about {_duration(plan.estimate_s)} at the learned pace")
    if plan.deletes:
        lines.append(
            f"deletes   {counted(plan.deletes, 'algorithm', 'algorithms')}; `apply` asks first, or needs --yes"
        )
    return [*lines, f"ledger    {summary.ledger}", f"exit      {plan.exit_code}: {ADVICE[ExitCode(plan.exit_code)]}"]


def _duration(seconds: float) -> str:
    if seconds < 60:  # noqa: PLR2004  a minute
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004  an hour
