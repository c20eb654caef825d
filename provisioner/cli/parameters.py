"""Options and arguments as every command has them: one that is given, but empty, is refused.

Most often a script's variable was not set: ``destroy --run "$RUN"``. If it counted as no filter at all, the command
would do more than was asked. An empty environment variable counts as not set, as usual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from collections.abc import Callable

Command = TypeVar("Command", bound="Callable[..., Any] | click.Command")


def _refuse_empty(parameter: click.Parameter, context: click.Context, value: object, hint: str) -> None:
    typed = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    if typed and "" in (value if isinstance(value, tuple | list) else (value,)):
        raise click.BadParameter(f"it is empty. {hint}", context, parameter)


class Option(click.Option):
    """An option that has no empty value."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:  # noqa: ANN401  as in click
        """Refuse an empty value here, so that the message is the same for every type."""
        _refuse_empty(self, ctx, value, "Give a value, or leave the option out")
        return super().type_cast_value(ctx, value)


class Argument(click.Argument):
    """An argument that is not empty."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:  # noqa: ANN401  as in click
        """The same for an argument."""
        _refuse_empty(self, ctx, value, "Give a value" if self.required else "Give a value, or leave it out")
        return super().type_cast_value(ctx, value)


def option(*declarations: str, **attributes: Any) -> Callable[[Command], Command]:  # noqa: ANN401  as in click
    """As :func:`click.option`, for an :class:`Option`."""
    return click.option(*declarations, cls=Option, **attributes)


def argument(*declarations: str, **attributes: Any) -> Callable[[Command], Command]:  # noqa: ANN401  as in click
    """As :func:`click.argument`, for an :class:`Argument`."""
    return click.argument(*declarations, cls=Argument, **attributes)
