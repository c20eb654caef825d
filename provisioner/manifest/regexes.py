"""Metric regexes, compiled under a time limit: for ``validate``, which only warns.

The service runs them over logs; here they are data. A hostile one can keep the compiler busy for minutes, and nothing
in Python can stop it, so that a child process compiles them, which is killed when it does not answer in time.
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
"""For one regex; the usual one takes a tenth of a millisecond."""
_REMEMBERED = 4096
"""Regexes whose answer is kept: a manifest has few, each many times."""
_MEMORY = 512 * 1024 * 1024
"""Bytes of address space that the child may have."""
_CHILD = f"""
import json, re, resource, sys, warnings
warnings.simplefilter("ignore")
resource.setrlimit(resource.RLIMIT_AS, ({_MEMORY}, {_MEMORY}))
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
    """Compiles the metric regexes of definitions in a child process; to be used as a context manager.

    Args:
        limit_s: seconds for one regex.
    """

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._child: subprocess.Popen[bytes] | None = None
        self._answers: dict[str, str] = {}

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
            if answer := self._answer(metric.regex):
                where = f"trainingContainerConfig.metricDefinitions[{index}].regex"
                message = f'{where}: "{printable(metric.regex, 60)}" does not compile in Python: {printable(answer)}'
                yield Problem(row.source, row.line, name, "metric_regex", message, column=1, severity="notice")

    def _answer(self, regex: str) -> str:
        """What is wrong with a regex, empty when nothing is."""
        if regex not in self._answers:
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            self._answers[regex] = self._ask(regex)
        return self._answers[regex]

    def _ask(self, regex: str) -> str:
        child = self._child = self._child or _start()
        assert child.stdin is not None  # noqa: S101 - a pipe was asked for
        assert child.stdout is not None  # noqa: S101 - a pipe was asked for
        child.stdin.write(msgspec.json.encode(regex) + b"\n")
        child.stdin.flush()
        ready, _, _ = select.select([child.stdout], [], [], self._limit_s)
        line = child.stdout.readline() if ready else b""
        if not line:
            self._stop()
            return f"it takes more than {self._limit_s:g} s" if not ready else "it makes the compiler fail"
        return msgspec.json.decode(line, type=str)

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            with child:
                pass


def _start() -> subprocess.Popen[bytes]:
    """A child that is ready: how long it takes to start is no regex's fault."""
    child = subprocess.Popen(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-I", "-S", "-c", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None  # noqa: S101 - a pipe was asked for
    child.stdout.readline()
    return child
