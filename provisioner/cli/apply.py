"""``provisioner apply``."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO, cast

import anyio
import click
import msgspec

from provisioner import fleet
from provisioner.cli import logs
from provisioner.cli.local import local_endpoint
from provisioner.cli.options import Duration, common, settings_of
from provisioner.errors import ExitCode, ProvisionerError
from provisioner.report.summary import Ending, Summary, summarize
from provisioner.settings import seconds
from provisioner.site import Policy

if TYPE_CHECKING:
    from provisioner.settings import Settings

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The command line of ``apply``, as click read it."""

    manifest: tuple[str, ...]
    config: str | None
    ledger: str | None
    targets: tuple[str, ...]
    endpoint_url: str | None
    local: bool
    output: str
    progress: str
    log_level: str
    log_format: str
    strict: bool
    max_rate: float | None
    max_in_flight: int | None
    deadline: str | None
    lock_timeout: str
    no_wait: bool
    adopt: str
    retry_failed: bool


@click.command("apply")
@click.argument("manifest", nargs=-1, required=True)
@common("config", "ledger", "target", "endpoint-url", "local", "output", "progress", "log-level", "log-format")
@click.option("--strict", is_flag=True, help="Send nothing at all when any line is invalid.")
@click.option("--max-rate", type=click.FloatRange(min=0), metavar="N", help="Never more than N creates per second.")
@click.option("--max-in-flight", type=click.IntRange(1, 4096), metavar="N", help="Never more than N creates under way.")
@click.option("--deadline", type=Duration(), help="Drain and stop after this long.")
@click.option("--lock-timeout", type=Duration(), default="0s", help="Wait this long for another run to end.")
@click.option("--no-wait", is_flag=True, help="Leave unanswered creates to the next run (exit 5).")
@click.option(
    "--adopt",
    type=click.Choice(["never", "same", "any"]),
    default="same",
    show_default=True,
    help="Take over an algorithm of the same name that is not ours: never, if its definition is the same, always.",
)
@click.option("--retry-failed", is_flag=True, help="Try again what failed for good before.")
def command(**given: Any) -> ExitCode:  # noqa: ANN401  click's values, typed by Options
    """MANIFEST is a path, a glob, or - for standard input; .gz and .zst are read as such.

    Run it again at any time: what is registered already is not sent again. Ends with 0 when everything is registered;
    the other exit codes tell a scheduler what to do.
    """
    options = Options(**given)
    try:
        summary = anyio.run(partial(_apply, options), backend_options={"use_uvloop": True})
    except ProvisionerError as error:
        if options.output != "json":
            raise
        summary = _failed(options, error)
    _print(options, summary)
    return ExitCode(summary.exit_code)


async def _apply(options: Options) -> Summary:
    settings = _settings(options)
    async with AsyncExitStack() as stack:
        if options.local:
            settings = await stack.enter_async_context(local_endpoint(settings))
        elif options.endpoint_url:
            settings = settings.with_endpoint(options.endpoint_url)
        run = fleet.Run(_order(options, settings))
        group = await stack.enter_async_context(anyio.create_task_group())
        group.start_soon(_watch_signals, run, options)
        _show(group, run, options)
        summary = await fleet.apply(run, stdin=sys.stdin.buffer)
        group.cancel_scope.cancel()
    return summary


def _settings(options: Options) -> Settings:
    settings = settings_of(options.config, options.ledger)
    settings = settings.override("run", max_in_flight=options.max_in_flight, deadline=options.deadline)
    return settings.override("pace", max_rate=options.max_rate)


def _order(options: Options, settings: Settings) -> fleet.Order:
    reconcile = settings.reconcile
    policy = Policy(
        ownership_tag=reconcile.ownership_tag,
        settle_s=reconcile.settle_s,
        list_lag_s=reconcile.list_lag_s,
        names=reconcile.names,
        adopt=options.adopt,  # type: ignore[arg-type]  # click has checked the choice
        retry_failed=options.retry_failed,
        wait=not options.no_wait,
    )
    return fleet.Order(
        sources=options.manifest,
        settings=settings,
        targets=settings.select(options.targets),
        policy=policy,
        strict=options.strict,
        lock_timeout_s=seconds(options.lock_timeout),
    )


async def _watch_signals(run: fleet.Run, options: Options) -> None:
    """The first signal drains; the second ends the process at once, which is safe: entries say what is known."""
    with anyio.open_signal_receiver(*SIGNALS) as received:
        async for number in received:
            if run.stop.requested:
                _print(options, run.summary(exit_code=ExitCode.INTERRUPTED))
                os._exit(ExitCode.INTERRUPTED)
            run.stop.request(f"signal {signal.Signals(number).name}")


def _show(group: anyio.abc.TaskGroup, run: fleet.Run, options: Options) -> None:
    if options.progress == "never":
        logs.configure(options.log_level, options.log_format)
        return
    from provisioner.report import progress

    if options.progress == "always" or sys.stderr.isatty():
        from rich.console import Console

        console = Console(file=cast("TextIO", logs.Stderr()), force_terminal=True)
        logs.configure(options.log_level, options.log_format, console)
        group.start_soon(progress.show_bar, run, console)
    else:
        logs.configure(options.log_level, options.log_format)
        group.start_soon(progress.show_lines, run)


def _print(options: Options, summary: Summary) -> None:
    """The result, on stdout; a reader that went away changes nothing of the exit code."""
    text = summary.json().decode() if options.output == "json" else summary.text()
    try:
        click.echo(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(options: Options, error: ProvisionerError) -> Summary:
    """The summary of a run that could not even begin."""
    import time

    ledger = options.ledger or ""
    ending = Ending(run_id="", ledger=ledger, started_at=time.time(), elapsed_s=0.0, error=str(error))
    return summarize([], msgspec.structs.replace(ending, exit_code=error.exit_code))
