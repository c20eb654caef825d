"""``provisioner adopt``."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from provisioner.cli.options import common, lock_timeout, manifest_argument, take_over
from provisioner.cli.program import current
from provisioner.cli.running import COMMON, Options, execute
from provisioner.config.settings import seconds
from provisioner.errors import counted, printable_lines

if TYPE_CHECKING:
    from provisioner.commands.run import Order
    from provisioner.config.settings import Settings
    from provisioner.exit_codes import ExitCode
    from provisioner.report.summary import Summary


class AdoptOptions(Options, frozen=True, kw_only=True):
    """The options of ``adopt``, as click parsed them."""

    manifest: tuple[str, ...]
    absent: Counter[str]
    adopt: Literal["same", "any"]
    take_over: str
    lock_timeout: str

    def order(self, settings: Settings) -> Order:
        """What the run is to do."""
        order = super().order(settings)
        policy = msgspec.structs.replace(order.policy, adopt=self.adopt, take_over=self.take_over, deletes=False)
        return msgspec.structs.replace(
            order, sources=self.manifest, policy=policy, lock_timeout_s=seconds(self.lock_timeout)
        )

    def text(self, summary: Summary) -> str:
        """What was taken over, and what was not."""
        from provisioner.report.summary import SHOWN_IN_TEXT, problem_line

        if summary.error:
            return super().text(summary)
        outcomes = ", ".join(f"{number} {outcome}" for outcome, number in summary.outcomes.items() if number)
        lines = [
            f"manifest  {counted(summary.manifest.lines, 'line', 'lines')}, {summary.manifest.invalid} invalid",
            f"outcomes  {outcomes or 'nothing to adopt'}",
        ]
        if absent := self.absent.total():
            lines.append(f"left      {absent} without an algorithm in AWS, which `provisioner apply` creates")
        lines += [problem_line(problem) for problem in summary.problems[:SHOWN_IN_TEXT]]
        if (more := summary.problems_total - SHOWN_IN_TEXT) > 0:
            lines.append(f"  and {more} more, all of them in the ledger")
        return printable_lines([*lines, *summary.closing()])


@click.command("adopt")
@manifest_argument(required=True)
@common(*COMMON)
@click.option(
    "--adopt",
    type=click.Choice(["same", "any"]),
    default="same",
    show_default=True,
    help="Whether the definitions have to agree.",
)
@take_over
@lock_timeout
def command(**given: Any) -> ExitCode:  # noqa: ANN401  click's values, typed by AdoptOptions
    """MANIFEST is as for `apply`. Takes over algorithms that exist under its names; creates and deletes nothing.

    An adopted algorithm gets the ownership tag in a form of its own, so that `rebuild` finds it, and so that it is
    never deleted unless you say --adopted. `provisioner discover` writes a manifest of what exists.
    """
    from provisioner.commands.adopt import adopt

    absent: Counter[str] = Counter()
    work = partial(adopt, absent=absent, stdin=current().streams.stdin)
    return execute(AdoptOptions(**given, absent=absent), work)
