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
from provisioner.ledger.lease import OvertakenError
from provisioner.ledger.postgres import copying, reading
from provisioner.ledger.postgres.connection import LostError, Session, Statement, errors_of
from provisioner.ledger.postgres.schema import check_readable, identity, ledger_id
from provisioner.ledger.postgres.writer import PATIENCE_S, Health, Patience, Statistics, Waiting, Writer
from provisioner.ledger.requests import (
    AddProblems,
    Answer,
    BeginRun,
    EndRun,
    Forget,
    Record,
    RenameTarget,
    ReplaceRows,
    Request,
    SetFinished,
    SetPlace,
    TakeIdentity,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence

    from provisioner.core.entry import Entry, Fact, State
    from provisioner.core.place import Place
    from provisioner.core.problem import Problem
    from provisioner.core.versions import Happening, Role, Version
    from provisioner.ledger import FinishedManifest, RunRecord
    from provisioner.ledger.postgres.connection import Database, Rows
    from provisioner.ledger.postgres.lease import PostgresLease
    from provisioner.ledger.tables import Row

P = ParamSpec("P")
T = TypeVar("T")

PAGE = 1000
"""Entries that are read at a time: about 0.5 MB."""


class PostgresLedger:
    """A ledger in a PostgreSQL database. See :class:`provisioner.ledger.Ledger` for what each method promises.

    Made by :meth:`open` and :meth:`read`.
    """

    def __init__(self, session: Session, ledger_id: str, writer: Writer | None, patience_s: float) -> None:
        self._session = session
        self._ledger_id = ledger_id
        self._writer = writer
        self._health = writer.health if writer else Health()
        self._patience_s = patience_s
        self._turn = asyncio.Lock()
        self._learned: dict[tuple[str, str], bytes] = {}
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.Future[None] | None = None

    @classmethod
    async def open(
        cls,
        lease: PostgresLease,
        *,
        now: Callable[[], float] = time.time,
        building: bool = False,
        patience_s: float = PATIENCE_S,
    ) -> Self:
        """Open the ledger for writing; it is made when it is missing.

        Args:
            lease: of the ledger.
            now: the wall clock, seconds since the epoch.
            building: whether it is one that is not whole yet.
            patience_s: see :data:`provisioner.ledger.postgres.writer.PATIENCE_S`.

        Raises:
            LedgerError: it cannot be read or written.
            OvertakenError: another run has taken the lease.
        """
        session = Session(lease.database, writes=True)
        try:
            async with errors_of(lease.database):
                found = await (ledger_id(session) if building else identity(session, lease))
        except BaseException:
            session.drop()
            raise
        return cls(session, found, Writer(lease, now, patience_s), patience_s)

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

    def __repr__(self) -> str:
        condition = "poisoned" if self._health.failure else "closed" if self._closing else "open"
        return f"<PostgresLedger {self._session.database.name} {condition} {self.statistics()}>"

    def statistics(self) -> Statistics:
        """What has been committed since the ledger was opened."""
        return self._writer.statistics if self._writer else Statistics()

    @property
    def ledger_id(self) -> str:
        """See :attr:`provisioner.ledger.Ledger.ledger_id`."""
        return self._ledger_id

    async def look_up(self, target: str, names: Sequence[str]) -> dict[str, Entry]:
        """See :meth:`provisioner.ledger.Ledger.look_up`."""
        return await self._read(reading.look_up, target, names)

    async def registered(self, target: str, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        """See :meth:`provisioner.ledger.Ledger.registered`."""
        return await self._read(reading.registered, target, names)

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
            raise LedgerError("a ledger with entries keeps its identity", where=self._session.database.name)
        await self._ask(TakeIdentity(ledger_id))
        self._ledger_id = ledger_id

    async def rows(self, table: str, after: Row | None, limit: int) -> list[Row]:
        """See :meth:`provisioner.ledger.tables.CopyableLedger.rows`."""
        return await self._read(copying.rows, table, after, limit)

    async def replace_rows(self, table: str, after: Row | None, upto: Row | None, rows: Sequence[Row]) -> None:
        """See :meth:`provisioner.ledger.tables.CopyableLedger.replace_rows`."""
        await self._ask(ReplaceRows(table, after, upto, rows))

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

    async def _ask(self, request: Request) -> None:
        writer = self._writable()
        answer: asyncio.Future[Answer] = self._loop.create_future()
        writer.ask(Waiting(request, answer))
        if (error := await answer) is not None:
            self._health.check()
            if isinstance(error, LedgerError | OvertakenError):
                error.where = error.where or self._session.database.name
            raise error

    async def _read(
        self, function: Callable[Concatenate[reading.Read, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        self._check()
        return await function(self._rows, *args, **kwargs)

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

    def _writable(self) -> Writer:
        self._check()
        if self._writer is None:
            raise LedgerError("the ledger was opened for reading only", where=self._session.database.name)
        return self._writer

    def _check(self) -> None:
        self._health.check()
        if self._closing is not None:
            raise LedgerError("the ledger is closed", where=self._session.database.name)
