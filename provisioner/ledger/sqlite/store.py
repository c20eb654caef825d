"""The SQLite store: one writer thread with group commit, and a reader thread.

Every write is a request in one queue. While a commit is in progress, requests accumulate; the writer takes at most 256
facts of them and makes them the next commit. So a single fact is committed immediately, and under load the commits
grow and share the cost of a sync (group commit), without a timer. Only where many targets record facts, each waits a
little for the others (:mod:`provisioner.ledger.commit_wait`).

A request is answered after its commit has been synced, never before. Its caller may be cancelled; the request is not.
After a storage error the contents of the file are unknown until it is opened again: a failed fsync may have dropped the
data, and the next one would succeed (the "fsyncgate" behaviour of Linux). So the store is poisoned: it fails every call
with that error and never syncs again. It even keeps the reading connection open while it closes the writing one,
because SQLite checkpoints, and thus syncs, when the last connection closes.

Reads use a second connection in a thread of its own. In WAL mode they see every commit that ended before they began,
and neither side blocks the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, NamedTuple, ParamSpec, Self, TypeVar

import anyio.to_thread

from provisioner.core.entry import INTENTS
from provisioner.errors import LedgerError
from provisioner.ledger.commit_wait import CommitWait
from provisioner.ledger.requests import DropFinished, Record
from provisioner.ledger.sqlite import copying, reading
from provisioner.ledger.sqlite.database import (
    UNREADABLE,
    closed_on_error,
    connect,
    errors_at,
    open_reader,
    open_writer,
)
from provisioner.ledger.sqlite.reads import Reads
from provisioner.ledger.sqlite.watch import Watch
from provisioner.ledger.sqlite.writer import FileHealth, Writer, WriterParts
from provisioner.ledger.sqlite.writing import Writing
from provisioner.ledger.store import PAGE, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from provisioner.core.entry import Entry, State
    from provisioner.core.pause import Pause
    from provisioner.core.place import Place
    from provisioner.core.problem import Problem
    from provisioner.core.versions import Happening, Role, Version
    from provisioner.ledger import FinishedManifest, RunRecord
    from provisioner.ledger.sqlite.database import Connect, Connection
    from provisioner.ledger.store import Waiting
    from provisioner.ledger.tables import Row

P = ParamSpec("P")
T = TypeVar("T")


class _Opened(NamedTuple):
    """Connections that have passed all checks.

    Attributes:
        path: of the file, symbolic links resolved.
        ledger_id: what the file says of itself.
        found: its condition before it was opened for writing.
        reader: reads beside the writer.
        writer: None when the ledger is only read.
    """

    path: Path
    ledger_id: str
    found: str
    reader: Connection
    writer: WriterParts | None


class _Opening:
    """Opens a ledger in a thread, for a caller that may be gone when it is open.

    Args:
        path: of the file.
        now: the wall clock; None to open for reading only.
        connect: how the file is opened.
    """

    def __init__(self, path: Path, now: Callable[[], float] | None, connect: Connect) -> None:
        self._path = Path(os.path.realpath(path))
        self._now = now
        self._connect = connect
        self._abandoned = threading.Event()
        self._opened: deque[_Opened] = deque()

    def run(self) -> _Opened:
        """Open the ledger."""
        path, connect = self._path, self._connect
        with errors_at(path):
            if self._now is None:
                opened = _with_reader(path, connect, None, found="")
            else:
                connection = open_writer(path, connect)
                with closed_on_error(connection, path, connect):
                    found = reading.condition(connection)
                    parts = WriterParts(connection, Writing(connection, self._now, self._check), Watch(path))
                    opened = _with_reader(path, connect, parts, found=found)
        # In this order, and in abandon() in the opposite one, so that one of the two closes what nobody uses.
        self._opened.append(opened)
        if self._abandoned.is_set():
            self._close()
        return opened

    def abandon(self) -> None:
        """Nobody uses what is opened; call it before the lease is given back."""
        self._abandoned.set()
        self._close()

    def _check(self) -> None:
        # With the lease given back, to raise the epoch would be to overtake the next run.
        if self._abandoned.is_set():
            raise LedgerError("the run was stopped while it opened the ledger")

    def _close(self) -> None:
        # Of the two threads that may come here one gets it.
        with contextlib.suppress(IndexError, sqlite3.Error):
            opened = self._opened.pop()
            opened.reader.close()
            if opened.writer is not None:
                opened.writer.connection.close()


def _with_reader(path: Path, connect: Connect, writer: WriterParts | None, *, found: str) -> _Opened:
    reader = open_reader(path, connect)
    try:
        return _Opened(path, reading.ledger_id(reader), found, reader, writer)
    except BaseException:
        reader.close()
        raise


class SqliteLedger(Store[Writer]):
    """A ledger in a SQLite file. See :class:`provisioner.ledger.Ledger` for what each method promises.

    Made by :meth:`open`.

    Attributes:
        found: its :meth:`condition` before it was opened for writing.
    """

    def __init__(self, opened: _Opened, health: FileHealth, writer: Writer | None) -> None:
        super().__init__(opened.ledger_id, str(opened.path), health, writer)
        self._health: FileHealth = health
        self.found = opened.found
        self._reader = opened.reader
        self._reads = Reads()
        self._asked: list[Waiting] = []
        self._commit_wait = CommitWait(self._loop.time())
        self._flushing: asyncio.Handle | None = None
        self._flush_at = 0.0

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        readonly: bool = False,
        now: Callable[[], float] = time.time,
        connect: Connect = connect,
    ) -> Self:
        """Open the ledger at ``path``; make it when it is missing, unless ``readonly``.

        Args:
            path: of the file.
            readonly: refuse to write; a run may be using the file.
            now: the wall clock, seconds since the epoch.
            connect: how the file is opened; a test passes a SQLite whose disk fails on demand.

        Raises:
            LedgerError: the file cannot be opened or written, is no ledger, has a newer schema, or is damaged.
        """
        opening = _Opening(path, None if readonly else now, connect)
        try:
            # Abandoned when it is cancelled: nothing interrupts a disk that hangs in a sync.
            opened = await anyio.to_thread.run_sync(opening.run, abandon_on_cancel=True)
            health = FileHealth(opened.path)
            writer = None
            if opened.writer is not None:
                writer = Writer(opened.writer, asyncio.get_running_loop(), health)
                writer.start()
        except BaseException:
            opening.abandon()
            raise
        return cls(opened, health, writer)

    def epoch(self, target: str) -> str:
        """See :meth:`provisioner.ledger.Ledger.epoch`: all targets of a file have the same."""
        del target
        return self._writable().epoch

    async def look_up(self, target: str, names: Sequence[str]) -> dict[str, Entry]:
        """See :meth:`provisioner.ledger.Ledger.look_up`."""
        return await self._read(reading.entries_by_name, target, names)

    async def registered(self, target: str, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        """See :meth:`provisioner.ledger.Ledger.registered`."""
        return await self._read(reading.digests_by_name, target, names)

    async def counts(self) -> Mapping[str, Mapping[State, int]]:
        """See :meth:`provisioner.ledger.Ledger.counts`."""
        return await self._read(reading.counts)

    async def incoming(self, target: str) -> dict[str, Entry]:
        """See :meth:`provisioner.ledger.Ledger.incoming`."""
        return await self._read(reading.incoming, target)

    async def versions(
        self, target: str, *, names: Sequence[str] | None = None, roles: Collection[Role] | None = None
    ) -> list[Version]:
        """See :meth:`provisioner.ledger.Ledger.versions`."""
        return await self._read(reading.versions, target, names, roles)

    async def superseded(self) -> Mapping[str, int]:
        """See :meth:`provisioner.ledger.Ledger.superseded`."""
        return await self._read(reading.superseded)

    async def history(self, target: str, name: str) -> list[Happening]:
        """See :meth:`provisioner.ledger.Ledger.history`."""
        return await self._read(reading.history, target, name)

    async def named(self, arn: str) -> list[tuple[str, str]]:
        """See :meth:`provisioner.ledger.Ledger.named`."""
        return await self._read(reading.named, arn)

    async def runs(self, limit: int = 10, *, prefix: str = "") -> list[RunRecord]:
        """See :meth:`provisioner.ledger.Ledger.runs`."""
        return await self._read(reading.runs, limit, prefix)

    async def samples(self, run_id: str) -> bytes:
        """See :meth:`provisioner.ledger.Ledger.samples`."""
        return await self._read(reading.samples, run_id)

    async def finished(self, target: str) -> FinishedManifest | None:
        """See :meth:`provisioner.ledger.Ledger.finished`."""
        return await self._read(reading.finished, target)

    async def drop_finished(self) -> None:
        """Forget which manifests were finished: AWS may hold something else than when that was recorded."""
        await self._ask(DropFinished())

    async def condition(self) -> str:
        """The same text, the same entries; see :meth:`provisioner.ledger.sqlite.lease.FileLease.keep`."""
        return await self._read(reading.condition)

    async def places(self) -> Mapping[str, Place]:
        """See :meth:`provisioner.ledger.Ledger.places`."""
        return await self._read(reading.places)

    async def pauses(self) -> Mapping[str, Pause]:
        """See :meth:`provisioner.ledger.Ledger.pauses`."""
        return await self._read(reading.pauses)

    async def changes(self, target: str) -> int:
        """See :meth:`provisioner.ledger.Ledger.changes`."""
        return await self._read(reading.changes, target)

    async def rows(self, table: str, after: Row | None, limit: int) -> list[Row]:
        """See :meth:`provisioner.ledger.tables.CopyableLedger.rows`."""
        return await self._read(copying.rows, table, after, limit)

    async def close(self) -> None:
        """See :meth:`provisioner.ledger.Ledger.close`."""
        if self._closing is None:
            self._flush()
            self._closing = self._reads.last(self._shut)
        await asyncio.shield(self._closing)

    async def _targets(self) -> Sequence[str]:
        return await self._read(reading.targets)

    async def _page(self, target: str, after: str | None, states: Collection[State] | None) -> Sequence[Entry]:
        return await self._read(reading.page, target, after, states, PAGE)

    async def _problem_page(self, run_id: str, after: int) -> Sequence[tuple[int, Problem]]:
        return await self._read(reading.problems, run_id, after, PAGE)

    async def _learned_before(self, target: str, family: str) -> bytes | None:
        return await self._read(reading.learned, target, family)

    def _send(self, waiting: Waiting) -> None:
        # What is no record of facts, such as problems, may come one after another, each when the one before is durable.
        awaited = True
        if isinstance(waiting.request, Record):
            fact = waiting.request.facts[0]
            self._commit_wait.add(fact.target)
            awaited = fact.event in INTENTS
        self._asked.append(waiting)
        now = self._loop.time()
        due = self._commit_wait.until(now, awaited=awaited)
        if self._flushing is not None:
            if due >= self._flush_at:
                return
            self._flushing.cancel()
        self._flush_at = due
        # Without a wait still at the end of this iteration of the loop: waking a thread is expensive.
        waits = due > now
        self._flushing = self._loop.call_at(due, self._flush) if waits else self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Pass the writer everything that was requested meanwhile."""
        self._flushing = None
        self._commit_wait.committed(self._loop.time())
        asked, self._asked = self._asked, []
        if asked and self._writer is not None:
            self._writer.queue.put(asked)

    async def _read(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._check()
        work = partial(function, self._reader, *args, **kwargs)
        try:
            return await self._reads.read(work)
        except (sqlite3.Error, *UNREADABLE) as error:
            self._health.poison(error)
        self._health.check()
        raise AssertionError  # poisoned: check() has raised

    def _shut(self) -> None:
        failed_before = self._health.failure is not None
        # The last connection to close checkpoints, with writes and a sync. That must not happen after a failure: then
        # the writing connection is closed first.
        if self._writer is not None:
            self._writer.queue.put(None)
            self._writer.join()
            self._writer.check()
            if self._health.failure is not None:
                self._writer.close()
        self._reader.close()
        if self._writer is not None:
            self._writer.close()
        if not failed_before:
            self._health.check()
