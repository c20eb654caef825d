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
from provisioner.ledger.postgres.connection import Fault, Session, fault_of
from provisioner.ledger.postgres.patience import Patience, ticks
from provisioner.ledger.postgres.writing import Transaction, Writing
from provisioner.ledger.requests import FACTS_PER_COMMIT, Answer, Learn, Request, weight
from provisioner.ledger.store import Health, Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioner.ledger.postgres.connection import Rows
    from provisioner.ledger.postgres.lease import PostgresLeases
    from provisioner.ledger.store import Waiting


class Writer:
    """The task that owns the writing connection.

    Args:
        leases: of the run.
        now: the wall clock, seconds since the epoch.
        patience_s: see :data:`provisioner.ledger.postgres.patience.PATIENCE_S`.

    Attributes:
        health: takes the first error that is final.
        learned: what pacers learned, for the next commit.
        statistics: of all commits.
    """

    def __init__(self, leases: PostgresLeases, now: Callable[[], float], patience_s: float) -> None:
        self.health = Health()
        self.learned: dict[tuple[str, str], bytes] = {}
        self.statistics = Statistics()
        self._leases = leases
        self._session = Session(leases.database, writes=True)
        self._writing = Writing(now, leases.nonce)
        self._patience_s = patience_s
        self._commits = leases.commits
        self._doubtful: Sequence[Answer] | None = None
        self._received: deque[Waiting] = deque()
        self._woken = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._run())

    def ask(self, waiting: Waiting) -> None:
        """Commit this request with the next commit."""
        self._received.append(waiting)
        self._woken.set()

    def epoch(self, target: str) -> str:
        """See :meth:`provisioner.ledger.Ledger.epoch`."""
        return self._leases.epoch(target)

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
        fence, *answers = await self._session.begin(self._leases.fence(), *self._writing.questions(requests))
        try:
            if self._was_committed(fence):
                answered, self._doubtful = self._doubtful or [], None
                await self._session.roll_back()
            else:
                answered = await self._carry_out(fence, requests, answers)
                self._leases.renewed(began_at)
        except Exception:
            await self._session.roll_back()
            raise
        self._commits += 1
        self._writing.committed()
        return answered

    async def _carry_out(self, fence: Rows, requests: Sequence[Request], answers: list[Rows]) -> Sequence[Answer]:
        """Carry out the requests about targets that this run still holds, and commit; the others are refused."""
        refusals = await self._leases.refusals(self._session, fence, requests)
        allowed = [request for request, refusal in zip(requests, refusals, strict=True) if refusal is None]
        transaction = Transaction(self._session)
        known = answers if len(allowed) == len(requests) else []
        applied = iter(await self._writing.apply(transaction, allowed, known))
        answered = [next(applied) if refusal is None else refusal for refusal in refusals]
        await self._end(transaction, answered)
        return answered

    def _was_committed(self, fence: Rows) -> bool:
        """Whether the commit whose reply was lost is there."""
        if not fence:
            raise self._leases.overtaken()
        number = fence[0][0] - self._commits
        if number == 1:
            return False
        if number == 2 and self._doubtful is not None:  # noqa: PLR2004  see the head of this module
            return True
        raise LedgerError(
            "the database has lost commits that it had acknowledged",
            where=self._leases.database.name,
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
