"""``provisioner destroy``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click
import msgspec

from provisioner.cli import parameters
from provisioner.cli.options import common, deletes_adopted, deletes_unasked, lock_timeout, max_delete
from provisioner.cli.running import COMMON, Options, execute
from provisioner.cli.selection import Selecting, selection
from provisioner.errors import UsageError, counted

if TYPE_CHECKING:
    from provisioner.commands.destroy import Selected
    from provisioner.commands.run import Order, Run
    from provisioner.config.settings import Settings
    from provisioner.exit_codes import ExitCode
    from provisioner.report.recommended import Recommended
    from provisioner.report.summary import Summary


class DestroyOptions(Options, frozen=True, kw_only=True):
    """The options of ``destroy``, as click parsed them."""

    selecting: Selecting
    found: dict[str, Selected]
    adopted: bool
    max_delete: int | None
    yes: bool

    def settings(self) -> Settings:
        """The configuration, overridden by the command line."""
        return super().settings().override("lifecycle", max_delete=self.max_delete, keep=0)

    def order(self, settings: Settings) -> Order:
        """What the run is to do."""
        order = super().order(settings)
        policy = msgspec.structs.replace(order.policy, deletes=True, adopted=self.adopted, keep=0)
        return msgspec.structs.replace(order, policy=policy, yes=self.yes)

    def text(self, summary: Summary, recommended: Recommended) -> str:
        """How many algorithms were deleted, and why others were not."""
        from provisioner.report.text import framed, gone_lines, problem_lines

        if summary.error:
            return super().text(summary, recommended)
        if summary.stopped and not summary.calls["delete"]:
            return framed(summary, ["deleted   nothing"], recommended)
        found = self.found.values()
        adopted = sum(one.adopted for one in found)
        selected = sum(one.count for one in found)
        number = counted(summary.pruned, "algorithm", "algorithms")
        of = f" of {selected}" if summary.pruned < selected else ""
        nothing = "nothing" if adopted else "nothing: no such algorithm is left"
        lines = [f"deleted   {number}{of}" if selected else f"deleted   {nothing}"]
        lines += gone_lines(summary)
        if left := selected - summary.pruned - summary.already_gone:
            lines.append(f"to delete {counted(left, 'algorithm', 'algorithms')}: run the same command again")
        if adopted:
            what = counted(adopted, "algorithm that was", "algorithms that were")
            lines.append(f"left      {what} adopted: --adopted deletes {'it' if adopted == 1 else 'them'}, too")
        lines += problem_lines(summary, recommended)
        if summary.open:
            creates = counted(summary.open, "create has", "creates have")
            lines.append(f"unknown   {creates} no answer yet: run again later, and what they made is deleted, too")
        return framed(summary, lines, recommended)


@click.command("destroy")
@common(*COMMON)
@selection()
@parameters.option(
    "--all", "everything", is_flag=True, help="Everything that this ledger created; instead of a selection."
)
@deletes_adopted
@max_delete
@deletes_unasked
@lock_timeout
def command(
    *,
    names: tuple[str, ...],
    states: tuple[str, ...],
    run: str,
    since: float | None,
    code: str,
    everything: bool,
    **given: Any,  # noqa: ANN401  click's values, typed by DestroyOptions
) -> ExitCode:
    """Deletes what this ledger created and the options select, after it has resolved unanswered creates.

    Each algorithm is read again right before its deletion and kept if its ownership tag is not this ledger's. What AWS
    refuses to delete, because an association depends on it, stays superseded, and the exit code is 3: remove what
    depends on it and run `destroy` again. Entries of deleted algorithms stay in the ledger as deleted.
    """
    selecting = Selecting(targets=(), names=names, states=states, run=run, since=since, code=code)
    chosen = bool(names or states or run or since or code)
    if chosen == everything:
        what = "name what to delete, or say --all" if not chosen else "--all and a selection exclude each other"
        raise UsageError(what, hint="For example: provisioner destroy --name 'lookalike *'")
    options = DestroyOptions(**given, selecting=selecting, found={})

    async def work(run: Run) -> Summary:
        from provisioner.commands.destroy import destroy

        return await destroy(run, partial(selecting.of, tags={}, asking="destroy"), options.found)

    return execute(options, work)
