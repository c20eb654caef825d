"""``provisioner list``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from provisioner.cli import loop, parameters
from provisioner.cli.choice import Choice
from provisioner.cli.options import common, settings_of
from provisioner.cli.output import long_result, say, say_json, say_list, talk
from provisioner.cli.records import entry_record, reason_words, state_words, version_record
from provisioner.cli.selection import Selecting, selection
from provisioner.cli.table import Table, cut, terminal_width
from provisioner.commands.finding import causes, everything
from provisioner.core.entry import Entry
from provisioner.errors import printable
from provisioner.ledger.location import locate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from provisioner.commands.finding import Cause
    from provisioner.core.selection import Selection
    from provisioner.core.versions import Version
    from provisioner.ledger import Ledger


@click.command("list")
@common("config", "ledger", "target", "output")
@selection(superseded=True)
@parameters.option(
    "--by",
    type=Choice(["code"]),
    help="Group by cause instead, with a count and three examples; without --state, what is failed, parked, ambiguous "
    "or drifted.",
)
def command(*, config: str | None, ledger: str | None, output: str, by: str | None, **given: Any) -> None:  # noqa: ANN401  typed by Selecting
    """Reads the ledger only, and can run while `apply` does. Without options it lists every entry.

    By target: its entries by name, then replacements that are under way or failed. With --state superseded it lists
    the algorithms that were replaced or given up and still exist, and says what deletes each or why it stays. On a
    terminal, lines are cut to its width.
    """
    settings = settings_of(config, ledger)

    async def work() -> None:
        async with locate(settings.run.ledger).read() as opened:
            chosen = await Selecting(**given).of(opened, settings.tags)
            if by:
                _show_causes(await causes(opened, chosen), output)
            elif output == "json":
                await say_list("entries", _records(opened, chosen))
            else:
                await _show_table(opened, chosen)

    loop.run(work)


async def _records(ledger: Ledger, chosen: Selection) -> AsyncIterator[bytes]:
    async for one in everything(ledger, chosen):
        record = entry_record(one) if isinstance(one, Entry) else {"state": one.role.value, **version_record(one)}
        yield msgspec.json.encode(record)


async def _show_table(ledger: Ledger, chosen: Selection) -> None:
    several = len(chosen.targets or await ledger.counts()) > 1
    found = False
    with long_result() as write:
        table = Table(write, [*(["TARGET"] if several else []), "NAME", "STATE", "ARN OR REASON"], terminal_width())
        async for one in everything(ledger, chosen):
            found = True
            table.add([*([one.target] if several else []), one.name, state_words(one), _detail(one)])
        table.end()
    if not found:
        talk("no entries")


def _detail(one: Entry | Version) -> str:
    return "  ".join(part for part in (reason_words(one), one.arn) if part)


def _show_causes(found: list[Cause], output: str) -> None:
    if output == "json":
        say_json(msgspec.json.encode({"groups": found, "exit_code": 0}))
        return
    width = terminal_width()
    for cause in found:
        code = "" if cause.code in ("", cause.state) else f"{cause.code}: "
        more = cause.count - len(cause.examples)
        names = ", ".join(f"{example.target}: {example.name}" for example in cause.examples)
        for line in (
            f"{cause.count:7d}  {cause.state:9s}  {code}{cause.message}",
            f"{'':20s}{names}{f' and {more} more' if more else ''}",
        ):
            say(cut(printable(line.rstrip(), 4000), width))
    if not found:
        talk("no entries")
