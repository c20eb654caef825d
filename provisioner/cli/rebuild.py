"""``provisioner rebuild``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from provisioner import commands
from provisioner.cli.options import common
from provisioner.cli.running import COMMON, Options, execute

if TYPE_CHECKING:
    from provisioner.exit_codes import ExitCode
    from provisioner.report.summary import Summary


class RebuildOptions(Options, frozen=True, kw_only=True):
    """The command line of ``rebuild``."""

    def text(self, summary: Summary) -> str:
        """How many entries were restored, in the text form."""
        if self.output == "json" or summary.error:
            return super().text(summary)
        lines = [
            f"target    {name}: {target.resolved.get('rebuilt', 0)} entries rebuilt"
            for name, target in summary.targets.items()
        ]
        return "\n".join([*lines, *summary.text().splitlines()[-2:]])


@click.command("rebuild")
@common(*COMMON)
@click.option("--ledger-id", default="", metavar="ID", help="Of the lost ledger, when the tags name several.")
def command(ledger_id: str, **given: Any) -> ExitCode:  # noqa: ANN401  click's values, typed by RebuildOptions
    """Reads List and Get, and restores an entry for every algorithm that bears the ownership tag of the lost ledger.

    The ledger must not exist: move a damaged one away first. What was planned, failed or ambiguous is not in AWS; the
    next `apply` sees it as new, so let the settle time pass first if the lost ledger had open entries.
    """
    return execute(RebuildOptions(**given), partial(commands.rebuild, ledger_id=ledger_id))
