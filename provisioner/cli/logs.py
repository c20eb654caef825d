"""Logs on stderr, for the console or as JSON; they never block a run."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import structlog

from provisioner.cli.streams import Stderr, draws
from provisioner.errors import printable

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from rich.console import Console


def configure(level: str, form: str, console: Console | None = None) -> None:
    """Configure the logs of this process, which go to stderr.

    Args:
        level: the lowest level to log, ``debug`` to ``error``; ``auto`` is ``warning`` on a terminal, unless that is
            a dumb one, which shows no progress bar, else ``info``.
        form: ``console``, ``json``, or ``auto`` for console on a terminal.
        console: of a progress bar; logs are printed above it.
    """
    if level == "auto":
        level = "warning" if draws(sys.stderr) else "info"
    file: Any = _Above(console) if console else sys.stderr
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    readable = form == "console" or (form == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=draws(sys.stderr) and not os.environ.get("NO_COLOR"))
        if readable
        else structlog.processors.JSONRenderer(sort_keys=True)
    )
    if isinstance(sys.stderr, Stderr) and not readable:

        def dropped(messages: int) -> str:
            event = {"event": "log.dropped", "level": "warning", "messages": messages, "why": "stderr was not read"}
            return f"{renderer(None, 'warning', stamp(None, 'warning', event))}\n"

        sys.stderr.report = dropped
    for library in ("aiobotocore", "botocore", "aiohttp"):
        # Their errors reach the user as errors of this package; their log lines would repeat them with tracebacks.
        logging.getLogger(library).addHandler(logging.NullHandler())
        logging.getLogger(library).propagate = False
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            stamp,
            _escape,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file),
        cache_logger_on_first_use=False,
    )


class _Above:
    """A file for logs that prints above the progress bar of a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str) -> None:
        """Print a formatted line."""
        self._console.out(text, end="", highlight=False)

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""


def _escape(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape terminal control characters, which may come from outside."""
    return {key: printable(value, 2000) if isinstance(value, str) else value for key, value in event.items()}
