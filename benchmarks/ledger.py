"""How fast the ledger is: durable intents and results, look-ups, and SQLite itself as the ceiling.

Run it from the root of the repository: ``python -m benchmarks.ledger [DIRECTORY]``. The directory (by default a new
one under the system's for temporary files) is where the ledgers are made, so it chooses the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import secrets
import sqlite3
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from provisioner.core.entry import Event, Fact, Stamp
from provisioner.ledger.requests import FACTS_PER_COMMIT, Record
from provisioner.ledger.sqlite.database import connect, open_writer
from provisioner.ledger.sqlite.store import SqliteLedger
from provisioner.ledger.sqlite.writing import Writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PAIRS = 20_000
IN_FLIGHT = 256
NAMES_PER_LOOK_UP = 1000
LONE_FACTS = 300
ROUNDS = 5

SENT = Stamp(1_790_000_000.123456, "3b9c6b2e-7e5a-4b0e-9a53-1d0f7a2c3d4e", 5000.123456)


def intend(number: int) -> Fact:
    """The intent of one create, of ordinary size."""
    return Fact(
        "default",
        f"algorithm-{number:07}",
        Event.INTEND,
        digest=f"{number:032x}",
        tags_digest="t" * 32,
        attempt=f"{number:032x}",
        sent=SENT,
    )


def confirm(number: int) -> Fact:
    """Its result; the ids of ARNs are drawn by the service, so that they come in no order."""
    arn = f"arn:aws:cleanrooms-ml:us-east-1:123456789012:configured-model-algorithm/{secrets.token_hex(16)}"
    return Fact("default", f"algorithm-{number:07}", Event.CONFIRM, arn=arn)


def chunks(size: int) -> Iterator[range]:
    """The numbers of all pairs, so many at a time."""
    return (range(start, min(start + size, PAIRS)) for start in range(0, PAIRS, size))


async def through_the_store(directory: Path) -> float:
    """Pairs a second: every worker records an intent, waits until it is durable, records the result, waits."""
    ledger = await SqliteLedger.open(directory / "store.db")
    numbers = iter(range(PAIRS))

    async def worker() -> None:
        for number in numbers:
            await ledger.record([intend(number)])
            await ledger.record([confirm(number)])

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    elapsed_s = time.perf_counter() - start
    await ledger.close()
    return PAIRS / elapsed_s


async def look_ups(directory: Path) -> float:
    """Entries a second, found by name."""
    ledger = await SqliteLedger.open(directory / "looked.db")
    for numbers in chunks(NAMES_PER_LOOK_UP):
        await ledger.record([fact for number in numbers for fact in (intend(number), confirm(number))])
    start = time.perf_counter()
    for numbers in chunks(NAMES_PER_LOOK_UP):
        found = await ledger.look_up("default", [f"algorithm-{number:07}" for number in numbers])
        assert len(found) == len(numbers)
    elapsed_s = time.perf_counter() - start
    await ledger.close()
    return PAIRS / elapsed_s


async def lone_facts(directory: Path) -> float:
    """Facts a second when each waits for the one before it: the inverse of a commit's latency."""
    ledger = await SqliteLedger.open(directory / "lone.db")
    start = time.perf_counter()
    for number in range(LONE_FACTS):
        await ledger.record([intend(number)])
    elapsed_s = time.perf_counter() - start
    await ledger.close()
    return LONE_FACTS / elapsed_s


def without_the_loop(directory: Path) -> float:
    """Pairs a second of the store's commits alone, 256 facts each, in one thread."""
    with contextlib.closing(open_writer(directory / "commits.db", connect)) as connection:
        writing = Writing(connection, time.time)
        start = time.perf_counter()
        for numbers in chunks(FACTS_PER_COMMIT):
            writing.commit([Record([intend(number)]) for number in numbers])
        for numbers in chunks(FACTS_PER_COMMIT):
            writing.commit([Record([confirm(number)]) for number in numbers])
        return PAIRS / (time.perf_counter() - start)


def bare_sqlite(directory: Path) -> float:
    """Pairs a second of SQLite with the least it can do: no index but the key, no check of what was there."""
    with contextlib.closing(sqlite3.connect(directory / "bare.db", isolation_level=None)) as connection:
        for statement in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "CREATE TABLE entries (name TEXT PRIMARY KEY, state TEXT, attempt TEXT, arn TEXT) WITHOUT ROWID",
        ):
            connection.execute(statement)
        start = time.perf_counter()
        for numbers in chunks(FACTS_PER_COMMIT):
            facts = [intend(number) for number in numbers]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO entries VALUES (?, 'sent', ?, '')", [(fact.name, fact.attempt) for fact in facts]
            )
            connection.execute("COMMIT")
        for numbers in chunks(FACTS_PER_COMMIT):
            facts = [confirm(number) for number in numbers]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "UPDATE entries SET state = 'created', arn = ? WHERE name = ?",
                [(fact.arn, fact.name) for fact in facts],
            )
            connection.execute("COMMIT")
        return PAIRS / (time.perf_counter() - start)


def syncs(directory: Path) -> float:
    """Syncs a second of the disk, after 4 KiB each."""
    with (directory / "syncs").open("wb", buffering=0) as file:
        start = time.perf_counter()
        for _ in range(LONE_FACTS):
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
        return LONE_FACTS / (time.perf_counter() - start)


def measured(directory: Path, measure: Callable[[Path], float]) -> list[float]:
    """The figures of all rounds, each in a directory of its own."""
    figures = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(dir=directory) as fresh:
            figures.append(measure(Path(fresh)))
    return figures


def told(title: str, unit: str, figures: Sequence[float]) -> str:
    """A line of the table: median, least and most."""
    median, least, most = statistics.median(figures), min(figures), max(figures)
    return f"{title:<58} {median:>9,.0f} {unit:<10} ({least:,.0f} to {most:,.0f})"


def main(arguments: Sequence[str]) -> None:
    """Measure everything and print a table."""
    with contextlib.ExitStack() as stack:
        directory = Path(arguments[0]) if arguments else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        print(
            f"python -m benchmarks.ledger: {PAIRS:,} pairs, {IN_FLIGHT} in flight, median of {ROUNDS} (least to most)"
        )
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
            f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, uvloop {version('uvloop')}\n"
        )
        for title, unit, measure in (
            ("durable intents + results through the store", "pairs/s", lambda at: uvloop.run(through_the_store(at))),
            ("the store's commits alone, 256 facts each", "pairs/s", without_the_loop),
            ("bare SQLite, 256 rows a commit, no checks: the ceiling", "pairs/s", bare_sqlite),
            ("look-ups by name, 1,000 at a time", "entries/s", lambda at: uvloop.run(look_ups(at))),
            ("lone facts, one after another", "facts/s", lambda at: uvloop.run(lone_facts(at))),
            ("syncs of the disk, 4 KiB each", "syncs/s", syncs),
        ):
            print(told(title, unit, measured(directory, measure)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
