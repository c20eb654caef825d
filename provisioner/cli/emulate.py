"""``provisioner emulate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import click
import msgspec

from provisioner.emulator import Behaviour
from provisioner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.emulator import Emulator


def _switches(function: Callable[..., Any]) -> Callable[..., Any]:
    """One option for each switch of the endpoint, with the switch's own documentation."""
    hints = get_type_hints(Behaviour, include_extras=True)
    for field in reversed(msgspec.structs.fields(Behaviour)):
        flag, hint = f"--{field.name.replace('_', '-')}", hints[field.name]
        kind, help_ = _kind(hint)
        if kind is bool:
            flag = f"{flag}/--no-{field.name.replace('_', '-')}"
        multiple = kind is tuple
        function = click.option(
            flag,
            field.name,
            type=str if multiple else kind,
            multiple=multiple,
            default=field.default,
            show_default=not multiple,
            help=f"{help_[:1].upper()}{help_[1:]}{'; may be repeated' if multiple else ''}.",
        )(function)
    return function


def _kind(hint: Any) -> tuple[Any, str]:  # noqa: ANN401  a type hint may be anything
    """A switch's click type and its documentation."""
    help_ = ""
    while get_origin(hint) is Annotated:
        inner, *metas = get_args(hint)
        help_ = next((meta.description for meta in metas if getattr(meta, "description", None)), help_)
        hint = inner
    if get_origin(hint) is tuple:
        return tuple, help_
    choices = get_args(hint)
    return (click.Choice(choices) if choices else hint), help_


@click.command("emulate")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 takes any free port.")
@click.option("--state", type=click.Path(path_type=Path), help="Keep the account in this file.")
@_switches
def command(port: int, state: Path | None, **switches: Any) -> None:  # noqa: ANN401  click's values
    """Prints its address and how to use it, then serves until SIGTERM or SIGINT.

    Its switches can be changed while it runs: GET, PUT or PATCH /_emulator/behaviour; GET /_emulator/truth returns
    everything it holds.
    """
    from provisioner.emulator import Emulator, serve

    try:
        behaviour = msgspec.convert(switches, Behaviour)
    except msgspec.ValidationError as error:
        raise UsageError("a switch is wrong", why=str(error)) from error
    serve(Emulator(behaviour, state_file=state, port=port), _announce)


def _announce(emulator: Emulator) -> None:
    click.echo(emulator.url)
    click.echo(f"To use it, run in another shell:\n  {emulator.usage}", err=True)
    sys.stdout.flush()
