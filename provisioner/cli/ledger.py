"""``provisioner ledger``."""

from __future__ import annotations

import anyio
import click
import msgspec

from provisioner.cli.options import common, lock_timeout, settings_of
from provisioner.cli.output import say
from provisioner.cli.program import Group
from provisioner.config.settings import seconds
from provisioner.errors import counted
from provisioner.ledger.location import printable_location


@click.group("ledger", cls=Group)
def command() -> None:
    """Holds the run lock while it changes the ledger; AWS is not called."""


@command.command("rename-target")
@click.argument("old")
@click.argument("new")
@common("config", "ledger", "output")
@lock_timeout
def rename_target(
    *, old: str, new: str, config: str | None, ledger: str | None, output: str, lock_timeout: str
) -> None:
    """Move the entries of target OLD to NEW.

    Run it after the target was renamed in the configuration. Entries, place, learned paces and the record of the
    finished manifest move together or not at all. NEW must have no entries. Nothing changes in AWS. The same rename
    once more changes nothing, so that it can be repeated after a kill.
    """
    from provisioner.commands.ledger import rename_target as rename

    async def work() -> None:
        settings = settings_of(config, ledger)
        renamed = await rename(settings, old, new, lock_timeout_s=seconds(lock_timeout))
        name = printable_location(settings.run.ledger)
        if output == "json":
            found = {"ledger": name, "exit_code": 0, **msgspec.structs.asdict(renamed)}
            say(msgspec.json.encode(found))
        else:
            say(f"{counted(renamed.entries, 'entry', 'entries')} of {old} moved to {new}, ledger {name}")

    anyio.run(work)
