"""``provisioner apply``."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import click
import msgspec

from provisioner.cli.options import Duration, common
from provisioner.cli.program import current
from provisioner.cli.running import COMMON, Options, execute
from provisioner.config.settings import ADOPT, Adopt, seconds

if TYPE_CHECKING:
    from provisioner.commands.run import Order
    from provisioner.config.settings import Settings
    from provisioner.exit_codes import ExitCode


class ApplyOptions(Options, frozen=True, kw_only=True):
    """The options of ``apply``, as click parsed them."""

    manifest: tuple[str, ...]
    strict: bool
    max_rate: float | None
    max_in_flight: int | None
    deadline: str | None
    lock_timeout: str
    no_wait: bool
    adopt: Adopt
    take_over: str
    retry_failed: bool

    def settings(self) -> Settings:
        """The configuration, overridden by the command line."""
        settings = super().settings()
        settings = settings.override("run", max_in_flight=self.max_in_flight, deadline=self.deadline)
        return settings.override("pace", max_rate=self.max_rate)

    def order(self, settings: Settings) -> Order:
        """What the run is to do."""
        order = super().order(settings)
        policy = msgspec.structs.replace(
            order.policy,
            adopt=self.adopt,
            take_over=self.take_over,
            retry_failed=self.retry_failed,
            wait=not self.no_wait,
        )
        return msgspec.structs.replace(
            order,
            sources=self.manifest,
            policy=policy,
            strict=self.strict,
            lock_timeout_s=seconds(self.lock_timeout),
        )


def _ledger_id(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if value and not re.fullmatch(r"[0-9a-f]{16}", value):
        raise click.BadParameter("a ledger id has 16 hex digits, as `provisioner status` prints it")
    return value


@click.command("apply")
@click.argument("manifest", nargs=-1, required=True)
@common(*COMMON)
@click.option("--strict", is_flag=True, help="Send nothing if any line is invalid.")
@click.option("--max-rate", type=click.FloatRange(min=0), metavar="N", help="Send at most N creates per second.")
@click.option("--max-in-flight", type=click.IntRange(1, 4096), metavar="N", help="Keep at most N creates in flight.")
@click.option("--deadline", type=Duration(), help="After this time, finish what is in flight and stop (exit code 75).")
@click.option(
    "--lock-timeout",
    type=Duration(),
    default="0s",
    show_default=True,
    help="Wait up to this long for another run to release the ledger.",
)
@click.option(
    "--no-wait",
    is_flag=True,
    help="Do not wait for the settle time of unanswered creates: leave them to the next run (exit code 5).",
)
@click.option(
    "--adopt",
    type=click.Choice(get_args(Adopt)),
    default=ADOPT,
    show_default=True,
    help="Whether to take over an algorithm of the same name that no ledger created; same: if the definitions agree.",
)
@click.option(
    "--take-over",
    default="",
    metavar="LEDGER_ID",
    callback=_ledger_id,
    help="Take over algorithms of the same name that the ledger with this id created.",
)
@click.option("--retry-failed", is_flag=True, help="Retry definitions that an earlier run recorded as failed.")
def command(**given: Any) -> ExitCode:  # noqa: ANN401  click's values, typed by ApplyOptions
    """MANIFEST is a path, a glob, or - for standard input; .gz and .zst files are decompressed.

    It is safe to run at any time and as often as you like: what is registered is not sent again. Before its first
    create it reads what the account holds: an algorithm that this ledger created but does not record is recovered, one
    that another ledger created is refused. The exit code is 0 when everything is registered; README.md lists the
    others.
    """
    from provisioner.commands.apply import apply

    return execute(ApplyOptions(**given), partial(apply, stdin=current().streams.stdin))
