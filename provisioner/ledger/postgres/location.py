"""A ledger in a PostgreSQL database: its lease, opening, reading, and building one that is whole or not there."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from provisioner.errors import LedgerError, UsageError
from provisioner.ledger.location import Condition, moved
from provisioner.ledger.postgres import jobs
from provisioner.ledger.postgres.connection import Database, Session, Statement, errors_of
from provisioner.ledger.postgres.lease import PostgresLeases, holder_of, holders_of, under_way
from provisioner.ledger.postgres.migrations import SCHEMA_VERSION
from provisioner.ledger.postgres.schema import (
    BUILDING,
    DISCARDED,
    LEDGER_ID,
    MOVED_TO,
    check_readable,
    is_whole,
    one_at_a_time,
    put_meta,
    select_meta,
    value_of,
    version_of,
)
from provisioner.ledger.postgres.store import PostgresLedger
from provisioner.ledger.postgres.text import written
from provisioner.ledger.postgres.url import parsed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

    from provisioner.core.pause import Pause
    from provisioner.ledger import Ledger
    from provisioner.ledger.jobs import JobRecord, Joining, Share
    from provisioner.ledger.lease import Leases


class PostgresLocation:
    """See :class:`provisioner.ledger.location.Location`.

    Args:
        text: a URL.
        now: the wall clock, seconds since the epoch.
        awaited: whether to wait for a database that does not answer yet.

    Raises:
        ConfigurationError: the URL cannot be understood.
    """

    def __init__(self, text: str, *, now: Callable[[], float], awaited: bool = False) -> None:
        self._database = Database(parsed(text), awaited=awaited)
        self._now = now
        self.name = self.address = self._database.name

    @property
    def local_state(self) -> Path:
        """See :attr:`provisioner.ledger.location.Location.local_state`: a file in the working directory."""
        return Path(f"ledger-{hashlib.sha256(self.name.encode()).hexdigest()[:12]}.local")

    async def exists(self) -> bool:
        """See :meth:`provisioner.ledger.location.Location.exists`."""
        async with self._session() as session:
            return await _exists(session)

    async def held(self) -> bool:
        """See :meth:`provisioner.ledger.location.Location.held`."""
        try:
            async with self._session() as session:
                return bool(await holders_of(session))
        except LedgerError:
            return True

    async def under_way(self, latest: str) -> set[str]:
        """See :meth:`provisioner.ledger.location.Location.under_way`."""
        del latest
        async with self._session() as session:
            return await under_way(session)

    async def condition(self, targets: Collection[str] = ()) -> Condition:
        """See :meth:`provisioner.ledger.location.Location.condition`."""
        async with self._session(writes=True) as session:
            version = await version_of(session)
            await _check_rights(session, made=bool(version))
            holder, job = await holder_of(session, targets) if version == SCHEMA_VERSION else ("", "")
            return Condition(
                exists=bool(version) and await is_whole(session),
                holder=holder,
                job=job,
                free_bytes=None,
                storage=f"PostgreSQL {await session.version()}",
            )

    async def examine(self) -> str:
        """See :meth:`provisioner.ledger.location.Location.examine`: pages are the server's own concern."""
        async with self._session() as session:
            await check_readable(session)
            (rows,) = await session.read(Statement(_UNUSABLE, (session.database.schema,)))
        if rows:
            index = rows[0][0]
            raise LedgerError(
                "the ledger is damaged",
                where=self.name,
                why=f"PostgreSQL has marked the index {index} as unusable",
                hint=f'REINDEX INDEX "{session.database.schema}"."{index}" in the database, then check again',
            )
        return "every index is usable; pages are checked by the server (data_checksums, pg_amcheck)"

    @property
    def files(self) -> Sequence[Path]:
        """See :attr:`provisioner.ledger.location.Location.files`."""
        return (self.local_state,)

    def lease(self, timeout_s: float | None = None, *, everything: bool = False) -> PostgresLeases:
        """See :meth:`provisioner.ledger.location.Location.lease`."""
        return PostgresLeases(self._database, timeout_s, everything=everything)

    @contextlib.asynccontextmanager
    async def open(self, leases: Leases) -> AsyncIterator[Ledger]:
        """See :meth:`provisioner.ledger.location.Location.open`."""
        held = _held(leases)
        await held.confirm()
        ledger = await PostgresLedger.open(held, now=self._now)
        try:
            yield ledger
        finally:
            await ledger.close()

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[PostgresLedger]:
        """See :meth:`provisioner.ledger.location.Location.read`."""
        ledger = await PostgresLedger.read(self._database)
        try:
            yield ledger
        finally:
            await ledger.close()

    @contextlib.asynccontextmanager
    async def build(self, leases: Leases, *, copy_of: str = "") -> AsyncIterator[PostgresBuilding]:
        """See :meth:`provisioner.ledger.location.Location.build`."""
        held = _held(leases, everything=True)
        await held.confirm()
        async with self._session(writes=True) as session:
            if await is_whole(session):
                raise _taken(self.name)
            begun = await value_of(session, BUILDING)
            if not copy_of or begun != copy_of:
                # What was left by somebody who was killed; nobody else can be building under the same lease.
                named = put_meta(LEDGER_ID, copy_of or secrets.token_hex(8))
                left = DISCARDED if begun else []
                await held.write(session, *left, named, put_meta(BUILDING, copy_of or "new"))
        building = PostgresBuilding(await PostgresLedger.open(held, now=self._now, building=True), held)
        try:
            yield building
        finally:
            with anyio.CancelScope(shield=True):
                await (building.close() if copy_of else building.discard())

    @property
    def has_jobs(self) -> bool:
        """See :attr:`provisioner.ledger.location.Location.has_jobs`."""
        return True

    def jobs(self) -> PostgresLocation:
        """See :meth:`provisioner.ledger.location.Location.jobs`."""
        return self

    async def join(self, ledger: Ledger, leases: Leases, joining: Joining) -> Share:
        """See :meth:`provisioner.ledger.jobs.Jobs.join`."""
        if not isinstance(ledger, PostgresLedger):
            raise TypeError(f"a job needs the ledger of its database, not {ledger!r}")
        return await jobs.join(ledger, _held(leases), joining)

    async def find(self, job: str) -> JobRecord | None:
        """See :meth:`provisioner.ledger.jobs.Jobs.find`."""
        async with self._session() as session:
            await check_readable(session)
            return await jobs.find(session, job)

    async def moved_to(self) -> str:
        """See :meth:`provisioner.ledger.location.Location.moved_to`."""
        async with self._session() as session:
            await check_readable(session)
            return await value_of(session, MOVED_TO)

    async def retire(self, leases: Leases, to: str) -> None:
        """See :meth:`provisioner.ledger.location.Location.retire`."""
        held = _held(leases, everything=True)
        async with self._session(writes=True) as session:
            await held.begin(session, self._one_pause_at_a_time())
            await session.end(put_meta(MOVED_TO, to))

    async def pause(self, pauses: Mapping[str, Pause | None]) -> None:
        """See :meth:`provisioner.ledger.location.Location.pause`."""
        statements = [Statement("DELETE FROM pauses WHERE until <= %s", (self._now(),))]
        for target, pause in pauses.items():
            if pause is None:
                statements.append(Statement("DELETE FROM pauses WHERE target = %s", (written(target),)))
            else:
                row = (written(target), pause.until, pause.since, written(pause.reason))
                statements.append(Statement(_PAUSE, row))
        async with self._session(writes=True) as session:
            await check_readable(session)
            # Under one lock with retire(): a copy reads the pauses again when it has retired this ledger.
            _, rows = await session.begin(self._one_pause_at_a_time(), select_meta(MOVED_TO))
            if rows:
                await session.roll_back()
                raise moved(self.name, str(rows[0][0]))
            await session.end(*statements)

    def _one_pause_at_a_time(self) -> Statement:
        return one_at_a_time(self._database, "pauses")

    async def back_up(self, path: Path) -> None:
        """See :meth:`provisioner.ledger.location.Location.back_up`."""
        raise UsageError(
            "a PostgreSQL ledger is backed up by its server",
            where=self.name,
            hint="Use its backups, or, with the same URL but without schema=, "
            f"pg_dump --schema={self._database.schema} --file={shlex.quote(str(path))} URL",
        )

    @contextlib.asynccontextmanager
    async def _session(self, *, writes: bool = False) -> AsyncIterator[Session]:
        session = Session(self._database, writes=writes)
        try:
            async with errors_of(self._database):
                yield session
        finally:
            await session.close()


class PostgresBuilding:
    """See :class:`provisioner.ledger.location.Building`.

    Args:
        ledger: open for writing.
        leases: of its database.
    """

    def __init__(self, ledger: PostgresLedger, leases: PostgresLeases) -> None:
        self._leases = leases
        self._finished = False
        self.ledger = ledger

    async def finish(self) -> None:
        """See :meth:`provisioner.ledger.location.Building.finish`."""
        await self.ledger.close()
        await self._leases.confirm()
        await self._write(Statement("DELETE FROM meta WHERE key = %s", (BUILDING,)))
        self._finished = True

    async def close(self) -> None:
        """Leave what was not finished."""
        with contextlib.suppress(LedgerError):
            await self.ledger.close()

    async def discard(self) -> None:
        """Delete what was not finished."""
        await self.close()
        if not self._finished:
            with contextlib.suppress(LedgerError):
                await self._write(*DISCARDED, Statement("DELETE FROM meta WHERE key = %s", (LEDGER_ID,)))

    async def _write(self, *statements: Statement) -> None:
        session = Session(self._leases.database, writes=True)
        try:
            async with errors_of(self._leases.database):
                await self._leases.write(session, *statements)
        finally:
            await session.close()


async def _exists(session: Session) -> bool:
    return bool(await version_of(session)) and await is_whole(session)


async def _check_rights(session: Session, *, made: bool) -> None:
    """Make sure that a run could write.

    Raises:
        LedgerError: the database user may not.
    """
    schema = f'"{session.database.schema}"'
    question = "SELECT has_schema_privilege(to_regnamespace(%s)::oid, 'USAGE, CREATE')"
    if not made:
        question = """SELECT CASE WHEN to_regnamespace(%s) IS NULL
            THEN has_database_privilege(current_database(), 'CREATE')
            ELSE has_schema_privilege(to_regnamespace(%s)::oid, 'CREATE') END"""
    parameters = (schema,) * question.count("%s")
    ((row,),) = await session.read(Statement(question, parameters))
    if not row[0]:
        raise LedgerError(
            "the ledger cannot be written",
            where=session.database.name,
            why=f"the database user may not create anything in the schema {session.database.schema}",
            hint="Grant it the schema, or CREATE on the database",
        )


def _held(leases: Leases, *, everything: bool = False) -> PostgresLeases:
    if not isinstance(leases, PostgresLeases) or (everything and not leases.everything):
        raise TypeError(f"a ledger in a database needs the leases of its database, not {leases!r}")
    return leases


def _taken(name: str) -> UsageError:
    return UsageError(
        "there is a ledger here already",
        where=name,
        hint="Drop its schema first, or name another one, as in ?schema=NAME",
    )


_PAUSE = """INSERT INTO pauses VALUES (%s, %s, %s, %s) ON CONFLICT (target) DO UPDATE
    SET until = excluded.until, since = excluded.since, reason = excluded.reason"""

_UNUSABLE = """SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND NOT i.indisvalid ORDER BY 1"""
