"""``provisioner verify``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from provisioner.cli import parameters
from provisioner.cli.options import common, lock_timeout
from provisioner.cli.running import COMMON, SelectiveOptions, execute
from provisioner.cli.selection import selection
from provisioner.errors import UsageError, counted, printable, printable_lines

if TYPE_CHECKING:
    from provisioner.commands.verify import Finding
    from provisioner.exit_codes import ExitCode
    from provisioner.report.recommended import Recommended
    from provisioner.report.summary import Summary


class VerifyOptions(SelectiveOptions, frozen=True, kw_only=True):
    """The options of ``verify``, and what it finds."""

    findings: list[Finding]

    def json(self, summary: Summary) -> bytes:
        """The summary with the findings."""
        from provisioner.commands.verify import with_findings

        return with_findings(summary, self.findings)

    def text(self, summary: Summary, recommended: Recommended) -> str:
        """One line for each finding."""
        from provisioner.report.text import halt_lines, whole_path

        lines = [_line(finding) for finding in self.findings]
        lines += [f"error     {summary.error}"] if summary.error else []
        halts = halt_lines(summary, recommended)
        lines += halts
        broken = summary.error or halts
        result = "not compared" if broken and not self.findings else counted(len(self.findings), "finding", "findings")
        return printable_lines([f"ledger     {whole_path(summary.ledger)}", *lines, result])


def _line(finding: Finding) -> str:
    name, done = printable(finding.name), ", deleted" if finding.pruned else ", marked" if finding.marked else ""
    return f"{finding.kind:11s}{finding.target}: {name}: {finding.arn}: {printable(finding.message)}{done}"


@click.command("verify")
@common(*COMMON)
@selection()
@parameters.option("--prune-duplicates", is_flag=True, help="Delete duplicates that this ledger created; needs --yes.")
@parameters.option(
    "--mark-missing",
    is_flag=True,
    help="Record missing algorithms as deleted, so that the next apply creates them again.",
)
@parameters.option(
    "--mark-drifted",
    is_flag=True,
    help="Record that tags were changed or added in AWS: the next apply sets changed ones again, and with --own-tags "
    "removes added ones.",
)
@parameters.option(
    "--mark-unrecorded",
    is_flag=True,
    help="Record algorithms that this ledger created and no entry names, whether or not the manifest has them.",
)
@parameters.option("--yes", is_flag=True, help="Confirm that duplicates may be deleted.")
@lock_timeout
def command(
    *,
    prune_duplicates: bool,
    mark_missing: bool,
    mark_drifted: bool,
    mark_unrecorded: bool,
    yes: bool,
    **given: Any,  # noqa: ANN401  typed by VerifyOptions
) -> ExitCode:
    """Reports what is missing, drifted, foreign, duplicate or unrecorded. Deletes nothing unless you ask for it.

    Exit codes: 0 when ledger and AWS agree, apart from tags that others added (tagged), 3 when something is missing,
    drifted or foreign (not tagged as this ledger's), 5 when there are duplicates, algorithms that this ledger created
    but does not record, or algorithms that could not be read.
    """
    if prune_duplicates and not yes:
        raise UsageError("--prune-duplicates deletes algorithms", hint="Run `provisioner verify` first, then add --yes")
    from provisioner.commands.verify import Marks, verify

    findings: list[Finding] = []
    options = VerifyOptions(**given, findings=findings)
    marks = Marks(missing=mark_missing, drifted=mark_drifted, unrecorded=mark_unrecorded)
    work = partial(verify, findings=findings, marks=marks, prune_duplicates=prune_duplicates)
    return execute(options, work)
