"""The lease on a PostgreSQL ledger: a row with a holder, an epoch, a nonce and an expiry.

All times in the row are the server's. A run takes the lease when nobody has it or when it has expired, and with it
the epoch, a counter, and a nonce of its own. From then on two things hold:

* Every commit updates the row where the nonce is its writer's, and so renews the lease in passing. The update locks
  the row until the commit has ended: another run takes the lease before it or after it, never in between. Of a holder
  that was overtaken no row is found, and its commit is refused.
* Between commits a task renews the lease. The holder trusts it until ``TTL - margin`` after the moment at which it
  *began* to renew it last, on a clock that goes on while the machine sleeps, and sends nothing after that. So a
  holder that is cut off from the database, or that was suspended, has stopped sending before another run can begin.

The lease is no lock of a session: a proxy may give every transaction another connection, and a connection that broke
is not a run that died. A run that died keeps its lease until it expires.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import time
from typing import TYPE_CHECKING, Self

import psycopg

from provisioner.errors import LedgerError, LedgerLockedError
from provisioner.ledger.lease import OvertakenError
from provisioner.ledger.postgres.connection import LostError, Session, Statement, errors_of
from provisioner.ledger.postgres.schema import bring_forward

if TYPE_CHECKING:
    from types import TracebackType

    from provisioner.ledger.postgres.connection import Database

TTL_S = 30.0
"""So long another run waits for one that died. A server that restarts or fails over takes less, or little more."""
MARGIN_S = 5.0
"""For what is between the last look at the lease and the arrival of a request, and for clocks of different speeds."""
POLL_S = 0.5
"""Between two tries to take the lease."""
RELEASE_S = 5.0
"""To give the lease back at the end. It expires by itself where that does not work."""
RETRY_S = 1.0
"""After a renewal that failed."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def ticks() -> float:
    """Seconds, those in which the machine slept included where the system counts them."""
    return time.clock_gettime(_CLOCK)


class PostgresLease:
    """Keeps other runs away from the ledger in ``database``, as an async context manager.

    Args:
        database: of the ledger; its tables are made if they are missing.
        timeout_s: how long to wait for another holder, 0 not to wait; see
            :meth:`provisioner.ledger.location.Location.lease`.
        ttl_s: see :data:`TTL_S`.

    Attributes:
        epoch: how often the lease was taken, this time included.
        commits: how many commits the ledger had when a writer of this lease began.
    """

    def __init__(self, database: Database, timeout_s: float | None = None, *, ttl_s: float = TTL_S) -> None:
        self.database = database
        self.epoch = 0
        self.commits = 0
        self._timeout_s = timeout_s
        self._ttl_s = ttl_s
        self._margin_s = ttl_s * MARGIN_S / TTL_S
        self._nonce = secrets.token_hex(8)
        self._session = Session(database, writes=True)
        self._renewed_at = float("-inf")
        self._overtaken = False
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Take the lease.

        Raises:
            LedgerLockedError: another run has it, still after ``timeout_s``.
            LedgerError: it cannot be had, or the ledger is newer than this program.
        """
        try:
            async with errors_of(self.database):
                await bring_forward(self._session)
                await self._wait_for_it()
        except BaseException:
            await self._session.close()
            raise
        self._renewing = asyncio.create_task(self._keep_renewing())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._renewing is None:
            return
        self._renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._renewing
        self._renewed_at = float("-inf")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_S):
                await self._release()
        await self._session.close()

    def check(self) -> None:
        """See :meth:`provisioner.ledger.lease.Lease.check`."""
        if self._overtaken:
            raise self.overtaken()
        if ticks() - self._renewed_at >= self._ttl_s - self._margin_s:
            raise LedgerError(
                "the lease on the ledger was not renewed in time, so nothing more is sent",
                where=self.database.name,
                why="this process was suspended, or the database did not answer",
                hint="Run again when the database answers",
            )

    def fence(self) -> Statement:
        """The first statement of every transaction that writes: it renews the lease and counts the commits.

        It has no row when another run has taken the lease.
        """
        return Statement(f"{_RENEW}, commits = commits + 1 {_MINE} RETURNING commits", (self._ttl_s, self._nonce))

    async def write(self, session: Session, *statements: Statement) -> None:
        """Run ``statements`` in a transaction of their own, if the lease is still held.

        Raises:
            OvertakenError: another run has taken it.
        """
        (fence,) = await session.begin(self.fence())
        if not fence:
            await session.roll_back()
            raise self.overtaken()
        await session.end(*statements)
        self.commits = fence[0][0]

    def renewed(self, began_at: float) -> None:
        """A transaction with the fence has been committed that began at ``began_at`` by :func:`ticks`."""
        self._renewed_at = max(self._renewed_at, began_at)

    def overtaken(self) -> OvertakenError:
        """Another run has taken the lease: the error to raise."""
        self._overtaken = True
        return OvertakenError(
            self.database.name,
            why="its lease had expired: it was suspended, or the database did not answer",
            hint="Run again when the other run has ended",
        )

    async def _release(self) -> None:
        # Twice: the first try may only find out that the connection broke since the last renewal.
        for _ in range(2):
            with contextlib.suppress(psycopg.Error, LostError, OSError):
                await self._update("expires_at = clock_timestamp()")
                return

    async def _wait_for_it(self) -> None:
        deadline = ticks() + (self._timeout_s or 0.0)
        while not await self._take():
            left_s = deadline - ticks()
            if left_s <= 0:
                raise await self._locked()
            await asyncio.sleep(min(POLL_S, left_s))

    async def _take(self) -> bool:
        began_at = ticks()
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        await self._session.begin()
        (rows,) = await self._session.end(Statement(_TAKE, (self._nonce, holder, self._ttl_s)))
        if not rows:
            return False
        self.epoch, self.commits = rows[0]
        self._renewed_at = began_at
        return True

    async def _keep_renewing(self) -> None:
        every_s = self._ttl_s / 3
        while not self._overtaken:
            left_s = self._renewed_at + every_s - ticks()
            if left_s > 0:
                await asyncio.sleep(left_s)
                continue
            began_at = ticks()
            try:
                if await self._update("expires_at = clock_timestamp() + make_interval(secs => %s)", self._ttl_s):
                    self.renewed(began_at)
                else:
                    self._overtaken = True
            except (psycopg.Error, LostError, OSError):
                # Until the database answers again; meanwhile check() says whether the lease still counts.
                await asyncio.sleep(RETRY_S)

    async def _update(self, change: str, *parameters: object) -> bool:
        await self._session.begin()
        sql = f"UPDATE lease SET {change} {_MINE} RETURNING epoch"  # noqa: S608  constants
        (rows,) = await self._session.end(Statement(sql, (*parameters, self._nonce)))
        return bool(rows)

    async def _locked(self) -> LedgerLockedError:
        (rows,) = await self._session.read(_HOLDER)
        holder, left_s = described(rows[0]) if rows else ("", 0.0)
        wait = "Run again when it has ended" if self._timeout_s is None else "Wait for it with --lock-timeout"
        return LedgerLockedError(
            "another run holds the ledger",
            where=self.database.name,
            why=holder,
            hint=f"{wait}, or end it. If it has died, its lease expires in {left_s:.0f} s",
        )


def described(row: tuple[object, ...]) -> tuple[str, float]:
    """Of a row of :data:`_HOLDER`: the holder in words, and the seconds until the lease expires."""
    holder, taken_at, left_s = row
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(float(str(taken_at))))
    return f"{holder}, since {since}", max(0.0, float(str(left_s)))


async def holder_of(session: Session) -> str:
    """Who holds the lease, "" for nobody."""
    (rows,) = await session.read(_HOLDER)
    holder, left_s = described(rows[0]) if rows else ("", 0.0)
    return holder if left_s else ""


_MINE = "WHERE nonce = %s"
_RENEW = "UPDATE lease SET expires_at = clock_timestamp() + make_interval(secs => %s)"
_TAKE = """INSERT INTO lease (epoch, nonce, holder, taken_at, expires_at, commits)
    SELECT 1, nonce, holder, clock_timestamp(), clock_timestamp() + make_interval(secs => ttl), 0
    FROM (VALUES (%s::text, %s::text, %s::float8)) AS taker (nonce, holder, ttl)
    ON CONFLICT (id) DO UPDATE SET epoch = lease.epoch + 1, nonce = excluded.nonce, holder = excluded.holder,
        taken_at = excluded.taken_at, expires_at = excluded.expires_at
        WHERE lease.expires_at <= clock_timestamp()
    RETURNING epoch, commits"""
_HOLDER = Statement(
    """SELECT holder, extract(epoch FROM taken_at)::float8,
        extract(epoch FROM expires_at - clock_timestamp())::float8 FROM lease"""
)
