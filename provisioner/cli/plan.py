"""``provisioner plan``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from provisioner.cli.apply import ApplyOptions, with_options
from provisioner.cli.files import whole_file
from provisioner.cli.program import current
from provisioner.cli.running import execute
from provisioner.errors import UsageError

if TYPE_CHECKING:
    from provisioner.commands.planfile import PlanFile
    from provisioner.commands.run import Run
    from provisioner.exit_codes import ExitCode
    from provisioner.report.plan import Plan
    from provisioner.report.summary import Summary


class PlanOptions(ApplyOptions, frozen=True, kw_only=True):
    """The options of ``plan``, and the plan once it is made."""

    offline: bool
    all: bool
    out: str | None
    made: list[Plan]

    def json(self, summary: Summary) -> bytes:
        """The plan, with the error that ended it if there is one."""
        plan = msgspec.to_builtins(self.made[0]) if self.made else {"exit_code": summary.exit_code}
        ended = {"exit_code": summary.exit_code, "error": summary.error} if summary.error else {}
        return msgspec.json.encode(plan | ended)

    def text(self, summary: Summary) -> str:
        """The plan for people."""
        from provisioner.report.plan import plan_text

        if summary.error or not self.made:
            return summary.text()
        return plan_text(self.made[0], summary, everything=self.all)


@click.command("plan")
@click.argument("manifest", nargs=-1, required=True)
@with_options
@click.option("-o", "--out", metavar="FILE", help="Save the plan; `apply --plan FILE` carries out exactly its steps.")
@click.option("--offline", is_flag=True, help="Plan by the ledger alone, without reading the account.")
@click.option("--all", is_flag=True, help="Show every step; otherwise long lists are shortened.")
def command(**given: Any) -> ExitCode:  # noqa: ANN401  click's values, typed by PlanOptions
    """MANIFEST is as for `apply`. Shows what `apply` with the same options would do, and why.

    It reads the ledger and the account, changes neither, and can run while `apply` does. Exit codes: 0, or 10 with
    --detailed-exitcode when there is something to do; 3 when something is in the way or drifted; 65 for invalid lines.
    """
    made: list[Plan] = []

    async def work(run: Run) -> Summary:
        from provisioner.commands.plan import PlanCommand

        planner = PlanCommand(run, offline=options.offline)
        summary = await planner.plan(current().streams.stdin)
        if planner.made is not None:
            made.append(planner.made)
        if options.out and summary.error is None:
            _save(planner.saved, options.out)
        return summary

    options = PlanOptions(**given, made=made)
    return execute(options, work)


def _save(saved: PlanFile | None, out: str) -> None:
    """Write the plan to a file that nobody else can read.

    Raises:
        UsageError: it cannot be saved.
    """
    if saved is None:
        why = (
            "standard input cannot be read again, --offline has not read the account, or a target could not be planned"
        )
        raise UsageError("this plan cannot be saved", why=why, hint="Plan a file, with every target within reach")
    with whole_file(out) as write:
        write(saved.encoded().decode())
