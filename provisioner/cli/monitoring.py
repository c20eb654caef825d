"""Where the metrics of a command go: into a file for a collector, to whoever asks, to an OpenTelemetry collector."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.cli.files import whole_file
from provisioner.errors import DISTRIBUTION, ProvisionerError, UsageError

if TYPE_CHECKING:
    from provisioner.commands.run import Run
    from provisioner.report.metrics import Metrics
    from provisioner.report.telemetry import Telemetry

INTERVAL_S = 15.0
"""Between two versions of the file: Prometheus scrapes every 15 s as a rule, and never more often than every minute by
default."""
FLUSH_S = 2.0
"""How long the end of a command waits for an OpenTelemetry collector."""
INSTALL = f"pip install '{DISTRIBUTION}[metrics]'"
_OTEL = ("OTEL_EXPORTER_OTLP_", "OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER")


def require_extra(option: str) -> None:
    """Make sure that the libraries of the extra are there.

    Raises:
        UsageError: they are not.
    """
    try:
        import prometheus_client  # noqa: F401
    except ImportError as error:
        what = f"{option} needs the extra `metrics`, which is not installed"
        raise UsageError(what, hint=f"Install it: {INSTALL}") from error


class Monitoring:
    """The metrics of one command, and where they go.

    Attributes:
        file: which a collector reads (Prometheus textfile); None for none.
        listen: address and port at which they are scraped; None for none.
    """

    def __init__(self) -> None:
        self.file: str | None = None
        self.listen: tuple[str, int] | None = None
        self._began_at = time.time()
        self._metrics: Metrics | None = None
        self._telemetry: Telemetry | None = None
        self._writing = threading.Lock()
        self._over = False

    def begin(self, run: Run, command: str) -> None:
        """Measure ``run``, which is about to begin.

        Raises:
            UsageError: nothing can listen at the address.
        """
        signals = _signals()
        if self.file is None and self.listen is None and not signals:
            return
        metrics = self._measured(command)
        run.watch(metrics.meter)
        if self.listen is not None:
            _serve(metrics, *self.listen)
        if signals:
            from provisioner.report.telemetry import Telemetry

            self._telemetry = telemetry = Telemetry(metrics, signals, os.environ)
            run.watch(lambda statistics: telemetry.observer(statistics.target))

    async def keep(self) -> None:
        """Keep the file up to date, for runs that take longer than a scrape."""
        import anyio.to_thread

        while self.file is not None:
            await anyio.to_thread.run_sync(self._write_meanwhile, abandon_on_cancel=True)
            await anyio.sleep(INTERVAL_S)

    def end(self, command: str, exit_code: int, patience_s: float) -> None:
        """The command has ended: write the last values, and send them.

        Args:
            command: its name.
            exit_code: its own.
            patience_s: how long that may take at most.
        """
        if self.file is not None:
            self._measured(command)
        if self._metrics is None:
            return
        with self._writing:
            self._metrics.end(exit_code)
            self._over = True
            self._write()
        if self._telemetry is not None and (why := self._telemetry.end(exit_code, min(FLUSH_S, patience_s))):
            from provisioner.logger import log

            log.warning("telemetry.failed", why=why)

    def _measured(self, command: str) -> Metrics:
        if self._metrics is None:
            from provisioner.report.metrics import Metrics

            self._metrics = Metrics(command, self._began_at)
        return self._metrics

    def _write_meanwhile(self) -> None:
        """Write the file, unless it has its last version already."""
        with self._writing:
            if not self._over:
                self._write()

    def _write(self) -> None:
        """Write the file; that it cannot be written never changes what becomes of the command."""
        from provisioner.logger import log
        from provisioner.report.prometheus import text

        if self.file is None or self._metrics is None:
            return
        try:
            with whole_file(self.file) as write:
                write(text(self._metrics, Path(self.file).stem))
        except ProvisionerError as error:
            log.warning("metrics.failed", path=self.file, why=str(error))


def _signals() -> list[str]:
    """What the environment asks an OpenTelemetry collector to get."""
    from provisioner.logger import log

    if not any(name.startswith(_OTEL) and value for name, value in os.environ.items()):
        return []
    try:
        from provisioner.report.telemetry import wanted
    except ImportError:
        # Not an error: such variables are set for whole machines and clusters.
        log.warning("telemetry.failed", why=f"OpenTelemetry needs the extra `metrics`. Install it: {INSTALL}")
        return []
    return wanted(os.environ)


def _serve(metrics: Metrics, address: str, port: int) -> None:
    from provisioner.report.prometheus import serve

    try:
        serve(metrics, address, port)
    except (OSError, UnicodeError) as error:
        hint = "Choose another one; another run may be using it"
        why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        where = f"--metrics-port {address}:{port}"
        raise UsageError("cannot listen there", where=where, why=why, hint=hint) from error
