"""``provisioner report``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import click
import msgspec

from provisioner.cli import loop, parameters
from provisioner.cli.files import check_writable, whole_file
from provisioner.cli.options import common, out_option, settings_of
from provisioner.cli.output import say, say_json
from provisioner.cli.running import with_error
from provisioner.commands.finding import LAST
from provisioner.commands.report import report_of, report_of_fleet, report_of_run
from provisioner.errors import LedgerError, ProvisionerError, Reason, UsageError, printable_lines
from provisioner.ledger.location import locate
from provisioner.report.html import document
from provisioner.report.text import whole_path

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from provisioner.commands.report import Contents
    from provisioner.commands.run import Run
    from provisioner.report.summary import Summary


WRITTEN_BY_S = 24.4
"""From the request to stop to the end of a page, within the promised 25 s."""


class UnreportedError(ProvisionerError):
    """A run that was stopped had no time left for its page."""

    reason = Reason.UNFINISHED

    def __init__(self, name: str, run_id: str) -> None:
        super().__init__(
            "the page about the run was not ready in the time left after the request to stop",
            where=name,
            hint=f"`provisioner report {run_id} --out FILE` writes it",
        )


@click.command("report")
@parameters.argument("run", required=False)
@common("config", "ledger", "output")
@parameters.option("--fleet", is_flag=True, help="About all that the ledger holds, over all targets, instead of a run.")
@out_option("-o", help="Write to this file, which is replaced when all is written.  [default: report-RUN.html]")
def command(
    *, run: str | None, config: str | None, ledger: str | None, output: str, fleet: bool, out: str | None
) -> None:
    """The page is one HTML file for any browser, which loads nothing from anywhere: it can be mailed, printed or kept.

    It shows outcomes, what failed by cause, pace, throttling, latencies and creates in flight over time, incidents, a
    heat map of the targets, and a table of all entries and problems to search, sort and filter.

    RUN is the id of a run, the beginning of its id, or `last`, which is the default. It can run while `apply` does: the
    page shows the moment at which it was made. What happened over time is kept for the last 20 runs.
    """
    if fleet and run is not None:
        raise UsageError("--fleet is about all runs, not one", hint="Leave out RUN, or --fleet")
    if out is not None:
        check_writable(out, replace=True)
    contents = loop.run(_read, settings_of(config, ledger).run.ledger, run, fleet)
    name = out or f"report-{contents.run_id or 'fleet'}.html"
    write_page(name, contents)
    if output == "json":
        say_json(msgspec.json.encode({"file": name, "run_id": contents.run_id or None, "exit_code": 0}))
    else:
        say(printable_lines([whole_path(name)]))


def write_page(name: str, contents: Contents) -> None:
    """Write the page to the file ``name``, whole or not at all.

    Raises:
        UsageError, UnwritableError: as :func:`whole_file`.
    """
    with whole_file(name) as write:
        write(document(contents.page))


async def reporting(work: Callable[[Run], Awaitable[Summary]], name: str, run: Run) -> Summary:
    """Do ``work``, then write the page about ``run`` to the file ``name``; an error in that is part of the summary."""
    summary = await work(run)
    try:
        with run.stop.ends_by(WRITTEN_BY_S) as writing:
            contents = await _just_ended(run, summary)
            await anyio.to_thread.run_sync(write_page, name, contents, abandon_on_cancel=True)
        if writing.cancelled_caught:
            raise UnreportedError(name, run.run_id)
    except ProvisionerError as error:
        return with_error(summary, error)
    return summary


async def _just_ended(run: Run, summary: Summary) -> Contents:
    location = locate(run.order.settings.run.ledger)
    try:
        if await location.exists():
            async with location.read() as ledger:
                return await report_of(run, summary, location, ledger)
    except LedgerError:  # the summary is enough for a page
        pass
    return await report_of(run, summary, location, None)


async def _read(ledger: str, run: str | None, fleet: bool) -> Contents:  # noqa: FBT001  as the event loop calls it
    location = locate(ledger)
    async with location.read() as opened:
        if fleet:
            return await report_of_fleet(location, opened, time.time())
        return await report_of_run(location, opened, run or LAST, time.time())
