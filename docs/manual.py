"""Writes a man page for each command, read from the program: ``make man``.

The pages use the macros of man(7), which every formatter knows.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner import __version__
from provisioner.cli.program import COMMANDS, provisioner
from provisioner.exit_codes import ADVICE

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = {
    "provisioner.toml, ~/.config/provisioner/provisioner.toml": "The configuration; --config names another one.",
    "ledger.db": "The ledger, beside the configuration or in the working directory, where --ledger names no other one.",
}


def write(folder: Path) -> list[Path]:
    """Write every page into ``folder``; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = dict(_pages())
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in pages]


def _pages() -> Iterator[tuple[str, str]]:
    top = program()
    contexts = list(commands_of(top))
    names = [context.command_path.replace(" ", "-") for context in contexts]
    for context, name in zip(contexts, names, strict=True):
        yield f"{name}.1", _page(context, name, ["provisioner"])
    more = [_section("COMMANDS"), *(_item(name, text) for name, text in COMMANDS.items())]
    more += [_section("EXIT STATUS"), *(_item(str(int(code)), f"{advice}.") for code, advice in ADVICE.items())]
    more += [_section("FILES"), *(_item(name, text) for name, text in FILES.items())]
    yield "provisioner.1", _page(top, "provisioner", names, "\n".join(more))


def program() -> click.Context:
    """The context of the program itself, as click makes it."""
    names = provisioner.context_settings["help_option_names"]
    return click.Context(provisioner, info_name="provisioner", help_option_names=names)


def commands_of(context: click.Context) -> Iterator[click.Context]:
    """A context for each command below the group of ``context``; of a group within, one for each of its commands."""
    group = context.command
    if not isinstance(group, click.Group):
        raise TypeError(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            raise LookupError(name)
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from commands_of(inner)
        else:
            yield inner


def _page(context: click.Context, name: str, related: list[str], more: str = "") -> str:
    command = context.command
    summary, *paragraphs = [" ".join(part.split()) for part in (command.help or "").replace("\b", "").split("\n\n")]
    day = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
    options = [option for option in command.get_params(context) if isinstance(option, click.Option)]
    parts = [
        f'.TH {name.upper()} 1 {day} "provisioner {__version__}" "User Commands"',
        ".nh\n.ad l",
        _section("NAME"),
        f"{_text(name)} \\- {_text(summary.rstrip('.'))}",
        _section("SYNOPSIS"),
        rf"\fB{_text(context.command_path)}\fR {_text(' '.join(command.collect_usage_pieces(context)))}",
        _section("DESCRIPTION"),
        "\n.PP\n".join(_text(part) for part in [summary, *paragraphs]),
        _section("OPTIONS"),
        *(_option(option, context) for option in options),
        more,
        *_examples(command.epilog or ""),
        _section("SEE ALSO"),
        ",\n".join(rf"\fB{_text(one)}\fR(1)" for one in sorted(set(related) - {name})),
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _section(name: str) -> str:
    return f".SH {name}"


def _item(term: str, text: str) -> str:
    return f".TP\n\\fB{_text(term)}\\fR\n{_text(text)}"


def _option(option: click.Option, context: click.Context) -> str:
    names, text = option.get_help_record(context) or (", ".join(option.opts), "")
    variables = option.envvar if isinstance(option.envvar, list) else []
    item = _item(names, " ".join(text.split()))
    # A name that is broken at the end of a line cannot be copied.
    unbroken = ", ".join(rf"\%{name}" for name in variables)
    return f"{item}\nEnvironment: {unbroken}." if variables else item


def _examples(epilog: str) -> list[str]:
    lines = [line.strip() for line in epilog.replace("\b", "").splitlines() if line.strip() not in {"", "Examples:"}]
    return [_section("EXAMPLES"), ".EX", *map(_text, lines), ".EE"] if lines else []


def _text(text: str) -> str:
    """``text`` as it is printed: what a formatter would read as an instruction is escaped, code is bold."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    escaped = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", escaped)
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    written = write(Path(sys.argv[1]))
    print(f"{len(written)} pages in {sys.argv[1]}: man -l {sys.argv[1]}/provisioner.1")  # noqa: T201  the result
