"""Metric regexes, compiled under a time limit, for the notices of ``validate``.

The service matches them against logs; here they are only data. A hostile one can keep Python's compiler busy for
minutes, and a thread cannot be stopped, so a child process compiles them and is killed when it takes too long.
"""

from __future__ import annotations

import select
import subprocess
import sys
from typing import TYPE_CHECKING, Self

import msgspec
from msgspec import UNSET

from provisioner.core.problem import Problem
from provisioner.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from provisioner.manifest.reader import Row

LIMIT_S = 1.0
"""For one regex; a normal one takes a tenth of a millisecond."""
_REMEMBERED = 4096
"""Regexes whose result is cached: a manifest has few, each many times."""
_MEMORY = 512 * 1024 * 1024
"""Bytes of address space that the child may use."""
_CHILD = f"""
import json, re, resource, sys, warnings
warnings.simplefilter("ignore")
try:
    resource.setrlimit(resource.RLIMIT_AS, ({_MEMORY}, {_MEMORY}))
except (ValueError, OSError):  # there is a lower limit already
    pass
print(flush=True)
for line in sys.stdin:
    try:
        re.compile(json.loads(line))
        answer = ""
    except (re.error, OverflowError, RecursionError, MemoryError) as error:
        answer = str(error) or type(error).__name__
    print(json.dumps(answer), flush=True)
"""


class RegexCheck:
    """Compiles the metric regexes of definitions in a child process; a context manager.

    Args:
        limit_s: seconds for one regex.
    """

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._child: subprocess.Popen[bytes] | None = None
        self._results: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def notices(self, rows: Iterable[Row]) -> list[Problem]:
        """A notice (code ``metric_regex``) for each regex of ``rows`` that does not compile in time."""
        return [notice for row in rows for notice in self._of_row(row)]

    def _of_row(self, row: Row) -> Iterable[Problem]:
        training = row.definition.training_container_config
        if training is UNSET:
            return
        name = printable(row.definition.name)
        for index, metric in enumerate(training.metric_definitions):
            if why := self._check(metric.regex):
                where = f"trainingContainerConfig.metricDefinitions[{index}].regex"
                message = f'{where}: "{printable(metric.regex, 60)}" does not compile in Python: {printable(why)}'
                yield Problem(row.source, row.line, name, "metric_regex", message, column=1, severity="notice")

    def _check(self, regex: str) -> str:
        """What is wrong with a regex, "" when nothing is."""
        if regex not in self._results:
            if len(self._results) >= _REMEMBERED:
                self._results.clear()
            self._results[regex] = self._compile(regex)
        return self._results[regex]

    def _compile(self, regex: str) -> str:
        child = self._child = self._child or _start()
        assert child.stdin is not None  # noqa: S101 - a pipe was asked for
        assert child.stdout is not None  # noqa: S101 - a pipe was asked for
        child.stdin.write(msgspec.json.encode(regex) + b"\n")
        child.stdin.flush()
        ready, _, _ = select.select([child.stdout], [], [], self._limit_s)
        line = child.stdout.readline() if ready else b""
        if not line:
            self._stop()
            return f"it takes more than {self._limit_s:g} s" if not ready else "it crashes the compiler"
        return msgspec.json.decode(line, type=str)

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            with child:
                pass


def _start() -> subprocess.Popen[bytes]:
    """A child that is ready, so that its start-up time does not count against the first regex."""
    child = subprocess.Popen(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-I", "-S", "-c", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None  # noqa: S101 - a pipe was asked for
    child.stdout.readline()
    return child
