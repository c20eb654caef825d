"""``provisioner emulate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import click
import msgspec

from provisioner.cli import parameters
from provisioner.cli.choice import Choice
from provisioner.emulator import Behaviour
from provisioner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.emulator import Emulator


def _switches(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each switch of the endpoint, with its documentation and bounds."""
    hints = get_type_hints(Behaviour, include_extras=True)
    for field in reversed(msgspec.structs.fields(Behaviour)):
        flag = f"--{field.name.replace('_', '-')}"
        type_, help_ = _described(hints[field.name])
        multiple = type_ is tuple
        function = parameters.option(
            f"{flag}/--no-{flag.removeprefix('--')}" if type_ is bool else flag,
            field.name,
            type=str if multiple else type_,
            multiple=multiple,
            default=field.default,
            show_default=not multiple,
            help=f"{help_[:1].upper()}{help_[1:]}{'; may be repeated' if multiple else ''}.",
        )(function)
    return function


def _described(hint: Any) -> tuple[Any, str]:  # noqa: ANN401  a type hint may be anything
    """A switch's click type and its documentation."""
    metas: list[Any] = []
    while get_origin(hint) is Annotated:
        hint, *more = get_args(hint)
        metas += more
    help_ = next((meta.description for meta in metas if getattr(meta, "description", None)), "")
    low, high = (next((v for m in metas if (v := getattr(m, name, None)) is not None), None) for name in ("ge", "le"))
    if get_origin(hint) is tuple:
        return tuple, help_
    if choices := get_args(hint):
        return Choice(choices), help_
    if low is None and high is None:
        return hint, help_
    return (click.IntRange if hint is int else click.FloatRange)(low, high), help_


@click.command("emulate")
@parameters.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="Port; 0 takes any free one."
)
@parameters.option(
    "--state", type=click.Path(path_type=Path), help="Keep the accounts in this file; default: in memory."
)
@_switches
def command(port: int, state: Path | None, **switches: Any) -> None:  # noqa: ANN401  click's values
    """Prints the endpoint's URL and how to use it, then serves on the loopback interface until SIGTERM or SIGINT.

    The switches can be read and changed while it runs: GET, PUT or PATCH /_emulator/behaviour. GET /_emulator/truth
    returns every algorithm and every call. docs/emulator.md describes both, and the faults that a script can name.
    """
    from provisioner.emulator import Emulator, serve

    try:
        behaviour = msgspec.convert(switches, Behaviour)
    except msgspec.ValidationError as error:
        raise UsageError(
            "the switches cannot be used", why=str(error), hint="See `provisioner emulate --help`"
        ) from error
    serve(Emulator(behaviour, state_file=state, port=port), _announce)


def _announce(emulator: Emulator) -> None:
    click.echo(emulator.url)
    click.echo(f"To use it, run in another shell:\n  {emulator.usage}", err=True)
    sys.stdout.flush()
