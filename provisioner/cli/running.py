"""Runs a command that calls AWS: endpoint, signals, progress, logs, and its result on stdout."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import sys
import threading
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, ClassVar, TextIO, cast

import anyio
import anyio.to_thread
import click
import msgspec

from provisioner.cli.local import local_endpoint, warn_of_profiles
from provisioner.cli.options import found_config, loaded, recommended
from provisioner.cli.output import UnwritableError, say, say_json, talk
from provisioner.cli.page import shown
from provisioner.cli.program import HURRY_S, CancelledError, InternalError, current, hurry
from provisioner.cli.streams import draws
from provisioner.config.values import seconds
from provisioner.errors import ProvisionerError, UsageError, printable
from provisioner.exit_codes import ExitCode, reason_for
from provisioner.ledger.location import printable_location

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from provisioner.cli.logs import Logs
    from provisioner.cli.program import Program
    from provisioner.commands.organization import Asked
    from provisioner.commands.run import Order, Run
    from provisioner.config.settings import Settings
    from provisioner.report.recommended import Recommended
    from provisioner.report.summary import Summary

SHOW_CURSOR = b"\x1b[?25h\n"
"""Shows the cursor again after a progress bar that was cut off (DECTCEM), and begins a new line."""
ASK_AFTER_S = 0.5
"""Time for a progress bar to leave the terminal before a question."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The options that commands with a run share, as click parsed them."""

    config: str | None
    ledger: str | None
    targets: tuple[str, ...]
    shard: str | None
    endpoint_url: str | None
    local: bool
    output: str
    progress: str
    log_level: str
    log_format: str
    lock_timeout: str | None = None
    """None where the command has no such option."""
    prose: ClassVar[bool] = True
    """Whether the result is text that a terminal may break into lines."""

    def settings(self) -> Settings:
        """The configuration, overridden by the command line.

        Raises:
            ConfigurationError: the file or an option is wrong.
        """
        settings = loaded(self.config).override("run", ledger=self.ledger)
        return settings.override("fleet", shard=self.shard).in_shard(os.environ)

    def order(self, settings: Settings) -> Order:
        """What the run is to do."""
        from provisioner.commands.run import Order, policy_of

        return Order(
            sources=(),
            embedded=self.local,
            settings=settings,
            targets=settings.select(self.targets),
            patterns=self.targets,
            policy=policy_of(settings),
            lock_timeout_s=None if self.lock_timeout is None else seconds(self.lock_timeout),
        )

    def json(self, summary: Summary) -> bytes:
        """The result for programs."""
        return summary.json()

    def text(self, summary: Summary, recommended: Recommended) -> str:
        """The result for people, with the commands that it recommends; "" prints nothing."""
        return summary.text(recommended)

    def remarks(self, summary: Summary, recommended: Recommended) -> str:
        """What people are told on stderr beside the text."""
        del summary, recommended
        return ""


class SelectiveOptions(Options, frozen=True, kw_only=True):
    """The same for commands that may be about some definitions or entries only."""

    names: tuple[str, ...]
    states: tuple[str, ...]
    run: str
    since: float | None
    code: str

    def order(self, settings: Settings) -> Order:
        """What the run is to do."""
        from provisioner.core.entry import State
        from provisioner.core.selection import Selection

        states = frozenset(State(state) for state in self.states)
        selection = Selection(names=self.names, states=states, run=self.run, since=self.since, code=self.code)
        return msgspec.structs.replace(super().order(settings), selection=selection)


LOUD = (
    *("config", "ledger", "target", "shard", "endpoint-url", "local", "output"),
    *("progress", "log-level", "log-format", "log-file", "summary-file"),
)
"""The names of those options, for :func:`provisioner.cli.options.common`."""
COMMON = (*LOUD, "quiet", "metrics-file", "metrics-port")
"""The same for a command whose result a person may do without."""


def execute(options: Options, work: Callable[[Run], Awaitable[Summary]]) -> ExitCode:
    """Run ``work`` and print its result.

    Raises:
        ProvisionerError: it could not begin.
    """
    program = current()
    settings = options.settings()
    gc.freeze()
    raise_file_limit()
    running = _Running(options, program)
    with program.signals.reaction(running.signalled):
        summary = anyio.run(running.execute, settings, work, backend_options={"use_uvloop": True})
    with program.signals.reaction(hurry):
        if summary.exit_code:
            program.streams.stderr.release()
        program.streams.stderr.drain(HURRY_S)
        summary = running.report(summary)
    return ExitCode(summary.exit_code)


def raise_file_limit() -> None:
    """Raise the soft limit of file descriptors to the hard one: many targets have many connections.

    It is low for the sake of programs that use select(2) (systemd, "File Descriptor Limits"), which this one is not.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS refuses one without a bound
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _in_shard(commands: Recommended, settings: Settings) -> Recommended:
    """The commands that lead to the shard of this process, wherever they are typed."""
    if settings.shard is None:
        return commands
    own = "" if "://" in settings.run.ledger else settings.run.ledger
    return msgspec.structs.replace(commands, shard=str(settings.shard), shard_ledger=own)


class _Running:
    """A run and what surrounds it: the embedded endpoint, signals, logs, progress."""

    def __init__(self, options: Options, program: Program) -> None:
        self._options = options
        self._signals = program.signals
        self._streams = program.streams
        self._unattended = program.unattended
        self._run: Run | None = None
        self._command = click.get_current_context().info_name or ""
        self._recommended = recommended()
        self._logs: Logs | None = None
        self._bar = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asking: anyio.CancelScope | None = None

    async def execute(self, settings: Settings, work: Callable[[Run], Awaitable[Summary]]) -> Summary:
        """Do ``work`` with the endpoint that the options name.

        Raises:
            ProvisionerError: the run could not begin.
        """
        from provisioner.commands.run import Run
        from provisioner.report.events import run_started

        options = self._options
        if options.local and options.endpoint_url:
            raise UsageError("--local and --endpoint-url exclude each other", hint="Leave one of them out")
        asked = await self._ask_organization(settings)
        settings = given = asked.settings
        self._recommended = _in_shard(self._recommended, settings)
        async with AsyncExitStack() as stack:
            if options.local:
                settings = await stack.enter_async_context(local_endpoint(settings, options.config))
            elif options.endpoint_url:
                settings = settings.with_endpoint(options.endpoint_url)
            run = Run(msgspec.structs.replace(options.order(settings), listing=asked.fresh))
            self._begin(run)
            if self._streams.stdin.isatty() and self._streams.stderr.isatty() and not self._unattended.quiet:
                run.ask = partial(self._ask, run)
            self._unattended.monitoring.begin(run, self._command)
            group = await stack.enter_async_context(anyio.create_task_group())
            group.start_soon(self._unattended.monitoring.keep)
            self._show(group, run)
            run_started(run.run_id, self._command, printable_location(settings.run.ledger), [*run.statistics])
            if self._unattended.ping is not None:
                self._unattended.ping.start()
            if path := found_config():
                self._name_config(path)
            asked.log(run.run_id)
            if options.local:
                warn_of_profiles(given.select(options.targets))
            try:
                summary = await work(run)
            except ProvisionerError as error:
                summary = run.summary(error=error)
            except Exception as error:  # noqa: BLE001  a bug, or no memory: the summary has what was done so far
                summary = run.summary(error=InternalError(error))
            group.cancel_scope.cancel()
        return summary

    async def _ask_organization(self, settings: Settings) -> Asked:
        """The targets that AWS Organizations names, if it is to be asked; a signal ends the question.

        Raises:
            CancelledError: a signal came.
            ProvisionerError: the targets are not known.
        """
        from provisioner.commands.organization import Asked, with_known, with_organization

        if self._options.local:  # calls nothing but the embedded endpoint
            return Asked(await with_known(settings))
        self._loop = asyncio.get_running_loop()
        with anyio.CancelScope() as self._asking:
            return await with_organization(settings)
        raise CancelledError(self._signals.received[0])

    def _begin(self, run: Run) -> None:
        """From here on, a signal drains ``run``.

        Raises:
            CancelledError: a signal came before.
        """
        self._loop = asyncio.get_running_loop()
        self._run = run
        if self._signals.received:
            raise CancelledError(self._signals.received[0])

    def signalled(self) -> None:
        """The first signal drains; the second ends the process at once, which is safe: the ledger has all facts.

        A run that drains because its deadline has passed answers its first signal by draining, too.
        """
        if self._run is None or self._loop is None:
            if self._asking is not None and self._loop is not None:
                self._loop.call_soon_threadsafe(self._asking.cancel)
            return  # _begin will see it
        if len(self._signals.received) > 1:
            # In a thread, because stdout and stderr may block. The main thread waits, so nothing changes meanwhile.
            last = threading.Thread(target=self._last_words, args=(self._run,), daemon=True)
            last.start()
            last.join(HURRY_S)
            os._exit(ExitCode.INTERRUPTED)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the work is done, and its result is being printed
            self._loop.call_soon_threadsafe(self._run.stop.request, f"signal {self._signals.received[0]}")

    def _last_words(self, run: Run) -> None:
        if self._bar:  # not through rich, whose lock the main thread may hold
            os.write(self._streams.stderr.fileno(), SHOW_CURSOR)
        self.report(run.summary(interrupted=True))
        self._streams.stderr.release()
        self._streams.stderr.drain(HURRY_S)
        if self._unattended.log_file is not None:
            self._unattended.log_file.drain(HURRY_S)

    def report(self, summary: Summary) -> Summary:
        """Write the summary file and print the result; returns the summary, with the error if there is one.

        Raises:
            UnwritableError: stdout cannot be written.
        """
        if self._logs is not None:
            self._logs.finish()
        summary = self._written(summary)
        try:
            if not self._unattended.hides(summary.exit_code):
                self._say(summary)
        except UnwritableError as error:
            self._log_end(self._written(with_error(summary, error)))
            raise
        self._log_end(summary)
        return summary

    def _log_end(self, summary: Summary) -> None:
        from provisioner.report.events import run_finished

        if self._logs is not None:
            run_finished(summary, self._command)
            self._unattended.logged = True

    def _written(self, summary: Summary) -> Summary:
        from provisioner.report.text import one_line

        try:
            self._unattended.write(self._options.json(summary))
        except ProvisionerError as error:
            summary = with_error(summary, error)
        self._unattended.line = one_line(summary)
        return summary

    def _say(self, summary: Summary) -> None:
        """Print the result."""
        if self._options.output == "json":
            say_json(self._options.json(summary))
            return
        if text := self._options.text(summary, self._recommended):
            say(shown(text) if self._options.prose else text)
        if remarks := self._options.remarks(summary, self._recommended):
            talk(remarks)

    def _name_config(self, path: str) -> None:
        """Report which configuration file is used, because the command line does not name it."""
        from provisioner.logger import log

        if self._streams.stderr.isatty():
            talk(f"Configuration: {printable(path)}")
        else:
            log.info("configuration.found", path=path)

    async def _ask(self, run: Run, question: str) -> bool:
        """Ask on the terminal; anything but yes is a no."""
        run.asking = True
        try:
            await anyio.sleep(ASK_AFTER_S)
            self._streams.stderr.write(f"{printable(question)} [y/N] ")
            answer = b""
            with run.stop.ends():
                answer = await anyio.to_thread.run_sync(self._streams.stdin.readline, abandon_on_cancel=True)
            if not answer.endswith(b"\n"):  # the end of the input, or a signal: the terminal is still on that line
                self._streams.stderr.write("\n")
            return answer.strip().lower() in {b"y", b"yes"}
        finally:
            run.asking = False

    def _show(self, group: anyio.abc.TaskGroup, run: Run) -> None:
        from provisioner.cli import logs

        options = self._options
        wanted = options.progress == "always" or (options.progress == "auto" and draws(sys.stderr))
        bar = wanted and not self._unattended.quiet
        with_result = sys.stderr.isatty() and sys.stdout.isatty() and options.output == "text" and options.prose
        configured = partial(
            logs.Logs,
            options.log_level,
            options.log_format,
            run_id=run.run_id,
            with_result=with_result,
            file=self._unattended.log_file,
        )
        if not bar:
            self._logs = configured()
        if options.progress == "never":
            return
        from provisioner.report import progress

        if bar:
            from rich.console import Console

            console = Console(file=cast("TextIO", self._streams.stderr), force_terminal=True)
            self._logs = configured(console=console)
            self._bar = True
            group.start_soon(partial(progress.show_bar, run, console, leave=not with_result))
        else:
            group.start_soon(progress.show_lines, run)


def with_error(summary: Summary, error: ProvisionerError) -> Summary:
    """``summary``, with an error in reporting it."""
    reasons = [error.reason, *([reason_for(summary.exit_code)] if summary.exit_code else [])]
    text = f"{summary.error}; {error}" if summary.error else str(error)
    return msgspec.structs.replace(summary.ending(reasons), error=text)


def never_begun(error: ProvisionerError) -> Summary:
    """The summary of a run that ``error`` kept from beginning."""
    from provisioner.report.summary import RunEnd, summarize

    return summarize(
        [],
        RunEnd(
            run_id="",
            ledger="",
            started_at=time.time(),
            elapsed_s=0.0,
            error=str(error),
            reasons=frozenset({error.reason}),
        ),
    )
