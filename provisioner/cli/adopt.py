"""``provisioner adopt``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from provisioner.cli import parameters
from provisioner.cli.choice import Choice
from provisioner.cli.options import common, lock_timeout, manifest_argument, take_over
from provisioner.cli.program import current
from provisioner.cli.running import COMMON, SelectiveOptions, execute
from provisioner.cli.selection import selection
from provisioner.errors import counted

if TYPE_CHECKING:
    from provisioner.commands.adopt import NotTaken
    from provisioner.commands.run import Order
    from provisioner.config.settings import Settings
    from provisioner.exit_codes import ExitCode
    from provisioner.report.recommended import Recommended
    from provisioner.report.summary import Summary


class AdoptOptions(SelectiveOptions, frozen=True, kw_only=True):
    """The options of ``adopt``, as click parsed them."""

    manifest: tuple[str, ...]
    left: NotTaken
    adopt: Literal["same", "any"]
    take_over: str

    def order(self, settings: Settings) -> Order:
        """What the run is to do."""
        order = super().order(settings)
        policy = msgspec.structs.replace(order.policy, adopt=self.adopt, take_over=self.take_over, deletes=False)
        return msgspec.structs.replace(order, sources=self.manifest, policy=policy)

    def json(self, summary: Summary) -> bytes:
        """The summary, with what was not taken over."""
        left = {"absent": self.left.absent, "refused": self.left.refused}
        return msgspec.json.encode(msgspec.to_builtins(summary) | left)

    def text(self, summary: Summary, recommended: Recommended) -> str:
        """What was taken over, and what was not."""
        from provisioner.report.text import SHOWN_IN_TEXT, counts_text, framed, problem_lines

        if summary.error:
            return super().text(summary, recommended)
        refused = self.left.refused
        lines = [
            f"manifest  {counted(summary.manifest.lines, 'line', 'lines')}, {summary.manifest.invalid} invalid",
            f"outcomes  {counts_text(summary.outcomes) or ('nothing was adopted' if refused else 'nothing to adopt')}",
        ]
        if self.left.absent:
            lines.append(f"absent    {self.left.absent} without an algorithm in AWS, which `provisioner apply` creates")
        if refused:
            lines.append(f"refused   {counted(len(refused), 'definition', 'definitions')}")
        lines += [f"  {one.source}:{one.line}: {one.name}: {one.message}" for one in refused[:SHOWN_IN_TEXT]]
        if (more := len(refused) - SHOWN_IN_TEXT) > 0:
            lines.append(f"  and {more} more: `{recommended.command(f'runs {summary.run_id}')}` lists all")
        lines += problem_lines(_without(summary, {one.code for one in refused}), recommended)
        return framed(summary, lines, recommended)


def _without(summary: Summary, codes: set[str]) -> Summary:
    """``summary`` without the problems that have one of ``codes``: these are shown already."""
    problems = [problem for problem in summary.problems if problem.code not in codes]
    causes = [cause for cause in summary.causes if cause.code not in codes]
    shown = len(problems) if codes else summary.problems_total
    return msgspec.structs.replace(summary, problems=problems, causes=causes, problems_total=shown)


@click.command("adopt")
@manifest_argument(required=True)
@common(*COMMON)
@selection()
@parameters.option(
    "--adopt",
    type=Choice(["same", "any"]),
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
    from provisioner.commands.adopt import NotTaken, adopt

    left = NotTaken()
    work = partial(adopt, left=left, stdin=current().streams.stdin)
    return execute(AdoptOptions(**given, left=left), work)
