"""``provisioner resume``."""

from __future__ import annotations

import time

import click
import msgspec

from provisioner.cli import loop, parameters
from provisioner.cli.options import common, settings_of
from provisioner.cli.output import say
from provisioner.cli.pause import subject
from provisioner.errors import printable
from provisioner.ledger.location import printable_location


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
        alike: dict[str, list[str]] = {}
        for target, pause in ended.items():
            if pause is not None or target in targets:
                alike.setdefault(pause.text if pause else "", []).append(target)
        for text, those in alike.items():
            say(printable(_line(those, text), 2000))
        if not alike:
            say("none of these targets was paused")

    loop.run(work)


def _line(targets: list[str], paused: str) -> str:
    be, them = ("was", "it") if len(targets) == 1 else ("were", "them")
    then = f"paused {paused}; the next run sends to {them}" if paused else "not paused"
    return f"{subject(targets)} {be} {then}"
