"""What a scheduler gets of a command beside its output: summary and log in files, silence when all is well, pings."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from provisioner.cli.files import whole_file
from provisioner.cli.monitoring import Monitoring
from provisioner.cli.output import UnwritableError
from provisioner.cli.streams import PATIENCE_S
from provisioner.core.objects import is_object
from provisioner.errors import ProvisionerError, printable_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.cli.log_file import LogFile
    from provisioner.cli.ping import Ping

GONE_BY_S = 24.9
"""From the first signal to the end of the process; the documentation promises 25."""


class Unattended:
    """The wishes of a scheduler, as the options say them before the command begins.

    Args:
        signalled_at: when the first signal came, on the monotonic clock; None if none did.

    Attributes:
        summary_file: where the summary goes, None for nowhere.
        log_file: where the log goes beside stderr, None for nowhere.
        quiet: whether a command that ends with 0 prints nothing.
        ping: None for none.
        monitoring: where the metrics go.
        written: whether the summary file is written.
        logged: whether the end of a run is logged.
        line: what the command did, in one line; "" for a command that did nothing, such as print its help.
    """

    def __init__(self, signalled_at: Callable[[], float | None]) -> None:
        self._signalled_at = signalled_at
        self.summary_file: str | None = None
        self.log_file: LogFile | None = None
        self.quiet = False
        self.ping: Ping | None = None
        self.monitoring = Monitoring()
        self.written = False
        self.logged = False
        self.line = ""

    def hides(self, code: int) -> bool:
        """Whether a command that ends with ``code`` prints nothing."""
        return self.quiet and not code

    def write(self, summary: bytes | str) -> None:
        """Write the summary file, if one was asked for.

        Raises:
            ProvisionerError: it cannot be written.
        """
        if self.summary_file is not None:
            self.written = True
            text = summary if isinstance(summary, str) else summary.decode()
            writing = partial(_write, self.summary_file, f"{printable_json(text)}\n")
            if is_object(self.summary_file):
                within(self._patience_s(), self.summary_file, writing)
            else:
                writing()

    def log_failure(self, code: int, error: ProvisionerError) -> None:
        """Log the error that keeps a run from beginning, which stderr has as a message, in the log file."""
        if self.log_file is not None and not self.logged:
            from provisioner.cli.logs import log_failure

            log_failure(self.log_file, code, str(error))

    def close_log(self) -> bool:
        """Write what is left of the log, and report what the file lacks; returns whether all is written."""
        file = self.log_file
        if file is None:
            return True
        from provisioner.logger import log

        written = file.finish(PATIENCE_S)
        lost, why = file.losses()
        if lost:
            log.warning("log.dropped", path=file.name, messages=lost, why=why)
        return written and file.finish(PATIENCE_S)

    def end(self, command: str, code: int) -> None:
        """Report the end of ``command`` to monitors, with its exit code."""
        if not self.line:
            return
        self.monitoring.end(command, code, self._patience_s())
        if self.ping is None:
            return
        from provisioner.logger import log

        for failure in self.ping.end(code, self.line, self._patience_s()):
            log.warning("ping.failed", why=failure)

    def _patience_s(self) -> float:
        return patience_s(self._signalled_at(), time.monotonic())


def patience_s(signalled_at: float | None, now: float) -> float:
    """How long the end of a command waits for others: for its pings, and for a summary that goes to S3.

    Args:
        signalled_at: when the first signal came, on the monotonic clock; None if none did.
        now: on the same clock.
    """
    from provisioner.cli.ping import LIMIT_S

    left_s = LIMIT_S if signalled_at is None else max(0.0, signalled_at + GONE_BY_S - now)
    return min(LIMIT_S, left_s)


def _write(name: str, text: str) -> None:
    with whole_file(name) as write:
        write(text)


def within(limit_s: float, name: str, writing: Callable[[], object]) -> None:
    """Do ``writing`` in a thread that ends with the process: S3 may not answer for longer than the command may take.

    Raises:
        ProvisionerError: it failed, or took longer than ``limit_s``.
    """
    failures: list[ProvisionerError] = []

    def write() -> None:
        try:
            writing()
        except ProvisionerError as error:
            failures.append(error)

    thread = threading.Thread(target=write, name="summary", daemon=True)
    thread.start()
    thread.join(limit_s)
    if failures:
        raise failures[0]
    if thread.is_alive():
        what = "the result cannot be written"
        raise UnwritableError(what, where=name, why=f"S3 has not answered within {limit_s:.0f} s", hint="Run again")
