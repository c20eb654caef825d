"""``provisioner resume``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
import msgspec

from provisioner.cli import loop, parameters
from provisioner.cli.options import common, settings_of
from provisioner.cli.output import say
from provisioner.errors import printable
from provisioner.ledger.location import printable_location

if TYPE_CHECKING:
    from provisioner.core.pause import Pause


@click.command("resume")
@parameters.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@common("config", "ledger", "output")
def command(*, targets: tuple[str, ...], config: str | None, ledger: str | None, output: str) -> None:
    """The next run sends to the target again; the run under way does not come back to it.

    TARGET is as for `pause`: '*' ends all pauses. A target that is not paused stays as it is.
    """
    from provisioner.commands.pause import resume

    async def work() -> None:
        settings = settings_of(config, ledger)
        ended = await resume(settings, targets, now=time.time())
        name = printable_location(settings.run.ledger)
        if output == "json":
            shown = {target: {"was_paused": pause is not None} for target, pause in ended.items()}
            say(msgspec.json.encode({"ledger": name, "exit_code": 0, "targets": shown}))
            return
        told = {target: pause for target, pause in ended.items() if pause is not None or target in targets}
        for target, pause in told.items():
            say(printable(_line(target, pause), 2000))
        if not told:
            say("none of these targets was paused")

    loop.run(work)


def _line(target: str, pause: Pause | None) -> str:
    return f"{target} was paused {pause.text}; the next run sends to it" if pause else f"{target} was not paused"
