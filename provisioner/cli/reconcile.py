"""``provisioner reconcile``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from provisioner import commands
from provisioner.cli.options import common
from provisioner.cli.running import COMMON, Options, execute

if TYPE_CHECKING:
    from provisioner.exit_codes import ExitCode
    from provisioner.report.summary import Summary


class ReconcileOptions(Options, frozen=True, kw_only=True):
    """The command line of ``reconcile``."""

    def text(self, summary: Summary) -> str:
        """What was resolved, in the text form."""
        if self.output == "json" or summary.error:
            return super().text(summary)
        from provisioner.engine.reconciler import Decision

        meaning = {
            Decision.OURS: "found, ours: created",
            Decision.ADOPT: "found, not ours: adopted",
            Decision.TAKEN: "found, not ours: failed",
            Decision.ABSENT: "proven absent: planned again",
        }
        lines = []
        for name, target in summary.targets.items():
            told = [f"{target.resolved.get(decision.value, 0)} {text}" for decision, text in meaning.items()]
            lines.append(f"target    {name}: {', '.join(told)}; {target.open} still open")
        return "\n".join([*lines, summary.text().splitlines()[-1]])


@click.command("reconcile")
@common(*COMMON)
def command(**given: Any) -> ExitCode:  # noqa: ANN401  click's values, typed by ReconcileOptions
    """Waits for the settle time, sweeps List, and proves which of them exist. Nothing is created.

    What is proven absent is planned again, and `apply` sends it. Ends with 5 when some could not be resolved.
    """
    return execute(ReconcileOptions(**given), commands.reconcile)
