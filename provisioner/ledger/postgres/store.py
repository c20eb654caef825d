"""The PostgreSQL store: one connection that writes, and one that reads.

Writes are requests to a writer, see writer.py. Their callers may be cancelled; a request is not. Reads take turns on a
connection of their own. They are tried again while the database does not answer, for they change nothing. After an
error that is final (disk full, tables dropped, no answer for two minutes) every call fails with that error.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

import psycopg

from provisioner.errors import LedgerError
from provisioner.ledger.postgres import copying, reading
from provisioner.ledger.postgres.connection import LostError, Session, Statement, errors_of
from provisioner.ledger.postgres.patience import PATIENCE_S, Patience
from provisioner.ledger.postgres.schema import check_readable, identity, ledger_id
from provisioner.ledger.postgres.writer import Writer
from provisioner.ledger.requests import FinishTarget
from provisioner.ledger.store import PAGE, Health, Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from provisioner.core.entry import Entry, State
    from provisioner.core.pause import Pause
    from provisioner.core.place import Place
    from provisioner.core.problem import Problem
    from provisioner.core.versions import Happening, Role, Version
    from provisioner.ledger import FinishedManifest, RunRecord
    from provisioner.ledger.jobs import TargetResult
    from provisioner.ledger.postgres.connection import Database, Rows
    from provisioner.ledger.postgres.lease import PostgresLeases
    from provisioner.ledger.store import Waiting
    from provisioner.ledger.tables import Row

P = ParamSpec("P")
T = TypeVar("T")


class PostgresLedger(Store[Writer]):
    """A ledger in a PostgreSQL database. See :class:`provisioner.ledger.Ledger` for what each method promises.

    Made by :meth:`open` and :meth:`read`.
    """

    def __init__(self, session: Session, ledger_id: str, writer: Writer | None, patience_s: float) -> None:
        super().__init__(ledger_id, session.database.name, writer.health if writer else Health(), writer)
        self._session = session
        self._patience_s = patience_s
        self._turn = asyncio.Lock()

    @classmethod
    async def open(
        cls,
        leases: PostgresLeases,
        *,
        now: Callable[[], float] = time.time,
        building: bool = False,
        patience_s: float = PATIENCE_S,
    ) -> Self:
        """Open the ledger for writing; it is made when it is missing.

        Args:
            leases: of the run that writes.
            now: the wall clock, seconds since the epoch.
            building: whether it is one that is not whole yet.
            patience_s: see :data:`provisioner.ledger.postgres.patience.PATIENCE_S`.

        Raises:
            LedgerError: it cannot be read or written.
            OvertakenError: the run was taken for dead.
        """
        session = Session(leases.database, writes=True)
        try:
            async with errors_of(leases.database):
                found = await Patience(session, patience_s).until_answered(
                    lambda: ledger_id(session) if building else identity(session, leases)
                )
        except BaseException:
            session.drop()
            raise
        return cls(session, found, Writer(leases, now, patience_s), patience_s)

    @classmethod
    async def read(cls, database: Database, *, patience_s: float = PATIENCE_S) -> Self:
        """Open the ledger for reading.

        Raises:
            LedgerError: there is none, it is of another version, or it cannot be read.
        """
        session = Session(database, writes=False)
        try:
            async with errors_of(database):
                await check_readable(session)
                found = await ledger_id(session)
        except BaseException:
            session.drop()
            raise
        return cls(session, found, None, patience_s)

    def epoch(self, target: str) -> str:
        """See :meth:`provisioner.ledger.Ledger.epoch`."""
        return self._writable().epoch(target)

    async def look_up(self, target: str, names: Sequence[str]) -> dict[str, Entry]:
        """See :meth:`provisioner.ledger.Ledger.look_up`."""
        return await self._read(reading.look_up, target, names)

    async def registered(self, target: str, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        """See :meth:`provisioner.ledger.Ledger.registered`."""
        return await self._read(reading.registered, target, names)

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

    async def places(self) -> Mapping[str, Place]:
        """See :meth:`provisioner.ledger.Ledger.places`."""
        return await self._read(reading.places)

    async def pauses(self) -> Mapping[str, Pause]:
        """See :meth:`provisioner.ledger.Ledger.pauses`."""
        return await self._read(reading.pauses)

    async def changes(self, target: str) -> int:
        """See :meth:`provisioner.ledger.Ledger.changes`."""
        return await self._read(reading.changes, target)

    async def finish_target(self, job: str, result: TargetResult) -> None:
        """Make durable what became of a target in a job."""
        await self._ask(FinishTarget(job, result))

    async def targets_left(self, job: str, targets: Collection[str]) -> int:
        """How many of ``targets`` have no result yet in a job."""
        return await self._read(reading.targets_left, job, targets)

    async def exit_codes(self, job: str, targets: Collection[str]) -> list[int | None]:
        """With what each of ``targets`` ended in a job, None for each that has no result."""
        return await self._read(reading.exit_codes, job, targets)

    async def rows(self, table: str, after: Row | None, limit: int) -> list[Row]:
        """See :meth:`provisioner.ledger.tables.CopyableLedger.rows`."""
        return await self._read(copying.rows, table, after, limit)

    async def close(self) -> None:
        """See :meth:`provisioner.ledger.Ledger.close`."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._shut())
        try:
            await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            if not self._closing.done():
                # The time to close is over.
                self._session.drop()
                self._closing.cancel()
            raise

    async def _shut(self) -> None:
        failed_before = self._health.failure is not None
        if self._writer is not None:
            await self._writer.close()
        async with self._turn:
            await self._session.close()
        if not failed_before:
            self._health.check()

    async def _targets(self) -> Sequence[str]:
        return await self._read(reading.targets)

    async def _page(self, target: str, after: str | None, states: Collection[State] | None) -> Sequence[Entry]:
        return await self._read(reading.page, target, after, states, PAGE)

    async def _problem_page(self, run_id: str, after: int) -> Sequence[tuple[int, Problem]]:
        return await self._read(reading.problems, run_id, after, PAGE)

    async def _learned_before(self, target: str, family: str) -> bytes | None:
        return await self._read(reading.learned, target, family)

    def _send(self, waiting: Waiting) -> None:
        self._writable().ask(waiting)

    async def _read(
        self, function: Callable[Concatenate[reading.Read, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        self._check()
        try:
            return await function(self._rows, *args, **kwargs)
        except LedgerError as error:
            error.where = error.where or self._where
            raise

    async def _rows(self, sql: str, *parameters: Any) -> Rows:  # noqa: ANN401  values of SQL
        patience = Patience(self._session, self._patience_s)
        async with self._turn:
            while True:
                try:
                    (rows,) = await self._session.read(Statement(sql, parameters))
                except (psycopg.Error, LostError, OSError) as error:
                    try:
                        await patience.wait(error)
                    except LedgerError as final:
                        self._health.poison(final)
                        raise
                else:
                    return rows
