"""``provisioner verify``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click
import msgspec

from provisioner.cli import parameters
from provisioner.cli.options import common, lock_timeout, manifest_argument
from provisioner.cli.program import current
from provisioner.cli.running import COMMON, SelectiveOptions, execute
from provisioner.cli.selection import selection
from provisioner.errors import UsageError, counted, printable, printable_lines

if TYPE_CHECKING:
    from provisioner.commands.run import Order
    from provisioner.commands.verify import Finding
    from provisioner.config.settings import Settings
    from provisioner.exit_codes import ExitCode
    from provisioner.report.recommended import Recommended
    from provisioner.report.summary import Summary


class VerifyOptions(SelectiveOptions, frozen=True, kw_only=True):
    """The options of ``verify``, and what it finds."""

    manifest: tuple[str, ...]
    findings: list[Finding]

    def order(self, settings: Settings) -> Order:
        """What the run is to do."""
        return msgspec.structs.replace(super().order(settings), sources=self.manifest)

    def json(self, summary: Summary) -> bytes:
        """The summary with the findings."""
        from provisioner.commands.verify import with_findings

        return with_findings(summary, self.findings)

    def text(self, summary: Summary, recommended: Recommended) -> str:
        """One line for each finding."""
        from provisioner.report.text import halt_lines, manifest_text, problem_lines, whole_path

        width = max([COLUMN, *(len(finding.kind) + 1 for finding in self.findings)])
        halts = halt_lines(summary, recommended)
        broken = summary.error or halts or summary.stopped
        lines = [f"{'ledger':{width}s}{whole_path(summary.ledger)}"]
        if summary.manifest.lines or (self.manifest and not broken):
            lines.append(f"{'manifest':{width}s}{manifest_text(summary.manifest)}")
        lines += [f"{finding.kind:{width}s}{_text(finding)}" for finding in self.findings]
        if summary.problems_total:
            lines += [f"{'problems':{width}s}{summary.problems_total}", *problem_lines(summary, recommended)]
        lines += [f"stopped   {summary.stopped}"] if summary.stopped else []
        lines += [f"error     {summary.error}"] if summary.error else []
        lines += halts
        result = "not compared" if broken and not self.findings else counted(len(self.findings), "finding", "findings")
        return printable_lines([*lines, result])


COLUMN = 11
"""The width of the first column, unless a kind is longer."""


def _text(finding: Finding) -> str:
    place = f"{finding.source}:{finding.line}" if finding.source else ""
    parts = (finding.target, printable(finding.name), finding.arn, place, printable(finding.message))
    done = ", deleted" if finding.pruned else ", marked" if finding.marked else ""
    return ": ".join(part for part in parts if part) + done


@click.command("verify")
@manifest_argument(required=False)
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
    """Compares ledger and AWS: what is missing, drifted, foreign, duplicate or unrecorded.

    With MANIFEST, given as to `apply`, also ledger and manifest: what is unregistered, changed, unresolved or orphaned
    (no longer defined). Nothing is changed or deleted unless you ask for it.

    Exit codes: 0 when all agree, apart from tags that others added (tagged) and what is orphaned; 3 when something is
    missing, drifted, foreign (not tagged as this ledger's), unregistered or changed, or orphaned while [lifecycle]
    prune is true; 5 when there are duplicates, algorithms that this ledger created but does not record, or that could
    not be read, or unresolved definitions; 65 for invalid lines.
    """
    if prune_duplicates and not yes:
        raise UsageError("--prune-duplicates deletes algorithms", hint="Run `provisioner verify` first, then add --yes")
    from provisioner.commands.verify import Marks, verify

    findings: list[Finding] = []
    options = VerifyOptions(**given, findings=findings)
    marks = Marks(missing=mark_missing, drifted=mark_drifted, unrecorded=mark_unrecorded)
    stdin = current().streams.stdin
    work = partial(verify, findings=findings, marks=marks, prune_duplicates=prune_duplicates, stdin=stdin)
    return execute(options, work)
