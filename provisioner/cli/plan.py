"""``provisioner plan``."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from provisioner.cli import parameters
from provisioner.cli.apply import ApplyOptions, with_options
from provisioner.cli.doctor import check_lines, check_records
from provisioner.cli.files import check_writable, whole_file
from provisioner.cli.options import manifest_argument, out_option
from provisioner.cli.program import current
from provisioner.cli.running import execute
from provisioner.errors import UsageError, printable, printable_lines

if TYPE_CHECKING:
    from provisioner.commands.planfile import PlanFile
    from provisioner.commands.run import Run
    from provisioner.core.checks import Check
    from provisioner.exit_codes import ExitCode
    from provisioner.report.plan import Plan
    from provisioner.report.recommended import Recommended
    from provisioner.report.summary import Summary


class PlanOptions(ApplyOptions, frozen=True, kw_only=True):
    """The options of ``plan``, and the plan once it is made."""

    offline: bool
    preflight: bool
    all: bool
    out: str | None
    made: list[Plan]
    saved: list[PlanFile]
    checks: list[Check]

    def json(self, summary: Summary) -> bytes:
        """The plan, with the error that ended it if there is one."""
        plan = msgspec.to_builtins(self.made[0]) if self.made else {"exit_code": summary.exit_code}
        ended = {"exit_code": summary.exit_code, "error": summary.error} if summary.error else {}
        checks = {"checks": check_records(self.checks)} if self.preflight else {}
        return msgspec.json.encode(plan | checks | ended)

    def text(self, summary: Summary, recommended: Recommended) -> str:
        """The plan for people."""
        from provisioner.report.plan import plan_text

        if summary.error or not self.made:
            return summary.text(recommended)
        text = plan_text(self.made[0], summary, recommended, everything=self.all)
        return f"{printable_lines(check_lines(self.checks))}\n\n{text}" if self.checks else text

    def remarks(self, summary: Summary, recommended: Recommended) -> str:
        """Where the plan is saved."""
        if not self.out or summary.error:
            return ""
        if self.made and (why := self.made[0].refused):
            return printable(f"The plan is not saved: {why}.", 2000)
        if not self.saved:
            return "The plan is not saved, because it is not whole."
        command = recommended.command(f"apply --plan {shlex.quote(self.out)}")
        return printable(f"The plan is saved: `{command}` carries out exactly its steps.", 2000)


@click.command("plan")
@manifest_argument(required=True)
@with_options
@out_option("-o", help="Save the plan; `apply --plan FILE` carries out exactly its steps.")
@parameters.option("--offline", is_flag=True, help="Plan by the ledger alone, without reading the account.")
@parameters.option(
    "--preflight", is_flag=True, help="Look first at the roles, images and keys of the manifest and at the quota."
)
@parameters.option("--all", is_flag=True, help="Show every step; otherwise long lists are shortened.")
def command(**given: Any) -> ExitCode:  # noqa: ANN401  click's values, typed by PlanOptions
    """MANIFEST is as for `apply`. Shows what `apply` with the same options would do, and why.

    It reads the ledger and the account, changes neither, and can run while `apply` does. Exit codes: 0, or 10 with
    --detailed-exitcode when there is something to do; 3 when something is in the way or drifted, or `apply` would
    refuse because of --max-delete, 4 when it is known that not all fits into the quota; 65 for invalid lines.
    """
    options = PlanOptions(**given, made=[], saved=[], checks=[])
    if options.offline and options.preflight:
        raise UsageError("--offline and --preflight exclude each other", hint="Leave one of them out")
    if options.out:
        _check(options)

    async def work(run: Run) -> Summary:
        from provisioner.commands.plan import PlanCommand

        look = None
        if options.preflight:
            from provisioner.commands.preflight import look_first

            look = partial(look_first, run)
        planner = PlanCommand(run, offline=options.offline, preflight=look)
        summary = await planner.plan(current().streams.stdin)
        options.checks.extend(planner.checks)
        if planner.made is not None:
            options.made.append(planner.made)
        if options.out and planner.saved is not None:
            # What it names is deleted by whoever carries it out, so nobody else may change it.
            with whole_file(options.out, mode=0o600) as write:
                write(planner.saved.encoded().decode())
            options.saved.append(planner.saved)
        return summary

    return execute(options, work)


def _check(options: PlanOptions) -> None:
    """Make sure, before anything is read, that the plan can be saved.

    Raises:
        UsageError: it cannot be carried out later, or the file cannot be written.
    """
    if any(source == "-" or Path(source).is_fifo() for source in options.manifest):
        what = "a plan of standard input or a pipe cannot be saved: `apply --plan` reads the manifest again"
        raise UsageError(what, hint="Save the manifest in a file first")
    if options.offline:
        what = "a plan that has not read the account cannot be saved"
        raise UsageError(what, hint="Leave out --offline, or --out")
    check_writable(str(options.out), replace=True)
