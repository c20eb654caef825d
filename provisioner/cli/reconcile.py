"""``provisioner reconcile``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from provisioner.cli.options import common, lock_timeout
from provisioner.cli.running import COMMON, Options, execute
from provisioner.report.text import framed

if TYPE_CHECKING:
    from provisioner.exit_codes import ExitCode
    from provisioner.report.recommended import Recommended
    from provisioner.report.summary import Summary


class ReconcileOptions(Options, frozen=True, kw_only=True):
    """The options of ``reconcile``."""

    def text(self, summary: Summary, recommended: Recommended) -> str:
        """How many entries were resolved, and how."""
        if summary.error:
            return super().text(summary, recommended)
        from provisioner.core.sweep import Decision

        meaning = {
            Decision.RECOVERED: "recovered",
            Decision.ADOPT: "adopted",
            Decision.TAKEN: "failed (the name belongs to another algorithm)",
            Decision.ABSENT: "absent (the next apply sends them)",
        }
        lines = []
        for name, target in summary.targets.items():
            counts = [f"{target.resolved.get(decision.value, 0)} {text}" for decision, text in meaning.items()]
            lines.append(f"target    {name}: {', '.join(counts)}, {target.open} unresolved")
        return framed(summary, lines, recommended)


@click.command("reconcile")
@common(*COMMON)
@lock_timeout
def command(**given: Any) -> ExitCode:  # noqa: ANN401  click's values, typed by ReconcileOptions
    """Waits for the settle time, lists the account's algorithms, and finds out which of these creates took effect.

    Nothing is created: the next `apply` sends what is proven absent. The exit code is 5 when some remain unresolved.
    """
    from provisioner.commands.reconcile import reconcile

    return execute(ReconcileOptions(**given), reconcile)
