"""``provisioner rebuild``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from provisioner.cli import parameters
from provisioner.cli.options import common, lock_timeout
from provisioner.cli.running import COMMON, Options, execute
from provisioner.errors import counted
from provisioner.report.text import framed

if TYPE_CHECKING:
    from provisioner.exit_codes import ExitCode
    from provisioner.report.recommended import Recommended
    from provisioner.report.summary import Summary


class RebuildOptions(Options, frozen=True, kw_only=True):
    """The options of ``rebuild``."""

    def text(self, summary: Summary, recommended: Recommended) -> str:
        """How many entries were restored."""
        if summary.error:
            return super().text(summary, recommended)
        lines = [
            f"target    {name}: {counted(target.resolved.get('rebuilt', 0), 'entry', 'entries')} rebuilt"
            for name, target in summary.targets.items()
        ]
        return framed(summary, lines, recommended)


@click.command("rebuild")
@common(*COMMON)
@parameters.option(
    "--ledger-id", default="", metavar="ID", help="Id of the lost ledger. Without it, list the ids that the tags name."
)
@lock_timeout
def command(ledger_id: str, **given: Any) -> ExitCode:  # noqa: ANN401  click's values, typed by RebuildOptions
    """Lists the account's algorithms and writes an entry for each one that has the ownership tag of the lost ledger.

    Without --ledger-id it makes no ledger, and lists the ledgers that the tags name. There must be no ledger yet: move
    a damaged one away first, together with its -wal file. What was planned, failed or ambiguous is not in AWS, so the
    next `apply` treats it as new: if the lost ledger may have had unanswered creates, wait for the settle time first.
    """
    from provisioner.commands.rebuild import rebuild

    return execute(RebuildOptions(**given), partial(rebuild, ledger_id=ledger_id))
