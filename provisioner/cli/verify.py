"""``provisioner verify``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from provisioner import commands
from provisioner.cli.options import common
from provisioner.cli.running import COMMON, Options, execute
from provisioner.errors import UsageError, printable

if TYPE_CHECKING:
    from provisioner.exit_codes import ExitCode
    from provisioner.report.summary import Summary


class VerifyOptions(Options, frozen=True, kw_only=True):
    """The command line of ``verify``."""

    findings: list[commands.Finding]

    def text(self, summary: Summary) -> str:
        """The findings, a line each, in the text form; in JSON they stand beside the summary."""
        if self.output == "json":
            return commands.with_findings(summary, self.findings).decode()
        lines = [_line(finding) for finding in self.findings]
        lines += [f"error     {summary.error}"] if summary.error else []
        lines += [
            f"halted    {name}: {printable(target.halted, 1000)}"
            for name, target in summary.targets.items()
            if target.halted
        ]
        broken = summary.error or any(target.halted for target in summary.targets.values())
        told = "not compared" if broken and not self.findings else f"{len(self.findings)} findings"
        return "\n".join([*lines, f"{told}, ledger {summary.ledger}"])


def _line(finding: commands.Finding) -> str:
    name, pruned = printable(finding.name), ", deleted" if finding.pruned else ""
    return f"{finding.kind:10s}{finding.target}: {name}: {finding.arn}: {printable(finding.message)}{pruned}"


@click.command("verify")
@common(*COMMON)
@click.option("--prune-duplicates", is_flag=True, help="Delete second algorithms of ours; needs --yes.")
@click.option("--mark-missing", is_flag=True, help="Record what is missing as deleted; apply then creates it again.")
@click.option("--yes", is_flag=True, help="Really delete.")
def command(*, prune_duplicates: bool, mark_missing: bool, yes: bool, **given: Any) -> ExitCode:  # noqa: ANN401  typed by VerifyOptions
    """Finds what is missing, drifted, duplicated or unrecorded. Deletes nothing without being asked.

    Ends with 0 when ledger and AWS agree, 3 when something is missing or drifted, 5 when there are duplicates or
    algorithms of ours that the ledger does not record.
    """
    if prune_duplicates and not yes:
        raise UsageError(
            "--prune-duplicates deletes algorithms", hint="Look at `provisioner verify` first, then add --yes"
        )
    findings: list[commands.Finding] = []
    options = VerifyOptions(**given, findings=findings)
    work = partial(commands.verify, findings=findings, prune_duplicates=prune_duplicates, mark_missing=mark_missing)
    return execute(options, work)
