"""``provisioner ledger``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from provisioner.cli import loop, parameters
from provisioner.cli.options import common, lock_timeout, settings_of
from provisioner.cli.output import say, say_json
from provisioner.cli.program import Group, current
from provisioner.config.values import seconds
from provisioner.errors import Reason, counted, printable_lines
from provisioner.exit_codes import ExitCode, code_for
from provisioner.ledger.location import printable_location

if TYPE_CHECKING:
    from provisioner.commands.ledger import Checked


@click.group("ledger", cls=Group)
def command() -> None:
    """While `copy` and `rename-target` work, no run can use what they change. AWS is not called."""


@command.command("check")
@common("config", "ledger", "output", "quiet")
def check(*, config: str | None, ledger: str | None, output: str) -> ExitCode:
    """Read the whole ledger and look for damage.

    It checks the storage (in a file, every page and every index), reads every row, and checks that the records of each
    entry agree. It changes nothing, and a run may be under way. The exit code is 0 for a sound ledger and 74 otherwise.
    `provisioner verify` checks whether AWS agrees with the ledger.
    """
    from provisioner.commands.ledger import check as examine

    async def work() -> ExitCode:
        checked = await examine(settings_of(config, ledger))
        code = code_for({Reason.LEDGER} if checked.findings_total else set())
        if current().unattended.hides(code):
            return code
        if output == "json":
            say_json(msgspec.json.encode({**msgspec.structs.asdict(checked), "exit_code": int(code)}))
        else:
            say(printable_lines(_checked_lines(checked)))
        return code

    return loop.run(work)


def _checked_lines(checked: Checked) -> list[str]:
    from provisioner.report.text import whole_path

    found = (
        counted(checked.findings_total, "contradiction", "contradictions") if checked.findings_total else "consistent"
    )
    lines = [
        f"ledger    {whole_path(checked.ledger)}, id {checked.ledger_id}",
        f"storage   {checked.storage}",
        f"rows      {counted(checked.rows, 'row', 'rows')}, all readable",
        f"entries   {counted(checked.entries, 'entry', 'entries')} and their older versions: {found}",
    ]
    lines += [f"          {one.target}/{one.name}: {one.message}" for one in checked.findings]
    if more := checked.findings_total - len(checked.findings):
        lines.append(f"          and {more:,} more")
    if checked.findings_total:
        restored = f"put a backup in its place, or run `provisioner rebuild --ledger-id {checked.ledger_id}`"
        lines.append(f"next      move it away, then {restored} (docs/ledger.md, Damage and loss)")
    return lines


@command.command("rename-target")
@parameters.argument("old")
@parameters.argument("new")
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
@parameters.argument("source", metavar="FROM")
@parameters.argument("target", metavar="TO")
@common("output")
@lock_timeout
def copy(*, source: str, target: str, output: str, lock_timeout: str) -> None:
    """Move the ledger from FROM to TO.

    Each is a path or postgresql://... Every row is copied and then compared. FROM can still be read, but a run that
    would write to it ends with 74, so name TO with --ledger from then on. The same command continues an interrupted
    copy.
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
@parameters.argument("file", type=click.Path(path_type=Path))
@common("config", "ledger", "output")
def backup(*, file: Path, config: str | None, ledger: str | None, output: str) -> None:
    """Write a consistent copy of the ledger to FILE.

    FILE must not exist; a run may be under way. The copy is a ledger itself, with the same id. A PostgreSQL ledger is
    backed up by its server.
    """
    from provisioner.commands.ledger import back_up

    async def work() -> None:
        name = await back_up(settings_of(config, ledger), file)
        if output == "json":
            say(msgspec.json.encode({"ledger": name, "backup": printable_location(str(file)), "exit_code": 0}))
        else:
            say(f"ledger {name} backed up to {printable_location(str(file))}")

    loop.run(work)
