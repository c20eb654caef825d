"""The writer of a PostgreSQL ledger: requests that arrive together become one commit, which survives a lost connection.

While a commit is in progress, requests accumulate; those that are there when it has ended, up to 256 facts, are the
next one. So a single fact is committed at once, and under load the commits grow and share their cost.

What a server answers to a commit may be lost together with the connection, the server or the machine. So every commit
counts up the number in the row of the lease, within its transaction, and the next transaction learns the number:

* one more than the last commit that was acknowledged: what was tried since is not there, and is tried again;
* two more: the commit whose answer was lost is there;
* anything else: the server has lost commits that it had acknowledged, as a standby may that took over, or was restored.
  Nothing of this ledger can be relied on then.

The row is locked until a transaction has ended, however its client ended, so the number is never read too early.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from provisioner.errors import LedgerError
from provisioner.ledger.lease import OvertakenError
from provisioner.ledger.postgres.connection import Fault, Session, fault_of, is_transient
from provisioner.ledger.postgres.lease import ticks
from provisioner.ledger.postgres.writing import Transaction, Writing
from provisioner.ledger.requests import FACTS_PER_COMMIT, Answer, Learn, Request, weight
from provisioner.ledger.store import Health, Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioner.ledger.postgres.connection import Rows
    from provisioner.ledger.postgres.lease import PostgresLease
    from provisioner.ledger.store import Waiting

PATIENCE_S = 120.0
"""So long a commit or a question is tried again while the database does not answer: a failover of a managed database
takes one to two minutes."""
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0


class Patience:
    """How long to go on trying, and how long to wait between two tries.

    Args:
        session: whose errors are judged.
        patience_s: see :data:`PATIENCE_S`.
    """

    def __init__(self, session: Session, patience_s: float) -> None:
        self._session = session
        self._patience_s = patience_s
        self._began_at: float | None = None
        self._pause_s = FIRST_PAUSE_S

    async def wait(self, error: Exception) -> None:
        """Wait until it is worth trying again.

        Raises:
            LedgerError: it is not, for this ``error``.
        """
        fault = fault_of(error)
        if not is_transient(fault):
            raise self._session.database.error(error) from error
        if fault is Fault.LOST:
            self._session.drop()
        self._began_at = ticks() if self._began_at is None else self._began_at
        if ticks() - self._began_at >= self._patience_s:
            raise self._session.database.error(error) from error
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


class Writer:
    """The task that owns the writing connection.

    Args:
        lease: of the ledger.
        now: the wall clock, seconds since the epoch.
        patience_s: see :data:`PATIENCE_S`.

    Attributes:
        health: takes the first error that is final.
        learned: what pacers learned, for the next commit.
        statistics: of all commits.
    """

    def __init__(self, lease: PostgresLease, now: Callable[[], float], patience_s: float) -> None:
        self.health = Health()
        self.learned: dict[tuple[str, str], bytes] = {}
        self.statistics = Statistics()
        self._lease = lease
        self._session = Session(lease.database, writes=True)
        self._writing = Writing(now)
        self._patience_s = patience_s
        self._commits = lease.commits
        self._doubtful: Sequence[Answer] | None = None
        self._received: deque[Waiting] = deque()
        self._woken = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._run())

    def ask(self, waiting: Waiting) -> None:
        """Commit this request with the next commit."""
        self._received.append(waiting)
        self._woken.set()

    async def close(self) -> None:
        """Commit what is under way, and end."""
        self._closing = True
        self._woken.set()
        try:
            await asyncio.shield(self._task)
        except asyncio.CancelledError:
            # The time to close is over. First the connection, so that the driver does not wait for the server.
            self._session.drop()
            self._task.cancel()
            raise

    async def _run(self) -> None:
        try:
            while True:
                await self._woken.wait()
                self._woken.clear()
                # What is requested in this iteration of the loop shares the commit.
                await asyncio.sleep(0)
                while self._received or (self._closing and self.learned):
                    await self._commit_some()
                if self._closing:
                    return
        finally:
            for waiting in self._received:
                waiting.answer.cancel()
            await self._session.close()

    async def _commit_some(self) -> None:
        batch: list[Waiting] = []
        facts = 0
        while self._received and facts < FACTS_PER_COMMIT:
            batch.append(self._received.popleft())
            facts += weight(batch[-1].request)
        learned: list[Request] = [Learn(*key, state) for key, state in self.learned.items()]
        self.learned = {}
        try:
            # First, so that a request that renames a target takes its paces along.
            answers = await self._answers([*learned, *[waiting.request for waiting in batch]])
        except BaseException:
            for waiting in batch:
                waiting.answer.cancel()
            raise
        if self.health.failure is None:
            done = self.statistics
            self.statistics = Statistics(done.facts + facts, done.commits + 1, max(done.largest, facts))
        for waiting, answer in zip(batch, answers[len(learned) :], strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)

    async def _answers(self, requests: Sequence[Request]) -> Sequence[Answer]:
        if self.health.failure is None:
            try:
                return await self.commit(requests)
            except LedgerError as error:
                self.health.poison(error)
        return [self.health.failure] * len(requests)

    async def commit(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """Make ``requests`` durable in one commit and answer each, in their order.

        A request that cannot be stored (text that is not Unicode, or a bug) fails alone: the commit is rolled back, and
        then each request gets a commit of its own.

        Raises:
            LedgerError: the database failed for good. Nothing of this commit may be taken for durable.
        """
        patience = Patience(self._session, self._patience_s)
        while True:
            try:
                return await self._attempt(requests)
            except Exception as error:
                self._writing.forget()
                if isinstance(error, OvertakenError):
                    return [error] * len(requests)
                if isinstance(error, LedgerError):
                    raise
                if fault_of(error) is Fault.DATA:
                    if len(requests) == 1:
                        return [error]
                    return [answer for request in requests for answer in await self.commit([request])]
                await patience.wait(error)

    async def _attempt(self, requests: Sequence[Request]) -> Sequence[Answer]:
        began_at = ticks()
        fence, *answers = await self._session.begin(self._lease.fence(), *self._writing.questions(requests))
        try:
            if self._was_committed(fence):
                answered, self._doubtful = self._doubtful or [], None
                await self._session.roll_back()
            else:
                transaction = Transaction(self._session)
                answered = await self._writing.apply(transaction, requests, answers)
                await self._end(transaction, answered)
                self._lease.renewed(began_at)
        except Exception:
            await self._session.roll_back()
            raise
        self._commits += 1
        self._writing.committed()
        return answered

    def _was_committed(self, fence: Rows) -> bool:
        """Whether the commit whose reply was lost is there."""
        if not fence:
            raise self._lease.overtaken()
        number = fence[0][0] - self._commits
        if number == 1:
            return False
        if number == 2 and self._doubtful is not None:  # noqa: PLR2004  see the head of this module
            return True
        raise LedgerError(
            "the database has lost commits that it had acknowledged",
            where=self._lease.database.name,
            why=f"it has {fence[0][0] - 1}, and {self._commits} were acknowledged",
            hint="It was restored, or a standby took over that was behind. Nothing more is sent; what was created "
            "meanwhile is found by its ownership tag: run again",
        )

    async def _end(self, transaction: Transaction, answers: Sequence[Answer]) -> None:
        self._doubtful = answers
        try:
            await transaction.commit()
        except Exception as error:
            if fault_of(error) is not Fault.LOST:
                self._doubtful = None
            raise
        self._doubtful = None
