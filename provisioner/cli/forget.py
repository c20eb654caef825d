"""``provisioner forget``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click
import msgspec

from provisioner.cli import loop, parameters
from provisioner.cli.options import common, lock_timeout, settings_of
from provisioner.cli.output import say
from provisioner.cli.selection import Selecting, selection
from provisioner.config.values import seconds
from provisioner.errors import UsageError, counted
from provisioner.exit_codes import ExitCode
from provisioner.ledger.location import printable_location

if TYPE_CHECKING:
    from provisioner.commands.forget import Forgotten


@click.command("forget")
@common("config", "ledger", "target", "output")
@selection()
@parameters.option("--yes", is_flag=True, help="Confirm that the entries may be removed.")
@lock_timeout
def command(  # noqa: PLR0913  a parameter for each option
    *,
    config: str | None,
    ledger: str | None,
    targets: tuple[str, ...],
    output: str,
    names: tuple[str, ...],
    states: tuple[str, ...],
    run: str,
    since: float | None,
    code: str,
    yes: bool,
    lock_timeout: str,
) -> ExitCode:
    """Removes the selected entries from the ledger. AWS is not called, and keeps their algorithms.

    An algorithm keeps its ownership tag, so `apply` recovers it if the manifest names it again, and `verify` reports it
    as unrecorded. Without --yes it says how many entries it would remove. What is unresolved stays,
    and the exit code is 5: `provisioner reconcile` resolves it.
    """
    from provisioner.commands.forget import forget

    selecting = Selecting(targets=targets, names=names, states=states, run=run, since=since, code=code)
    if not (targets or names or states or run or since or code):
        raise UsageError("name what to forget", hint="For example: provisioner forget --name 'old *'")

    async def confirm(found: Forgotten) -> None:
        if not yes:
            what = f"{counted(found.entries, 'entry', 'entries')} would be removed from the ledger"
            algorithms = counted(found.existing, "algorithm stays", "algorithms stay")
            keeps = f"{algorithms} in AWS" if found.existing else ""
            raise UsageError(what, why=keeps, hint="Confirm it with --yes")

    async def work() -> ExitCode:
        settings = settings_of(config, ledger)
        select = partial(selecting.of, tags=settings.tags, asking="forget")
        found = await forget(settings, select, confirm, lock_timeout_s=seconds(lock_timeout))
        name = printable_location(settings.run.ledger)
        code = ExitCode.AMBIGUOUS if found.unresolved else ExitCode.DONE
        if output == "json":
            say(msgspec.json.encode({"ledger": name, "exit_code": int(code), **msgspec.structs.asdict(found)}))
            return code
        left = f"; {found.unresolved} left, because a create of theirs has no answer yet" if found.unresolved else ""
        keeps = f", AWS keeps {counted(found.existing, 'algorithm', 'algorithms')}" if found.existing else ""
        say(f"{counted(found.entries, 'entry', 'entries')} forgotten{keeps}{left}, ledger {name}")
        return code

    return loop.run(work)
