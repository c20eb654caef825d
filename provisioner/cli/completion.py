"""``provisioner completion``: the script for a shell, and the answers that the script asks for at each press of Tab.

The script calls the program with :data:`VARIABLE` set. Whatever is wrong then (a configuration, a ledger, the line that
is being typed) means fewer suggestions and no message, since a message would land in the middle of that line.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete

from provisioner.cli import parameters
from provisioner.cli.choice import Choice
from provisioner.cli.output import say
from provisioner.cli.program import COMMANDS, provisioner
from provisioner.core.targets import NOT, TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from provisioner.config.settings import Settings
    from provisioner.ledger import Ledger

VARIABLE = "_PROVISIONER_COMPLETE"
"""What click names it for a program called ``provisioner``."""
MOST = 200
"""Suggestions from a ledger."""
PATIENCE_S = 1.0
"""How long a ledger is searched for them."""
FILES = {"FILE", "LEDGER"}
"""What options call a file in their help."""


class Bash(BashComplete):
    """As click's, but a value may contain blanks, backslashes and glob characters."""

    source_template = BashComplete.source_template.replace("read type", "read -r type").replace(
        "($value)", '("$value")'
    )

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """The value as the shell reads it, unless a quote is open already: then readline adds what is missing."""
        word = os.environ["COMP_WORDS"].rpartition(" ")[2]
        if item.type == "plain" and not word.startswith(("'", '"')):
            return f"{item.type},{_escaped(str(item.value))}"
        return super().format_completion(item)


class Fish(FishComplete):
    """As click's, but a value may contain commas."""

    source_template = FishComplete.source_template.replace('split ","', 'split --max 1 ","')


SHELLS: dict[str, type[ShellComplete]] = {"bash": Bash, "zsh": ZshComplete, "fish": Fish}


@click.command("completion")
@parameters.argument("shell", type=Choice(list(SHELLS)))
def command(*, shell: str) -> None:
    """Completes commands, options, files, targets of the configuration, and names and runs of the ledger.

    The examples put the script where a new shell looks for it. In zsh, ~/.zfunc has to be in fpath before compinit.
    """
    say(SHELLS[shell](provisioner, {}, "provisioner", VARIABLE).source(), end="")


def complete(instruction: str) -> int:
    """Answer the script of a shell; ``instruction`` is for example ``bash_complete``."""
    kind = SHELLS.get(instruction.partition("_")[0])
    if kind is None:
        return 1
    with contextlib.suppress(Exception):
        say(kind(_Knowing("provisioner", params=provisioner.params), {}, "provisioner", VARIABLE).complete())
    return 0


class _Knowing(click.Group):
    """The program, whose parameters suggest values; its commands are loaded only when they are typed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands."""
        return provisioner.list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, whose parameters suggest values."""
        command = provisioner.get_command(ctx, cmd_name)
        for one in [command, *(command.commands.values() if isinstance(command, click.Group) else [])]:
            for param in one.params if one else []:
                if (suggest := _suggestions(param)) is not None:
                    param.type = _Suggesting(suggest)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
        """The commands with their help, without loading any, and the options."""
        found = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]


class _Suggesting(click.ParamType[Any]):
    """Any text, for which ``suggest`` has values."""

    name = "text"

    def __init__(self, suggest: Callable[[click.Context, str], Iterable[CompletionItem[Any]]]) -> None:
        self._suggest = suggest

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
        """Values that begin with ``incomplete``."""
        del param
        return list(self._suggest(ctx, incomplete))


def _suggestions(param: click.Parameter) -> Callable[[click.Context, str], Iterable[CompletionItem[Any]]] | None:
    """What suggests values for ``param``; None for what click knows by itself, and for numbers and the like."""
    if param.metavar in FILES or param.name in {"manifest", "file"}:
        return _files
    return {
        "targets": _targets,
        "new": _configured,
        "old": _ledger_targets,
        "name": _names,
        "names": _names,
        "run": _runs,
        "code": _codes,
        "commands": _commands,
        "skip": _checks,
    }.get(param.name or "")


def _files(_context: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
    return [CompletionItem(incomplete, type="file")]


def _beginning(incomplete: str, values: Iterable[str]) -> list[CompletionItem[Any]]:
    return [CompletionItem(value) for value in values if value.startswith(incomplete)]


def _commands(_context: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
    return _beginning(incomplete, COMMANDS)


def _checks(_context: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
    from provisioner.core.checks import NAMES

    return _beginning(incomplete, NAMES)


def _codes(context: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
    from provisioner.cli.explain import pages

    every = context.command.name == "explain"
    names = [name for page in pages() if every or page.kind in {"error code", "code of AWS"} for name in page.names]
    return _beginning(incomplete, sorted(set(names)))


def _targets(context: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
    """Names and ``tag:KEY=VALUE``; with ``!`` before what is typed, before each."""
    if context.command.name == "resume":
        return _beginning(incomplete, _read(context, _paused))
    tags = _with_targets(context).tags
    pairs = sorted({f"{TAG}{key}={value}" for some in tags.values() for key, value in some.items()})
    before = NOT if incomplete.startswith(NOT) else ""
    return _beginning(incomplete, [f"{before}{one}" for one in (*tags, *pairs)])


async def _paused(ledger: Ledger, found: list[str]) -> None:
    found += sorted(await ledger.pauses())


def _configured(context: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
    return _beginning(incomplete, _with_targets(context).targets)


def _ledger_targets(context: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
    async def read(ledger: Ledger, found: list[str]) -> None:
        found += sorted(await ledger.counts())

    return _beginning(incomplete, _read(context, read))


def _names(context: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
    async def read(ledger: Ledger, found: list[str]) -> None:
        async for entry in ledger.entries():
            if entry.name.startswith(incomplete) and entry.name not in found:
                found.append(entry.name)
            if len(found) == MOST:
                break

    return _beginning(incomplete, _read(context, read))


def _runs(context: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
    async def read(ledger: Ledger, found: list[str]) -> None:
        found += ["last", *(run.run_id for run in await ledger.runs(20, prefix=incomplete))]

    return _beginning(incomplete, _read(context, read))


def _settings(context: click.Context) -> Settings:
    from provisioner.cli.options import loaded

    return loaded(context.params.get("config")).override("run", ledger=context.params.get("ledger"))


def _with_targets(context: click.Context) -> Settings:
    """The settings with all targets that are known without a call."""
    from provisioner.cli.options import with_known_targets

    return with_known_targets(_settings(context))


def _read(context: click.Context, read: Callable[[Ledger, list[str]], Any]) -> list[str]:
    """What ``read`` finds in the ledger that the line names, as far as it gets in time."""
    import anyio

    from provisioner.cli import loop
    from provisioner.ledger.location import locate

    found: list[str] = []

    async def work() -> None:
        location = locate(_settings(context).run.ledger)
        with anyio.move_on_after(PATIENCE_S):
            if await location.exists():
                async with location.read() as ledger:
                    await read(ledger, found)

    loop.run(work)
    return found


def _escaped(value: str) -> str:
    """``value`` with a backslash before each character that a shell would read otherwise."""
    return value if shlex.quote(value) == value else re.sub(r"([^\w@%+=:,./-])", r"\\\1", value)
