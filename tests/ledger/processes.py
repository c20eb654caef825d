"""Real processes that hold the lock or write to a ledger. For tests."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = """
import anyio, os, sys
from pathlib import Path
from provisioner.ledger.sqlite.lease import FileLease

async def main():
    async with FileLease(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()

anyio.run(main)
"""
"""Holds the lock until it is told to end by a line."""

RECORD = """
import asyncio, sys
from provisioner.core.entry import Event, Fact
from tests.ledger.opening import open_ledger

async def write(ledger, worker):
    number = 0
    while True:
        name = f"{worker}-{number}"
        await ledger.record([Fact("default", name, Event.INTEND, digest="d", tags_digest="t", attempt=name)])
        print(name, "sent", flush=True)
        await ledger.record([Fact("default", name, Event.CONFIRM, arn=f"arn:{name}")])
        print(name, "created", flush=True)
        number += 1

async def main():
    async with open_ledger(sys.argv[1]) as ledger:
        await asyncio.gather(*(write(ledger, worker) for worker in range(20)))

asyncio.run(main())
"""
"""Records for ever, and prints what was acknowledged."""

RENAME = """
import os, signal, sys, time
from pathlib import Path
from provisioner.ledger.requests import RenameTarget
from provisioner.ledger.sqlite.database import connect, open_writer
from provisioner.ledger.sqlite.writing import Writing

class Dying:
    def __init__(self, connection, statements):
        self.connection, self.left = connection, statements

    def execute(self, *call):
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
        return self.connection.execute(*call)

connection = open_writer(Path(sys.argv[1]), connect)
[answer] = Writing(Dying(connection, int(sys.argv[2])), time.time).commit([RenameTarget("old", "new")])
print("renamed", flush=True)
"""
"""Renames the target ``old`` to ``new``, and is killed before a numbered statement."""


@contextlib.contextmanager
def running(code: str, path: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process that runs ``code`` on the ledger at ``path``; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    """The next line that it prints."""
    assert process.stdout is not None

    return process.stdout.readline().rstrip("\n")
