"""``provisioner export``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from provisioner.cli import loop, parameters
from provisioner.cli.choice import Choice
from provisioner.cli.files import whole_file
from provisioner.cli.formats import COLUMNS, FORMATS, USUAL, Order
from provisioner.cli.options import common, out_option, settings_of
from provisioner.cli.output import long_result, talk
from provisioner.cli.selection import Selecting, selection
from provisioner.commands.finding import selected
from provisioner.config.tables import nearest
from provisioner.core.entry import State
from provisioner.errors import UsageError
from provisioner.ledger.location import locate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.config.settings import Settings
    from provisioner.core.selection import Selection

EXISTING = frozenset({State.CREATED, State.DRIFTED})
IMPORTS = ("terraform", "cloudformation")
"""Formats that import what exists."""


class Columns(click.ParamType[tuple[str, ...]]):
    """Names of columns, separated by commas."""

    name = "columns"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:  # noqa: ANN401
        """Check the names."""
        names = tuple(name.strip() for name in value.split(","))
        for name in names:
            if name not in COLUMNS:
                self.fail(f"there is no column {name!r}. {nearest(name, list(COLUMNS), 'There are {}')}", param, ctx)
        return names


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What to export, and how."""

    selecting: Selecting
    form: str
    columns: tuple[str, ...]
    out: str | None


@click.command("export")
@common("config", "ledger", "target")
@selection()
@parameters.option(
    "--format",
    "form",
    type=Choice(list(FORMATS)),
    default="jsonl",
    show_default=True,
    help="json: one object that maps names to ARNs, grouped by target if there are several. terraform: import blocks. "
    "cloudformation: the resources to import of one account and Region.",
)
@parameters.option(
    "--columns",
    type=Columns(),
    metavar="COLUMN,...",
    help=f"Of jsonl and csv: {', '.join(COLUMNS)}.  [default: {','.join(USUAL)}]",
)
@out_option(help="Write to this file, which is replaced when all is written.  [default: stdout]")
def command(
    *,
    config: str | None,
    ledger: str | None,
    form: str,
    columns: tuple[str, ...] | None,
    out: str | None,
    **given: Any,  # noqa: ANN401  typed by Selecting
) -> None:
    r"""Prints entries that are created or drifted, sorted by target and name. It can run while `apply` does.

    With --state it prints those in that state instead.

    In JSON every name is exact; characters that could control a terminal are written as \uXXXX. CSV is for people and
    spreadsheets: such characters are escaped there too, and a value that a spreadsheet would run as a formula begins
    with an apostrophe. A CloudFormation template cannot express a tag with an empty value.
    """
    if columns and form not in ("jsonl", "csv"):
        raise UsageError(f"--columns is for jsonl and csv, not for {form}", hint="Leave it out, or choose --format csv")
    wanted = Wanted(selecting=Selecting(**given), form=form, columns=columns or USUAL, out=out)
    if form in IMPORTS and not EXISTING.issuperset(wanted.selecting.states):
        raise UsageError(f"--format {form} is for algorithms that exist", hint="Leave out --state")
    loop.run(_export, settings_of(config, ledger), wanted)


async def _export(settings: Settings, wanted: Wanted) -> None:
    async with locate(settings.run.ledger).read() as opened:
        counts = await opened.counts()
        chosen = await wanted.selecting.of(opened, settings.tags)
        if not chosen.states:
            chosen = msgspec.structs.replace(chosen, states=EXISTING)
        several = len(_targets(counts, chosen)) > 1
        if several and wanted.form == "cloudformation":
            raise UsageError("an import list is for one account and Region", hint="Choose one with --target")
        with long_result() if wanted.out is None else whole_file(wanted.out) as write:
            result = FORMATS[wanted.form](Order(write, wanted.columns, several))
            async for entry in selected(opened, chosen):
                result.add(entry)
            notice = result.end()
    if notice:
        talk(notice)


def _targets(counts: Mapping[str, Mapping[State, int]], chosen: Selection) -> list[str]:
    """The targets that have entries in the states of ``chosen``, whatever else it asks for."""
    return [
        target
        for target, states in counts.items()
        if (not chosen.targets or target in chosen.targets) and not chosen.states.isdisjoint(states)
    ]
