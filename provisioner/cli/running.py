"""How a command that talks to AWS runs: endpoint, signals, progress, logs, and its result on stdout."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, TextIO, cast

import anyio
import msgspec

from provisioner import commands
from provisioner.cli.local import local_endpoint, tell_ignored
from provisioner.cli.options import settings_of
from provisioner.cli.output import say
from provisioner.config.settings import ADOPT
from provisioner.errors import ProvisionerError, UsageError
from provisioner.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from provisioner.config.settings import Settings
    from provisioner.engine.site import Policy
    from provisioner.report.summary import Summary

TELLING_S = 0.5
"""How long the summary may take after a second signal, also where stdout is a pipe that nobody reads any more."""
GARBAGE_OBJECTS = 20_000
"""New objects after which the youngest are looked at: some 10 MB."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The options that such commands share, as click read them."""

    config: str | None
    ledger: str | None
    targets: tuple[str, ...]
    endpoint_url: str | None
    local: bool
    output: str
    progress: str
    log_level: str
    log_format: str

    def settings(self) -> Settings:
        """The configuration, with what the command line says of it.

        Raises:
            ConfigurationError: the file or an option is wrong.
        """
        return settings_of(self.config, self.ledger)

    def order(self, settings: Settings) -> commands.Order:
        """What the run is asked for."""
        return commands.Order(
            sources=(),
            settings=settings,
            targets=settings.select(self.targets),
            policy=policy_of(settings),
        )

    def text(self, summary: Summary) -> str:
        """The result, as it is printed."""
        return summary.json().decode() if self.output == "json" else summary.text()


COMMON = ("config", "ledger", "target", "endpoint-url", "local", "output", "progress", "log-level", "log-format")
"""The names of those options, for :func:`provisioner.cli.options.common`."""


def policy_of(settings: Settings) -> Policy:
    """The rules that the configuration sets; a command's options may change them."""
    from provisioner.engine.site import Policy

    reconcile = settings.reconcile
    return Policy(
        ownership_tag=reconcile.ownership_tag,
        settle_s=reconcile.settle_s,
        list_lag_s=reconcile.list_lag_s,
        names=reconcile.names,
        adopt=ADOPT,
        retry_failed=False,
        wait=True,
    )


def execute(options: Options, work: Callable[[commands.Run], Awaitable[Summary]]) -> ExitCode:
    """Run ``work`` and print its result; with ``--output json`` exactly one object, also when it fails.

    Raises:
        ProvisionerError: it could not begin, and the result is for people.
    """
    _relax_garbage_collection()
    try:
        summary = anyio.run(partial(_execute, options, work), backend_options={"use_uvloop": True})
    except ProvisionerError as error:
        if options.output != "json":
            raise
        summary = never_begun(error, options.ledger or "")
    say(options.text(summary))
    return ExitCode(summary.exit_code)


def _relax_garbage_collection() -> None:
    """Look for cycles rarely: a create leaves none behind, and to look every 700 objects took a tenth of its time."""
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS, 20, 50)


async def _execute(options: Options, work: Callable[[commands.Run], Awaitable[Summary]]) -> Summary:
    settings = given = options.settings()
    if options.local and options.endpoint_url:
        raise UsageError("--local and --endpoint-url exclude each other", hint="--local brings its own endpoint")
    async with AsyncExitStack() as stack:
        if options.local:
            settings = await stack.enter_async_context(local_endpoint(settings, options.config))
        elif options.endpoint_url:
            settings = settings.with_endpoint(options.endpoint_url)
        run = commands.Run(options.order(settings))
        group = await stack.enter_async_context(anyio.create_task_group())
        group.start_soon(_watch_signals, run, options)
        _show(group, run, options)
        if options.local:
            tell_ignored(given.select(options.targets))
        summary = await work(run)
        group.cancel_scope.cancel()
    return summary


async def _watch_signals(run: commands.Run, options: Options) -> None:
    """The first signal drains; the second ends the process at once, which is safe: entries say what is known."""
    with anyio.open_signal_receiver(*SIGNALS) as received:
        async for number in received:
            if run.stop.requested:
                text = options.text(run.summary(interrupted=True))
                telling = threading.Thread(target=say, args=(text,), daemon=True)
                telling.start()
                telling.join(TELLING_S)
                os._exit(ExitCode.INTERRUPTED)
            run.stop.request(f"signal {signal.Signals(number).name}")


def _show(group: anyio.abc.TaskGroup, run: commands.Run, options: Options) -> None:
    from provisioner.cli import logs

    bar = options.progress == "always" or (options.progress == "auto" and sys.stderr.isatty())
    if not bar:
        logs.configure(options.log_level, options.log_format)
    if options.progress == "never":
        return
    from provisioner.report import progress

    if bar:
        from rich.console import Console

        console = Console(file=cast("TextIO", logs.Stderr()), force_terminal=True)
        logs.configure(options.log_level, options.log_format, console)
        group.start_soon(progress.show_bar, run, console)
    else:
        group.start_soon(progress.show_lines, run)


def never_begun(error: ProvisionerError, ledger: str = "") -> Summary:
    """The summary of a run that ``error`` kept from beginning."""
    from provisioner.report.summary import Ending, summarize

    return summarize(
        [],
        Ending(
            run_id="",
            ledger=ledger,
            started_at=time.time(),
            elapsed_s=0.0,
            error=str(error),
            reasons=frozenset({error.reason}),
        ),
    )
