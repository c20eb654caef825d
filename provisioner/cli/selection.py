"""The options that select entries: one set for every command that is about some of them."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Any

import click
import msgspec

from provisioner.cli import parameters
from provisioner.cli.choice import Choice
from provisioner.config.choice import select
from provisioner.config.values import seconds
from provisioner.core.entry import State
from provisioner.core.selection import Selection
from provisioner.core.versions import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from provisioner.cli.parameters import Command
    from provisioner.core.targets import Tags
    from provisioner.ledger import Ledger


class Glob(click.ParamType[str]):
    """A pattern of names. In an environment variable one stands on each line, for names have blanks."""

    name = "glob"
    envvar_list_splitter = "\n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401
        """Take any text."""
        del param, ctx
        return str(value)


class Moment(click.ParamType[float]):
    """A time: ISO 8601, in UTC unless it says otherwise, or how long ago it was. Seconds since the epoch."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401
        """Read the text."""
        try:
            return time.time() - seconds(value)
        except ValueError:
            pass
        try:
            moment = dt.datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither a duration such as 2h nor a time such as 2026-11-23T20:19Z", param, ctx)
        return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()


def selection(*, superseded: bool = False) -> Callable[[Command], Command]:
    """The options that select entries, apart from ``--target``.

    Args:
        superseded: whether the command is about superseded versions too.
    """
    states = [*map(str, State), *([str(Role.SUPERSEDED)] if superseded else [])]
    options = (
        parameters.option(
            "--name",
            "names",
            type=Glob(),
            metavar="GLOB",
            multiple=True,
            help="Only names like this, case-sensitive: * is any text, ? any character, [ab] one of these. Can be "
            "repeated.",
        ),
        parameters.option(
            "--state",
            "states",
            type=Choice(states),
            metavar="STATE",
            multiple=True,
            help=f"Only in this state: {', '.join(states)}. Can be repeated.",
        ),
        parameters.option(
            "--run",
            metavar="RUN",
            default="",
            help="Only what this run changed last: its id, the beginning of it, or `last`.",
        ),
        parameters.option(
            "--since",
            type=Moment(),
            metavar="DURATION|TIME",
            help="Only what changed since: 2h, or a time such as 2026-11-23T20:19Z.",
        ),
        parameters.option(
            "--code", metavar="CODE", default="", help="Only with this error code, or recovered, adopted, rebuilt."
        ),
    )

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def ledger_targets(known: Iterable[str], patterns: Sequence[str], tags: Mapping[str, Tags]) -> tuple[str, ...]:
    """The targets of a ledger that ``patterns`` select, also those that the configuration has no longer.

    Args:
        known: the targets that the ledger has.
        patterns: of ``--target``; none select all.
        tags: of the targets of the configuration.

    Raises:
        UsageError: it has no such target.
    """
    return select(patterns, {name: tags.get(name, {}) for name in known}, ledger=True)


class Selecting(msgspec.Struct, frozen=True, kw_only=True):
    """The options of :func:`selection` and ``--target``, as click parsed them."""

    targets: tuple[str, ...]
    names: tuple[str, ...]
    states: tuple[str, ...]
    run: str
    since: float | None
    code: str

    async def of(self, ledger: Ledger, tags: Mapping[str, Tags], *, asking: str = "") -> Selection:
        """What they select in ``ledger``.

        Args:
            ledger: whose entries are selected.
            tags: of the targets of the configuration.
            asking: the command that asks, of which ``--run last`` means no run.

        Raises:
            UsageError: it has no such target, or no such run.
        """
        from provisioner.commands.finding import find_run_id

        return Selection(
            targets=frozenset(ledger_targets(await ledger.counts(), self.targets, tags) if self.targets else ()),
            names=self.names,
            states=frozenset(Role(state) if state == Role.SUPERSEDED else State(state) for state in self.states),
            run=await find_run_id(ledger, self.run, asking=asking) if self.run else "",
            since=self.since,
            code=self.code,
        )
