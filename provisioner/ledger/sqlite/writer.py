"""The writer thread of a SQLite ledger: requests that arrive together become one commit (group commit)."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

from provisioner.errors import LedgerError
from provisioner.ledger.requests import FACTS_PER_COMMIT, Answer, Learn, Request, weight
from provisioner.ledger.sqlite.database import storage_error
from provisioner.ledger.store import Health, Statistics

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from pathlib import Path

    from provisioner.ledger.sqlite.database import Connection
    from provisioner.ledger.sqlite.watch import Watch
    from provisioner.ledger.sqlite.writing import Writing
    from provisioner.ledger.store import Waiting

IDLE_S = 0.05
"""After so long without a request, a checkpoint is unlikely to delay one."""

WORTH_A_CHECKPOINT = 1000
"""Pages in the log from which an idle moment is used for a checkpoint; the default of SQLite's automatic ones."""

CHECKPOINT_AT_LAST = 10_000
"""Pages in the log (40 MB) at which a checkpoint no longer waits for an idle moment. One costs 30 ms whether it moves
1,000 pages or 5,000, so under load rare ones are cheaper."""

_PAGES_PER_COMMIT = 4
"""What even a commit of one fact writes: a leaf page of the table and of each index. Large commits share them."""


class FileHealth(Health):
    """The health of a file; shared by both threads and the event loop.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def poison(self, error: Exception) -> LedgerError:
        """Record that the storage failed with ``error``; the first error counts."""
        if self.failure is None:
            self.failure = storage_error(error, self._path)
            if self.failure is not error:
                self.failure.__cause__ = error
        return self.failure


class Writer(threading.Thread):
    """The thread that owns the writing connection.

    Args:
        opened: its writing connection, and what it writes to.
        loop: the event loop that waits for the answers.
        health: takes the first error of the storage.
    """

    def __init__(self, opened: WriterParts, loop: asyncio.AbstractEventLoop, health: FileHealth) -> None:
        super().__init__(name="ledger-writer", daemon=True)
        self.queue: SimpleQueue[list[Waiting] | None] = SimpleQueue()
        self.learned: dict[tuple[str, str], bytes] = {}
        self.statistics = Statistics()
        self.epoch = opened.writing.epoch
        self._connection = opened.connection
        self._writing = opened.writing
        self._watch = opened.watch
        self._loop = loop
        self._health = health
        self._received: deque[Waiting] = deque()
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

    def _gather(self) -> tuple[list[Waiting], bool]:
        """The requests of the next commit, none in an idle moment; and whether it is the last commit.

        Only the first ``get`` blocks: what is there when it returns shares the commit, and nothing is waited for.
        """
        batch: list[Waiting] = []
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
                facts += weight(waiting.request)
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
        facts = sum(weight(request) for request in requests)
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


def _deliver(answers: list[tuple[asyncio.Future[Answer], Answer]]) -> None:
    for future, answer in answers:
        if not future.done():
            future.set_result(answer)


class WriterParts(NamedTuple):
    """What the writer thread works with."""

    connection: Connection
    writing: Writing
    watch: Watch
