"""``provisioner apply``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import click
import msgspec

from provisioner import commands
from provisioner.cli.options import Duration, common
from provisioner.cli.program import current
from provisioner.cli.running import COMMON, Options, execute, policy_of
from provisioner.config.settings import ADOPT, Adopt, seconds

if TYPE_CHECKING:
    from provisioner.config.settings import Settings
    from provisioner.exit_codes import ExitCode


class ApplyOptions(Options, frozen=True, kw_only=True):
    """The command line of ``apply``, as click read it."""

    manifest: tuple[str, ...]
    strict: bool
    max_rate: float | None
    max_in_flight: int | None
    deadline: str | None
    lock_timeout: str
    no_wait: bool
    adopt: Adopt
    retry_failed: bool

    def settings(self) -> Settings:
        """The configuration, with what the command line says of it."""
        settings = super().settings()
        settings = settings.override("run", max_in_flight=self.max_in_flight, deadline=self.deadline)
        return settings.override("pace", max_rate=self.max_rate)

    def order(self, settings: Settings) -> commands.Order:
        """What the run is asked for."""
        policy = msgspec.structs.replace(
            policy_of(settings),
            adopt=self.adopt,
            retry_failed=self.retry_failed,
            wait=not self.no_wait,
        )
        return msgspec.structs.replace(
            super().order(settings),
            sources=self.manifest,
            policy=policy,
            strict=self.strict,
            lock_timeout_s=seconds(self.lock_timeout),
        )


@click.command("apply")
@click.argument("manifest", nargs=-1, required=True)
@common(*COMMON)
@click.option("--strict", is_flag=True, help="Send nothing at all when any line is invalid.")
@click.option("--max-rate", type=click.FloatRange(min=0), metavar="N", help="Never more than N creates per second.")
@click.option("--max-in-flight", type=click.IntRange(1, 4096), metavar="N", help="Never more than N creates under way.")
@click.option("--deadline", type=Duration(), help="Drain and stop after this long.")
@click.option("--lock-timeout", type=Duration(), default="0s", help="Wait this long for another run to end.")
@click.option("--no-wait", is_flag=True, help="Leave unanswered creates to the next run (exit 5).")
@click.option(
    "--adopt",
    type=click.Choice(get_args(Adopt)),
    default=ADOPT,
    show_default=True,
    help="Take over an algorithm of the same name that is not ours: never, if its definition is the same, always.",
)
@click.option("--retry-failed", is_flag=True, help="Try again what failed for good before.")
def command(**given: Any) -> ExitCode:  # noqa: ANN401  click's values, typed by ApplyOptions
    """MANIFEST is a path, a glob, or - for standard input; .gz and .zst are read as such.

    Run it again at any time: what is registered already is not sent again. Ends with 0 when everything is registered;
    the other exit codes tell a scheduler what to do.
    """
    return execute(ApplyOptions(**given), partial(commands.apply, stdin=current().streams.stdin))
