"""Options that several commands share, and what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from provisioner.config.settings import Settings, load, seconds
from provisioner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

Command = TypeVar("Command", bound="Callable[..., Any] | click.Command")


class Duration(click.ParamType[str]):
    """``90s``, ``6m``, ``1h30m``; its value is the text, once it is proven to be one."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401
        """Check the text."""
        try:
            seconds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


def common(*names: str) -> Callable[[Command], Command]:
    """The common options called ``names``."""

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            command = _COMMON[name](command)
        return command

    return decorate


_COMMON: dict[str, Callable[[Any], Any]] = {
    "config": click.option("-c", "--config", metavar="FILE", help="Configuration (TOML)."),
    "ledger": click.option("-l", "--ledger", metavar="LEDGER", help="Path of the ledger  [default: ledger.db]"),
    "target": click.option(
        "-t",
        "--target",
        "targets",
        metavar="NAME",
        multiple=True,
        help="Only this target; may be repeated  [default: all]",
    ),
    "endpoint-url": click.option("--endpoint-url", metavar="URL", help="Endpoint of Clean Rooms ML."),
    "local": click.option(
        "--local",
        is_flag=True,
        help="Start the embedded endpoint and use it; its state lies beside the ledger.",
    ),
    "output": click.option(
        "--output",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="Form of the result on stdout.",
    ),
    "progress": click.option(
        "--progress",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        show_default=True,
        help="Progress on stderr; auto: a bar on a terminal, else a line every 10 s.",
    ),
    "log-level": click.option(
        "--log-level",
        type=click.Choice(["auto", "debug", "info", "warning", "error"]),
        default="auto",
        show_default=True,
        help="Least level of what is logged on stderr; auto: warning on a terminal, else info.",
    ),
    "log-format": click.option(
        "--log-format",
        type=click.Choice(["auto", "console", "json"]),
        default="auto",
        show_default=True,
        help="auto: console on a terminal, else JSON.",
    ),
}


def settings_of(config: str | None, ledger: str | None) -> Settings:
    """The configuration with the ledger of the command line.

    Raises:
        ConfigurationError: the file is wrong.
    """
    return load(config).override("run", ledger=ledger)


def known_targets(chosen: Collection[str], known: Collection[str]) -> None:
    """Make sure that the ledger has entries of every chosen target.

    Raises:
        UsageError: there are none.
    """
    for name in chosen:
        if name not in known:
            hint = f"It has {', '.join(sorted(known)) or 'no entries at all'}"
            raise UsageError(f"the ledger has no entries of a target {name!r}", hint=hint)
