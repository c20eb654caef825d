"""The SQLite store: one writer thread with group commit, and a reader thread.

Every write is a request in one queue. While a commit is in progress, requests accumulate; the writer takes at most 256
facts of them and makes them the next commit. So a single fact is committed immediately, and under load the commits
grow and share the cost of a sync (group commit), without a timer.

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
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Concatenate, NamedTuple, ParamSpec, Self, TypeVar

import anyio.to_thread
import msgspec

from provisioner.errors import LedgerError
from provisioner.ledger.lease import OvertakenError
from provisioner.ledger.sqlite import reading
from provisioner.ledger.sqlite.database import (
    closed_on_error,
    connect,
    errors_at,
    open_reader,
    open_writer,
    storage_error,
)
from provisioner.ledger.sqlite.watch import Watch
from provisioner.ledger.sqlite.writing import (
    AddProblems,
    Answer,
    BeginRun,
    EndRun,
    Forget,
    Learn,
    Record,
    RenameTarget,
    Request,
    SetFinished,
    SetPlace,
    TakeIdentity,
    Writing,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

    from provisioner.core.entry import Entry, Fact, State
    from provisioner.core.place import Place
    from provisioner.core.problem import Problem
    from provisioner.core.versions import Happening, Role, Version
    from provisioner.ledger import FinishedManifest, RunRecord
    from provisioner.ledger.sqlite.database import Connect, Connection

P = ParamSpec("P")
T = TypeVar("T")

FACTS_PER_COMMIT = 256
"""A larger commit is hardly cheaper per fact, and everybody in it waits longer. A single request may be larger."""

PAGE = 1000
"""Entries that are read at a time: about 0.5 MB, in 4 ms."""

IDLE_S = 0.05
"""After so long without a request, a checkpoint is unlikely to delay one."""

WORTH_A_CHECKPOINT = 1000
"""Pages in the log from which an idle moment is used for a checkpoint; the default of SQLite's automatic ones."""

CHECKPOINT_AT_LAST = 10_000
"""Pages in the log (40 MB) at which a checkpoint no longer waits for an idle moment. One costs 30 ms whether it moves
1,000 pages or 5,000, so under load rare ones are cheaper."""

_PAGES_PER_COMMIT = 4
"""What even a commit of one fact writes: a leaf page of the table and of each index. Large commits share them."""


class Statistics(msgspec.Struct, frozen=True):
    """What the store has done since it was opened.

    Attributes:
        facts: committed or refused.
        commits: synced.
        largest: most facts in one commit.
    """

    facts: int = 0
    commits: int = 0
    largest: int = 0


class _Health:
    """Whether the storage has failed; shared by both threads and the event loop.

    Attributes:
        failure: what the first storage error means; None while there was none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.failure: LedgerError | None = None

    def poison(self, error: Exception) -> LedgerError:
        """Record that the storage failed with ``error``; the first error counts."""
        if self.failure is None:
            self.failure = storage_error(error, self._path)
            if self.failure is not error:
                self.failure.__cause__ = error
        return self.failure

    def check(self) -> None:
        """Raise the failure, if there is one; a new exception for each caller, for each gets a traceback of its own."""
        if (failure := self.failure) is not None:
            raise LedgerError(
                failure.what, where=failure.where, why=failure.why, hint=failure.hint
            ) from failure.__cause__


class _Waiting(msgspec.Struct):
    request: Request
    answer: asyncio.Future[Answer]


class _Writer(threading.Thread):
    """The thread that owns the writing connection.

    Args:
        opened: its writing connection, and what it writes to.
        loop: the event loop that waits for the answers.
        health: takes the first error of the storage.
    """

    def __init__(self, opened: _WriterParts, loop: asyncio.AbstractEventLoop, health: _Health) -> None:
        super().__init__(name="ledger-writer", daemon=True)
        self.queue: SimpleQueue[list[_Waiting] | None] = SimpleQueue()
        self.learned: dict[tuple[str, str], bytes] = {}
        self.statistics = Statistics()
        self._connection = opened.connection
        self._writing = opened.writing
        self._watch = opened.watch
        self._loop = loop
        self._health = health
        self._received: deque[_Waiting] = deque()
        self._pages = 0

    def run(self) -> None:
        """Commit requests until None is in the queue; then checkpoint and end."""
        last = False
        while not last:
            batch, last = self._gather()
            if batch or last:
                answers = self._commit([waiting.request for waiting in batch])
                self._answer([(waiting.answer, answer) for waiting, answer in zip(batch, answers, strict=True)])
            if last or not batch or self._pages >= CHECKPOINT_AT_LAST:
                self._checkpoint()

    def _gather(self) -> tuple[list[_Waiting], bool]:
        """The requests of the next commit, none in an idle moment; and whether it is the last commit.

        Only the first ``get`` blocks: what is there when it returns shares the commit, and nothing is waited for.
        """
        batch: list[_Waiting] = []
        facts = 0
        patience_s = IDLE_S if self._pages >= WORTH_A_CHECKPOINT else None
        with contextlib.suppress(Empty):
            while facts < FACTS_PER_COMMIT:
                if not self._received:
                    received = self.queue.get(block=not batch, timeout=patience_s)
                    if received is None:
                        return batch, True
                    self._received.extend(received)
                waiting = self._received.popleft()
                batch.append(waiting)
                facts += _weight(waiting.request)
        return batch, False

    def _commit(self, requests: list[Request]) -> Sequence[Answer]:
        learned = self._take_learned()
        # First, so that a request that renames a target takes its paces along.
        together = [*learned, *requests]
        if together and self._health.failure is None:
            try:
                answers = self._writing.commit(together)
                # After the commit, for it is worth nothing if the name leads elsewhere by now; before the answer,
                # for a create may leave as soon as its intent is said to be durable.
                self._watch.check()
            except Exception as error:  # noqa: BLE001  whatever it is, the commit's fate is unknown
                self._fail(error)
            else:
                self._count(requests)
                return answers[len(learned) :]
        return [self._health.failure] * len(requests)

    def _take_learned(self) -> list[Request]:
        taken: list[Request] = []
        while self.learned:
            (target, family), state = self.learned.popitem()
            taken.append(Learn(target, family, state))
        return taken

    def _count(self, requests: list[Request]) -> None:
        facts = sum(_weight(request) for request in requests)
        done = self.statistics
        self.statistics = Statistics(done.facts + facts, done.commits + 1, max(done.largest, facts))
        self._pages += facts + _PAGES_PER_COMMIT

    def _checkpoint(self) -> None:
        if self._health.failure is None:
            self._pages = 0
            try:
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            except sqlite3.Error as error:
                self._fail(error)

    def check(self) -> None:
        """See whether everything that was committed is still under the ledger's name; call it after the thread."""
        if self._health.failure is None:
            try:
                self._watch.look()
            except (LedgerError, OSError) as error:
                self._fail(error)

    def close(self) -> None:
        """Close the connection; call it when the thread has ended."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _fail(self, error: Exception) -> None:
        self._health.poison(error)
        # The reading connection is still open, so this close does not checkpoint: a failed sync is never tried again.
        self.close()

    def _answer(self, answers: list[tuple[asyncio.Future[Answer], Answer]]) -> None:
        # The loop may have been closed meanwhile; then there is no caller left to answer.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_deliver, answers)


def _weight(request: Request) -> int:
    return len(request.facts) if isinstance(request, Record) else 1


def _deliver(answers: list[tuple[asyncio.Future[Answer], Answer]]) -> None:
    for future, answer in answers:
        if not future.done():
            future.set_result(answer)


class _WriterParts(NamedTuple):
    """What the writer thread works with."""

    connection: Connection
    writing: Writing
    watch: Watch


class _Opened(NamedTuple):
    """Connections that have passed all checks.

    Attributes:
        path: of the file, symbolic links resolved.
        ledger_id: what the file says of itself.
        reader: reads beside the writer.
        writer: None when the ledger is only read.
    """

    path: Path
    ledger_id: str
    reader: Connection
    writer: _WriterParts | None


def _open(path: Path, now: Callable[[], float] | None, connect: Connect, abandoned: threading.Event) -> _Opened:
    """Open the ledger at ``path``, for reading only when there is no ``now``.

    Nobody waits any longer once ``abandoned`` is set, and the lease has been given back: then no epoch may be raised,
    for that would overtake the next run.
    """
    path = Path(os.path.realpath(path))
    with errors_at(path):
        if now is None:
            return _with_reader(path, connect, None)
        connection = open_writer(path, connect)
        with closed_on_error(connection, path, connect):
            if abandoned.is_set():
                raise LedgerError("the run was stopped while it opened the ledger")
            return _with_reader(path, connect, _WriterParts(connection, Writing(connection, now), Watch(path)))


def _with_reader(path: Path, connect: Connect, writer: _WriterParts | None) -> _Opened:
    reader = open_reader(path, connect)
    try:
        return _Opened(path, reading.ledger_id(reader), reader, writer)
    except BaseException:
        reader.close()
        raise


class SqliteLedger:
    """A ledger in a SQLite file. See :class:`provisioner.ledger.Ledger` for what each method promises.

    Made by :meth:`open`.
    """

    def __init__(self, opened: _Opened, health: _Health, writer: _Writer | None) -> None:
        self._path = opened.path
        self._ledger_id = opened.ledger_id
        self._reader = opened.reader
        self._reading = ThreadPoolExecutor(1, "ledger-reader")
        self._writer = writer
        self._health = health
        self._learned: dict[tuple[str, str], bytes] = {}
        self._asked: list[_Waiting] = []
        # get_running_loop() makes a system call (getpid), which would cost a twentieth of a create each time.
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.Future[None] | None = None

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
        # Abandoned when it is cancelled: nothing interrupts a disk that hangs in a sync.
        abandoned = threading.Event()
        try:
            opened = await anyio.to_thread.run_sync(
                _open, path, None if readonly else now, connect, abandoned, abandon_on_cancel=True
            )
        except BaseException:
            abandoned.set()
            raise
        health = _Health(opened.path)
        writer = None
        if opened.writer is not None:
            writer = _Writer(opened.writer, asyncio.get_running_loop(), health)
            writer.start()
        return cls(opened, health, writer)

    def __repr__(self) -> str:
        condition = "poisoned" if self._health.failure else "closed" if self._closing else "open"
        return f"<SqliteLedger {self._path} {condition} {self.statistics()}>"

    def statistics(self) -> Statistics:
        """What has been committed since the ledger was opened."""
        return self._writer.statistics if self._writer else Statistics()

    @property
    def ledger_id(self) -> str:
        """See :attr:`provisioner.ledger.Ledger.ledger_id`."""
        return self._ledger_id

    async def look_up(self, target: str, names: Sequence[str]) -> dict[str, Entry]:
        """See :meth:`provisioner.ledger.Ledger.look_up`."""
        return await self._read(reading.entries_by_name, target, names)

    async def registered(self, target: str, names: Sequence[str]) -> dict[str, str]:
        """See :meth:`provisioner.ledger.Ledger.registered`."""
        return await self._read(reading.digests_by_name, target, names)

    async def record(self, facts: Sequence[Fact]) -> None:
        """See :meth:`provisioner.ledger.Ledger.record`."""
        if facts:
            await self._ask(Record(facts))

    async def entries(
        self, *, target: str | None = None, states: Collection[State] | None = None
    ) -> AsyncIterator[Entry]:
        """See :meth:`provisioner.ledger.Ledger.entries`."""
        for each in await self._read(reading.targets) if target is None else [target]:
            after = None
            while page := await self._read(reading.page, each, after, states, PAGE):
                for entry in page:
                    yield entry
                if len(page) < PAGE:
                    break
                after = page[-1].name

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

    async def forget(self, target: str, names: Sequence[str]) -> None:
        """See :meth:`provisioner.ledger.Ledger.forget`."""
        await self._ask(Forget(target, names))

    async def begin_run(self, run: RunRecord) -> None:
        """See :meth:`provisioner.ledger.Ledger.begin_run`."""
        await self._ask(BeginRun(run))

    async def end_run(self, run: RunRecord) -> None:
        """See :meth:`provisioner.ledger.Ledger.end_run`."""
        await self._ask(EndRun(run))

    async def runs(self, limit: int = 10, *, prefix: str = "") -> list[RunRecord]:
        """See :meth:`provisioner.ledger.Ledger.runs`."""
        return await self._read(reading.runs, limit, prefix)

    async def add_problems(self, problems: Sequence[Problem]) -> None:
        """See :meth:`provisioner.ledger.Ledger.add_problems`."""
        if problems:
            await self._ask(AddProblems(problems))

    async def problems(self, run_id: str) -> AsyncIterator[Problem]:
        """See :meth:`provisioner.ledger.Ledger.problems`."""
        after = 0
        while page := await self._read(reading.problems, run_id, after, PAGE):
            for after, problem in page:  # noqa: B007  the last number is where the next page begins
                yield problem

    async def learned(self, target: str, family: str) -> bytes | None:
        """See :meth:`provisioner.ledger.Ledger.learned`."""
        # What was learned is written with some later commit; until then only this process knows it.
        recent = self._learned.get((target, family))
        return recent if recent is not None else await self._read(reading.learned, target, family)

    async def learn(self, target: str, family: str, state: bytes) -> None:
        """See :meth:`provisioner.ledger.Ledger.learn`."""
        self._writable().learned[target, family] = self._learned[target, family] = state

    async def finished(self, target: str) -> FinishedManifest | None:
        """See :meth:`provisioner.ledger.Ledger.finished`."""
        return await self._read(reading.finished, target)

    async def set_finished(self, target: str, manifest: FinishedManifest) -> None:
        """See :meth:`provisioner.ledger.Ledger.set_finished`."""
        await self._ask(SetFinished(target, manifest))

    async def places(self) -> Mapping[str, Place]:
        """See :meth:`provisioner.ledger.Ledger.places`."""
        return await self._read(reading.places)

    async def set_place(self, target: str, place: Place) -> None:
        """See :meth:`provisioner.ledger.Ledger.set_place`."""
        await self._ask(SetPlace(target, place))

    async def rename_target(self, old: str, new: str) -> None:
        """See :meth:`provisioner.ledger.Ledger.rename_target`."""
        await self._ask(RenameTarget(old, new))
        self._learned = {
            (new if target == old else target, family): state
            for (target, family), state in self._learned.items()
            if target != new
        }

    async def changes(self, target: str) -> int:
        """See :meth:`provisioner.ledger.Ledger.changes`."""
        return await self._read(reading.changes, target)

    async def take_identity(self, ledger_id: str) -> None:
        """See :meth:`provisioner.ledger.Ledger.take_identity`."""
        if await self.counts():
            raise LedgerError("a ledger with entries keeps its identity", where=str(self._path))
        await self._ask(TakeIdentity(ledger_id))
        self._ledger_id = ledger_id

    async def close(self) -> None:
        """See :meth:`provisioner.ledger.Ledger.close`."""
        if self._closing is None:
            self._flush()
            self._closing = self._loop.run_in_executor(self._reading, self._shut)
            self._reading.shutdown(wait=False)
        await asyncio.shield(self._closing)

    async def _ask(self, request: Request) -> None:
        self._writable()
        answer: asyncio.Future[Answer] = self._loop.create_future()
        if not self._asked:
            self._loop.call_soon(self._flush)
        self._asked.append(_Waiting(request, answer))
        if (error := await answer) is not None:
            self._health.check()
            if isinstance(error, LedgerError | OvertakenError):
                error.where = error.where or str(self._path)
            raise error

    def _flush(self) -> None:
        """Pass the writer everything that was requested in this iteration of the loop: waking a thread is expensive."""
        asked, self._asked = self._asked, []
        if asked and self._writer is not None:
            self._writer.queue.put(asked)

    async def _read(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._check()
        work = partial(function, self._reader, *args, **kwargs)
        try:
            return await self._loop.run_in_executor(self._reading, work)
        except sqlite3.Error as error:
            self._health.poison(error)
        self._health.check()
        raise AssertionError  # poisoned: check() has raised

    def _writable(self) -> _Writer:
        self._check()
        if self._writer is None:
            raise LedgerError("the ledger was opened for reading only", where=str(self._path))
        return self._writer

    def _check(self) -> None:
        self._health.check()
        if self._closing is not None:
            raise LedgerError("the ledger is closed", where=str(self._path))

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
