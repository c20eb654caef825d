"""``provisioner pause``."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Any

import click
import msgspec

from provisioner.cli import loop, parameters
from provisioner.cli.options import Duration, common, settings_of
from provisioner.cli.output import say
from provisioner.config.values import seconds
from provisioner.core.pause import LOOK_EVERY_S, Pause
from provisioner.errors import UsageError, printable
from provisioner.ledger.location import printable_location

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT = "24h"
"""How long a pause lasts unless it is said: one that is forgotten ends by itself."""


class End(click.ParamType[float]):
    """A time in the future: ISO 8601, in UTC unless it says otherwise. Seconds since the epoch."""

    name = "end"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401
        """Read the text."""
        try:
            moment = dt.datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-11-23T20:19Z; for a duration, use --for", param, ctx)
        end = (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
        if end <= time.time():
            self.fail(f"{value} is in the past", param, ctx)
        return end


def subject(targets: Sequence[str]) -> str:
    """The subject of a sentence about ``targets``; of many, their number and the first few."""
    from provisioner.report.text import NAMED, named

    return named(targets) if len(targets) <= NAMED else f"{len(targets):,} targets ({named(targets)})"


@click.command("pause")
@parameters.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@parameters.option("--for", "duration", type=Duration(), help=f"How long, such as 2h or 90m.  [default: {DEFAULT}]")
@parameters.option(
    "--until", type=End(), metavar="TIME", help="Until when, such as 2026-11-27T06:00Z; UTC unless it has an offset."
)
@parameters.option("--reason", metavar="TEXT", default="", help="Why; shown with the pause.")
@common("config", "ledger", "output")
def command(  # noqa: PLR0913  a parameter for each option
    *,
    targets: tuple[str, ...],
    duration: str | None,
    until: float | None,
    reason: str,
    config: str | None,
    ledger: str | None,
    output: str,
) -> None:
    """The pause is kept in the ledger, so it holds for later runs too, until it ends.

    TARGET is a name, a glob such as 'prod-*', tag:KEY=VALUE, or one of these after ! to exclude it.

    A run under way notices it within seconds and sends nothing more to the target; later runs send nothing to it at
    all. Either way the run does its other targets and ends with 75, because work is left. `plan` and `verify`, which
    only read, go on and say that the target is paused. Pause a target again to change the end or the reason.
    """
    from provisioner.commands.pause import pause

    if duration is not None and until is not None:
        raise UsageError("--for and --until exclude each other", hint="Give one of them")
    now = time.time()
    made = Pause(now + seconds(duration or DEFAULT) if until is None else until, now, reason)

    async def work() -> None:
        settings = settings_of(config, ledger)
        chosen = await pause(settings, targets, made)
        name = printable_location(settings.run.ledger)
        if output == "json":
            shown = {"until": made.end, "reason": reason}
            say(msgspec.json.encode({"ledger": name, "exit_code": 0, "targets": dict.fromkeys(chosen, shown)}))
            return
        be = "is" if len(chosen) == 1 else "are"
        say(printable(f"{subject(chosen)} {be} paused {made.text}", 2000))
        say(f"A run under way stops sending within {LOOK_EVERY_S:.0f} s; ledger {name}")

    loop.run(work)
