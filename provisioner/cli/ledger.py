"""``provisioner ledger``."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from provisioner.cli import loop
from provisioner.cli.options import common, lock_timeout, settings_of
from provisioner.cli.output import say
from provisioner.cli.program import Group
from provisioner.config.settings import seconds
from provisioner.errors import counted
from provisioner.ledger.location import printable_location


@click.group("ledger", cls=Group)
def command() -> None:
    """While `copy` and `rename-target` work, no run can use the ledger. AWS is not called."""


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

    loop.run(work)


@command.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@common("output")
@lock_timeout
def copy(*, source: str, target: str, output: str, lock_timeout: str) -> None:
    """Move the ledger FROM to TO, each a path or postgresql://...

    Every row is copied and then compared. FROM can still be read, but a run that would write to it ends with 74, so
    name TO with --ledger from then on. The same command continues an interrupted copy.
    """
    from provisioner.commands.ledger import copy as move

    async def work() -> None:
        copied = await move(source, target, lock_timeout_s=seconds(lock_timeout))
        if output == "json":
            say(msgspec.json.encode({**msgspec.structs.asdict(copied), "exit_code": 0}))
        else:
            number = counted(copied.entries, "entry", "entries")
            say(f"{number} of ledger {copied.ledger_id} moved from {copied.source} to {copied.target}")
            say("Name the new place with --ledger, or in the configuration, from now on")

    loop.run(work)


@command.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@common("config", "ledger", "output")
def backup(*, file: Path, config: str | None, ledger: str | None, output: str) -> None:
    """Write a consistent copy of the ledger to the new file FILE, also while a run is under way.

    It is a ledger itself, with the same id. A PostgreSQL ledger is backed up by its server.
    """
    from provisioner.commands.ledger import back_up

    async def work() -> None:
        name = await back_up(settings_of(config, ledger), file)
        if output == "json":
            say(msgspec.json.encode({"ledger": name, "backup": printable_location(str(file)), "exit_code": 0}))
        else:
            say(f"ledger {name} backed up to {printable_location(str(file))}")

    loop.run(work)
