"""Logs of a command: on stderr, for the console or as JSON, and in the file of ``--log-file``; they never block a run.

Every event is in docs/logging.md.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from provisioner.cli.repeats import Repeats
from provisioner.cli.streams import Stderr, draws, priority
from provisioner.errors import printable, printable_json
from provisioner.logger import log

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from rich.console import Console

    from provisioner.cli.log_file import LogFile

    Event = MutableMapping[str, Any]

MAX_TEXT = 2000
"""Most characters of a text in an event."""
FIRST = ("timestamp", "level", "event", "run_id", "target")
"""The fields that an event begins with. A log file is recognized by the first of them (see ``cli/log_file.py``)."""
IN_RESULT = frozenset(
    {
        *("definition.reported", "attempt.unanswered"),
        *("target.unopened", "target.halted", "target.parked", "target.paused", "target.skipped"),
        *("run.stopping", "run.failed"),
    }
)
"""Events whose content progress and the text of the result have as well, in fewer words."""
_stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)


class Sink(NamedTuple):
    """Where events go.

    Attributes:
        level: the lowest one.
        write: takes an event.
    """

    level: int
    write: Callable[[Event], None]


class Logs:
    """The logs of this process, from here on.

    Args:
        level: the lowest level to log, ``debug`` to ``error``; ``auto`` is ``warning`` on a terminal, unless that is
            a dumb one, which shows no progress bar, else ``info``.
        form: of stderr: ``console``, ``json``, or ``auto`` for console on a terminal.
        run_id: of the run to which events belong, "" for none.
        console: of a progress bar; logs are printed above it.
        with_result: whether stderr and the text of the result are on one terminal: what the result says is not logged
            there, unless a level is asked for.
        file: to which JSON is appended as well, None for none. There, ``auto`` is ``info``.
    """

    def __init__(
        self,
        level: str,
        form: str,
        *,
        run_id: str = "",
        console: Console | None = None,
        with_result: bool = False,
        file: LogFile | None = None,
    ) -> None:
        readable = form == "console" or (form == "auto" and sys.stderr.isatty())
        shown = ("warning" if draws(sys.stderr) else "info") if level == "auto" else level
        write = _console(console) if readable else _lines
        sinks = [Sink(_number(shown), _besides_result(write) if with_result and level == "auto" else write)]
        if file is not None:
            sinks.append(Sink(_number("info" if level == "auto" else level), _into(file)))
        self._run_id = run_id
        self._repeats = Repeats() if level != "debug" else None
        for library in ("aiobotocore", "botocore", "aiohttp"):
            # Their errors reach the user as errors of this package; their log lines would repeat them with tracebacks.
            logging.getLogger(library).addHandler(logging.NullHandler())
            logging.getLogger(library).propagate = False
        if isinstance(sys.stderr, Stderr) and not readable:
            sys.stderr.report = self._dropped
        structlog.configure(
            processors=[structlog.processors.add_log_level, _stamp, self._complete, self._sum_up],
            wrapper_class=structlog.make_filtering_bound_logger(min(sink.level for sink in sinks)),
            logger_factory=lambda *_: _Sinks(sinks),
            cache_logger_on_first_use=False,
        )

    def finish(self) -> None:
        """Log what was only counted so far."""
        if self._repeats is not None:
            for kind, count in self._repeats.sums():
                log.warning(
                    "event.repeated",
                    of=kind.event,
                    target=kind.target,
                    code=kind.code,
                    operation=kind.operation,
                    message=kind.message,
                    count=count,
                )

    def _complete(self, _logger: object, _method: str, event: Event) -> Event:
        """The event with the run's id, in the order of :data:`FIRST`, and without fields that it does not have."""
        if self._run_id:
            event.setdefault("run_id", self._run_id)
        return {key: event[key] for key in dict.fromkeys((*FIRST, *event)) if event.get(key) is not None}

    def _sum_up(self, _logger: object, method: str, event: Event) -> Event:
        """Count a warning that repeats others, instead of logging it.

        Raises:
            structlog.DropEvent: it is counted.
        """
        repeats, now = self._repeats, time.monotonic()
        if repeats is None:
            return event
        if repeats.due(now):
            self.finish()
        if method == "warning" and not repeats.admit(event, now):
            raise structlog.DropEvent
        return event

    def _dropped(self, messages: int) -> str:
        """The line on stderr that says how many could not be written there."""
        event = {"event": "log.dropped", "level": "warning", "messages": messages, "why": "stderr was not read"}
        return _journaled(event, as_json(self._complete(None, "", _stamp(None, "", event))))


class _Sinks:
    """What structlog takes for the logger: gives an event to each sink whose level it has."""

    def __init__(self, sinks: list[Sink]) -> None:
        self._sinks = sinks

    def _write(self, /, **event: Any) -> None:  # noqa: ANN401  fields are whatever an event has
        level = _number(event["level"])
        for sink in self._sinks:
            if level >= sink.level:
                sink.write(event)

    debug = info = warning = error = _write


def log_failure(file: LogFile, code: int, why: str) -> None:
    """Log the error that ends a command in ``file`` alone."""
    event = _stamp(None, "", {"level": "error", "event": "command.failed", "exit_code": code, "why": why})
    file.write(as_json({key: event[key] for key in ("timestamp", *event)}))


def as_json(event: Event) -> str:
    """One line for programs."""
    bounded = {key: value[:MAX_TEXT] if isinstance(value, str) else value for key, value in event.items()}
    return f"{printable_json(json.dumps(bounded, ensure_ascii=False, default=str))}\n"


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


def _lines(event: Event) -> None:
    sys.stderr.write(_journaled(event, as_json(event)))


def _journaled(event: Event, line: str) -> str:
    return f"{priority(sys.stderr, event['level'])}{line}"


def _into(file: LogFile) -> Callable[[Event], None]:
    def write(event: Event) -> None:
        file.write(as_json(event))

    return write


def _besides_result(write: Callable[[Event], None]) -> Callable[[Event], None]:
    def write_others(event: Event) -> None:
        if event["event"] not in IN_RESULT and event.get("of") not in IN_RESULT:
            write(event)

    return write_others


def _console(above: Console | None) -> Callable[[Event], None]:
    """Write events for people: without the run's id where it does not change, since there is one run."""
    colors = draws(sys.stderr) and not os.environ.get("NO_COLOR")
    render = structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False)

    def write(event: Event) -> None:
        shown = {key: _printable(value) for key, value in event.items()}
        if event["event"] not in {"run.started", "run.finished"}:
            shown.pop("run_id", None)
        line = f"{render(None, '', shown)}\n"
        if above is not None:
            above.out(line, end="", highlight=False)
        else:
            sys.stderr.write(_journaled(event, line))

    return write


def _printable(value: object) -> object:
    """``value`` without characters that could control a terminal, which may come from outside."""
    if isinstance(value, str):
        return printable(value, MAX_TEXT)
    if isinstance(value, dict):
        return {key: _printable(one) for key, one in value.items()}
    return [_printable(one) for one in value] if isinstance(value, list | tuple) else value
