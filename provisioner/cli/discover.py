"""``provisioner discover``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import anyio.to_thread
import click
import msgspec

from provisioner.cli import parameters
from provisioner.cli.files import check_writable, whole_file
from provisioner.cli.options import common, out_option
from provisioner.cli.running import LOUD, Options, execute
from provisioner.errors import UsageError, counted, printable, printable_json, printable_lines

if TYPE_CHECKING:
    from provisioner.commands.discover import Discovered
    from provisioner.commands.run import Order, Run
    from provisioner.config.settings import Settings
    from provisioner.exit_codes import ExitCode
    from provisioner.report.recommended import Recommended
    from provisioner.report.summary import Summary

NOT_DISCOVERED = ("ledger", "manifest", "outcomes")
"""Parts of a summary that say nothing here: no ledger is used, and no manifest read."""


class DiscoverOptions(Options, frozen=True, kw_only=True):
    """The options of ``discover``, and what it finds."""

    names: tuple[str, ...]
    placeholders: bool
    out: str | None
    force: bool
    found: Discovered
    prose: ClassVar[bool] = False

    def order(self, settings: Settings) -> Order:
        """What the run is to do.

        Raises:
            UsageError: there are several targets to choose from.
        """
        order = super().order(settings)
        if len(order.targets) != 1:
            names = ", ".join(target.name for target in order.targets) or "this shard has none"
            hint = f"Choose one with --target: {names}"
            raise UsageError(f"a manifest describes one target, and {len(order.targets)} are selected", hint=hint)
        return order

    def json(self, summary: Summary) -> bytes:
        """The manifest and what is to be said about it."""
        told = {key: value for key, value in msgspec.to_builtins(summary).items() if key not in NOT_DISCOVERED}
        definitions = [msgspec.Raw(line) for line in self.found.lines]
        file = {"file": printable(self.out)} if self.out and self.found.complete else {}
        return msgspec.json.encode({**told, **file, "definitions": definitions, "problems": self.found.problems})

    def text(self, summary: Summary, recommended: Recommended) -> str:
        """The manifest, unless it is in a file."""
        del summary, recommended
        return "" if self.out else "\n".join(printable_json(line.decode()) for line in self.found.lines)

    def remarks(self, summary: Summary, recommended: Recommended) -> str:
        """Problems, notices and counts."""
        del recommended
        lines = [f'{one.severity:10s}name "{one.name}": {one.message}' for one in self.found.problems]
        lines += [f"stopped   {summary.stopped}"] if summary.stopped else []
        lines += [f"error     {summary.error}"] if summary.error else []
        lines += [self._count(summary)] if self.found.complete and not summary.error else ["nothing was written"]
        return printable_lines(lines)

    def _count(self, summary: Summary) -> str:
        ((name, target),) = summary.targets.items()
        definitions = counted(len(self.found.lines), "definition", "definitions")
        place = f"{name} ({target.account_id or 'account unknown'} {target.region})"
        return f"{definitions} of {place}{f', in {self.out}' if self.out else ''}"


@click.command("discover")
@common(*LOUD)
@parameters.option(
    "--name",
    "names",
    metavar="GLOB",
    multiple=True,
    help="Only algorithms whose name matches, such as 'lookalike*'; can be repeated.  [default: all]",
)
@parameters.option(
    "--placeholders",
    is_flag=True,
    help="Write the target's account as {account_id} and its Region as {region}, and double other braces.",
)
@out_option(help="Write the manifest to this file instead of stdout.")
@parameters.option("--force", is_flag=True, help="Replace the file of --out if there is one.")
def command(**given: Any) -> ExitCode:  # noqa: ANN401  click's values, typed by DiscoverOptions
    """Lists the account's algorithms and writes one line for each name, sorted, without the ownership tag.

    It needs no ledger and makes none; with --local, --ledger says where the embedded endpoint keeps its state. Nothing
    is written unless everything could be read. Of several algorithms of one name the newest is written. Exit codes: 3
    when an algorithm breaks a rule of definitions, so that no line can represent it; 75 when the account could not be
    read to its end.
    """
    from provisioner.commands.discover import Discovered, discover

    options = DiscoverOptions(**given, found=Discovered())
    if options.force and not options.out:
        raise UsageError("--force is about the file of --out", hint="Add --out FILE, or leave --force out")
    if options.out:
        check_writable(options.out, replace=options.force)

    async def work(run: Run) -> Summary:
        summary = await discover(run, options.found, names=options.names, placeholders=options.placeholders)
        if options.out and options.found.complete:
            await anyio.to_thread.run_sync(write, options.out)
        return summary

    def write(out: str) -> None:
        with whole_file(out) as add:
            for line in options.found.lines:
                add(line.decode() + "\n")

    return execute(options, work)
