"""A connection to the database of a ledger, and what its errors mean.

Everything that is sent is one message: ``BEGIN``, the settings of the transaction, the statements. So a transaction
costs two round trips, one that reads and one that writes and commits, and no setting outlives it: that works through
proxies that pool transactions, such as PgBouncer, too, where the next transaction may be another connection's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
import tenacity
from psycopg.conninfo import conninfo_to_dict

from provisioner.errors import ConfigurationError, LedgerError
from provisioner.logger import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from provisioner.ledger.postgres.url import Url

# It logs what it does about errors that it raises as well.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

CONNECT_S = 10
"""For one address, unless the URL or the environment says otherwise. libpq would wait for minutes."""
REPLY_S = 20.0
"""For the reply to a message. A commit takes milliseconds; less than the TTL of a lease, see lease.py."""
ABANDONED_S = 15
"""After so long in an unfinished transaction the server gives up a client that it does not hear of any more, and with
it the row that the client's next connection waits for."""
START_S = 60.0
"""So long a run waits at its start for a database that is just starting or failing over."""
LOCK_S = 10
"""How long a statement waits for a row; nobody holds one for longer than :data:`ABANDONED_S`."""

_DEFAULTS: dict[str, tuple[str, Any]] = {
    "connect_timeout": ("PGCONNECT_TIMEOUT", CONNECT_S),
    "fallback_application_name": ("", "provisioner"),
    # A server that is gone without a word is noticed within half a minute.
    "keepalives_idle": ("", 10),
    "keepalives_interval": ("", 5),
    "keepalives_count": ("", 3),
    "tcp_user_timeout": ("", 25_000),
}
_OLDEST = 130000


class Statement(NamedTuple):
    """One statement of a message."""

    sql: str
    parameters: tuple[Any, ...] = ()


Rows = list[tuple[Any, ...]]


class Fault(Enum):
    """What an error means for the transaction in which it came, and for the connection."""

    LOST = "the connection is of no use any more; if it was at a commit, nobody knows what became of it"
    ROLLED_BACK = "the server undid the transaction, which may be tried again"
    DATA = "what was to be stored cannot be stored"
    FINAL = "trying again does not help"


class LostError(Exception):
    """No reply came in time, so that the connection was given up."""


class Database:
    """Where a ledger is, and how to get there.

    Args:
        url: of the ledger.
        awaited: whether the first connection is worth waiting for, up to :data:`START_S`.

    Attributes:
        reached: whether there was a connection; before, an error is more likely a wrong URL than a restart.

    Raises:
        ConfigurationError: libpq cannot read the URL.
    """

    def __init__(self, url: Url, *, awaited: bool = False) -> None:
        self.schema = url.schema
        self.name = url.name
        self.reached = False
        self._awaited = awaited
        try:
            self._parameters = {key: value for key, value in conninfo_to_dict(url.conninfo).items() if value}
        except psycopg.Error:
            # Its message quotes the URL, with a password that may be in it.
            raise ConfigurationError(
                "the ledger's URL is not one of PostgreSQL",
                where=url.name,
                hint="postgresql://USER@HOST:PORT/DATABASE?PARAMETERS, with %-escapes for special characters; a "
                "password is better kept in a file (PGPASSFILE)",
            ) from None
        secrets = (self._parameters.get("password"), os.environ.get("PGPASSWORD"))
        self._secrets = [str(secret) for secret in secrets if secret]

    async def reach(self, *, writes: bool) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        """The first connection. It is waited for if that was asked for, unless what fails will not pass by itself.

        Raises:
            LedgerError: there is none.
            ConfigurationError: see :meth:`connect`.
        """
        waiting = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(passes),
            stop=tenacity.stop_after_delay(START_S if self._awaited else 0.0),
            wait=tenacity.wait_exponential(multiplier=0.1, max=2.0),
            before_sleep=self._say_that_it_waits,
            reraise=True,
        )
        connection: psycopg.AsyncConnection[tuple[Any, ...]]
        try:
            connection = await waiting(self.connect, writes=writes)
        except (psycopg.Error, OSError) as error:
            raise self.error(error) from error
        self.reached = True
        return connection

    def _say_that_it_waits(self, state: tenacity.RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            why = self._told(state.outcome.exception())
            log.warning("ledger.awaited", ledger=self.name, why=why, up_to_s=START_S)

    async def connect(self, *, writes: bool) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        """A connection, in autocommit mode.

        Args:
            writes: of several hosts, only one that can be written to will do.

        Raises:
            psycopg.Error: there is none.
            ConfigurationError: the server is too old, or its database does not store Unicode.
        """
        more: dict[str, Any] = {
            name: value
            for name, (variable, value) in _DEFAULTS.items()
            if name not in self._parameters and variable not in os.environ
        }
        if writes and "target_session_attrs" not in self._parameters:
            more["target_session_attrs"] = "read-write"
        connection = await psycopg.AsyncConnection.connect(
            **(self._parameters | more | {"client_encoding": "UTF8"}),
            autocommit=True,
            prepare_threshold=None,
            cursor_factory=psycopg.AsyncClientCursor,
        )
        encoding = connection.info.parameter_status("server_encoding")
        version = connection.info.server_version
        if encoding == "UTF8" and version >= _OLDEST:
            return connection
        await connection.close()
        raise ConfigurationError(
            f"a ledger needs PostgreSQL {_OLDEST // 10000} or later and a database with the encoding UTF8",
            where=self.name,
            why=f"this is PostgreSQL {version // 10000} and {encoding}",
        )

    def error(self, error: Exception) -> LedgerError:
        """What ``error`` means to a user, and what to do about it."""
        if isinstance(error, LedgerError):
            return error
        code = (error.sqlstate or "") if isinstance(error, psycopg.Error) else ""
        why = self._told(error)
        kind = code or _kind_of_refusal(why)
        what, hint = _REMEDIES.get(kind) or _REMEDIES.get(kind[:2]) or (_UNUSABLE if code else _UNREACHABLE)
        return LedgerError(what, where=self.name, why=f"{why} (SQLSTATE {code})" if code else why, hint=hint)

    def _told(self, error: BaseException | None) -> str:
        """What ``error`` says, without the password."""
        why = " ".join(str(error).split()) or "no reply in time"
        for secret in self._secrets:
            why = why.replace(secret, "…")
        return why


class Session:
    """One connection, made when it is needed first, and made again after it broke. One user at a time.

    Args:
        database: where to.
        writes: see :meth:`Database.connect`.
    """

    def __init__(self, database: Database, *, writes: bool) -> None:
        self.database = database
        self._writes = writes
        self._connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None
        local = f'SET LOCAL search_path = "{database.schema}"; SET LOCAL idle_in_transaction_session_timeout = '
        local += f"'{ABANDONED_S}s'; SET LOCAL statement_timeout = '{REPLY_S:.0f}s'; "
        local += f"SET LOCAL lock_timeout = '{LOCK_S}s'; SET LOCAL synchronous_commit = on"
        self._local = [Statement(one) for one in local.split("; ")]

    async def begin(self, *statements: Statement) -> list[Rows]:
        """Begin a transaction and run ``statements`` in it; the rows of each."""
        return await self._transaction("READ COMMITTED READ WRITE", statements)

    async def go_on(self, *statements: Statement) -> list[Rows]:
        """Run ``statements`` in the transaction that is open."""
        return await self._send(statements)

    async def end(self, *statements: Statement) -> list[Rows]:
        """Run ``statements`` in the transaction and commit it."""
        return (await self._send([*statements, Statement("COMMIT")]))[:-1]

    async def read(self, *statements: Statement) -> list[Rows]:
        """Run ``statements`` in a transaction that reads only; all of them see the same commits."""
        kind = "REPEATABLE READ READ ONLY"
        return (await self._transaction(kind, [*statements, Statement("COMMIT")]))[:-1]

    async def roll_back(self) -> None:
        """Undo the transaction that is open, if one is."""
        connection = self._connection
        if connection is None or connection.closed:
            return
        if connection.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE:
            try:
                await self._send([Statement("ROLLBACK")], undo=False)
            except (psycopg.Error, LostError):
                self.drop()

    def drop(self) -> None:
        """Give up the connection; the next use makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            if not connection.closed:
                # The driver may be waiting for it, and uvloop ends the process when a socket is closed that it watches.
                loop = asyncio.get_running_loop()
                loop.remove_reader(connection.pgconn.socket)
                loop.remove_writer(connection.pgconn.socket)
            connection.pgconn.finish()

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def version(self) -> str:
        """The version of the server, such as ``18.1``."""
        ((row,),) = await self.read(Statement("SELECT current_setting('server_version')"))
        return str(row[0])

    async def _transaction(self, kind: str, statements: Sequence[Statement]) -> list[Rows]:
        opening = [Statement(f"BEGIN ISOLATION LEVEL {kind}"), *self._local]
        return (await self._send([*opening, *statements]))[len(opening) :]

    async def _send(self, statements: Sequence[Statement], *, undo: bool = True) -> list[Rows]:
        """Send one message and return the rows of each statement; after an error the transaction is undone.

        Raises:
            psycopg.Error: of the first statement that failed, or of the connection.
            LostError: no reply came in time.
            LedgerError: the database was never reached.
        """
        if not self.database.reached:
            self._connection = await self.database.reach(writes=self._writes)
        work = asyncio.ensure_future(self._rows(statements))
        try:
            done, _ = await asyncio.wait({work}, timeout=REPLY_S + CONNECT_S)
        finally:
            if not work.done():
                # First the connection, so that the driver does not wait for a server that does not answer.
                self.drop()
                work.cancel()
        if not done:
            raise LostError
        try:
            return work.result()
        except Exception as error:
            if fault_of(error) is Fault.LOST:
                self.drop()
            elif undo:
                await self.roll_back()
            raise

    async def _rows(self, statements: Sequence[Statement]) -> list[Rows]:
        if self._connection is None or self._connection.closed:
            self._connection = await self.database.connect(writes=self._writes)
        parameters = [value for one in statements for value in one.parameters]
        cursor = await self._connection.execute(";\n".join(one.sql for one in statements), parameters or None)
        found: list[Rows] = []
        more: bool | None = True
        while more:
            found.append(await cursor.fetchall() if cursor.description else [])
            more = cursor.nextset()
        return found


_LOST = {
    "08": "connection exception",
    "25006": "read-only: the server is a standby since a failover",
    "53300": "too many connections",
    "57P01": "the server is shutting down, or an administrator ended the connection",
    "57P02": "another process of the server crashed",
    "57P03": "the server is starting",
    "57P05": "the session was idle for too long",
    "25P03": "the transaction was idle for too long",
}
_ROLLED_BACK = {
    "40": "serialization failure, deadlock",
    "23505": "another run has recorded the same ARN at the same moment: what is read anew decides",
    "55P03": "a row was locked for too long",
    "57014": "a statement took too long",
}
_DATA = {"22": "data exception", "23": "integrity constraint violation", "54": "program limit exceeded"}


def fault_of(error: Exception) -> Fault:
    """What kind of fault ``error`` is."""
    if isinstance(error, LostError | OSError):
        return Fault.LOST
    if not isinstance(error, psycopg.Error):
        return Fault.DATA
    code = error.sqlstate
    if code is None:
        # Of the driver itself: a connection that broke or could not be made, or a value that has no SQL form.
        return Fault.LOST if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) else Fault.DATA
    for fault, codes in ((Fault.LOST, _LOST), (Fault.ROLLED_BACK, _ROLLED_BACK), (Fault.DATA, _DATA)):
        if code in codes or code[:2] in codes:
            return fault
    return Fault.FINAL


_REFUSALS = (
    (r"session is read-only|server is in hot standby mode", "25006"),
    (r'database ".*" does not exist|no such database', "3D000"),
    (r'authentication failed|no password supplied|no pg_hba\.conf entry|role ".*" does not exist|no such user', "28"),
    (r"permission denied for database", "28"),
    (r"too many (clients|connections)|remaining connection slots are reserved", "53"),
)
"""What libpq, a pool, or a server that speaks English says when it refuses a connection: libpq hands on no SQLSTATE of
that. Of a server that speaks another language the general advice is given, with what it says."""


_PASSING = re.compile(
    "the database system is|not (yet )?accepting connections|server closed the connection|terminating connection"
    "|connection refused|reset by peer|broken pipe|no such file or directory|timed? ?out|timeout expired"
    "|no route to host|network is unreachable|temporary failure in name resolution"
    "|server login has been failing|connect failed",
    re.IGNORECASE,
)
"""What libpq, a server or PgBouncer says while a database starts, stops or fails over."""


def passes(error: BaseException) -> bool:
    """Whether a first connection that failed in this way may be made a little later."""
    if not isinstance(error, psycopg.OperationalError | OSError):
        return False
    kind = _kind_of_refusal(str(error))
    return kind in {"25006", "53"} or (not kind and bool(_PASSING.search(str(error))))


def _kind_of_refusal(message: str) -> str:
    return next((code for pattern, code in _REFUSALS if re.search(pattern, message)), "")


def is_transient(fault: Fault) -> bool:
    """Whether the same may work a moment later."""
    return fault in (Fault.LOST, Fault.ROLLED_BACK)


@contextlib.asynccontextmanager
async def errors_of(database: Database) -> AsyncIterator[None]:
    """Errors of the database from within are raised as :class:`LedgerError`."""
    try:
        yield
    except (psycopg.Error, LostError, OSError) as error:
        raise database.error(error) from error


_AGAIN = "Nothing that was reported is lost"
_UNREACHABLE = (
    "the database does not answer",
    f"Check the URL, the server and the login: `psql` with the same URL, without schema=, should connect. {_AGAIN}",
)
_UNUSABLE = ("the ledger cannot be used", "Run again, and report it if it happens again")
_REMEDIES: dict[str, tuple[str, str]] = {
    "28": ("the database refuses the login", "Check user and password (PGPASSFILE, PGPASSWORD) and pg_hba.conf"),
    "3D000": ("there is no such database", "Create it first: `createdb`, with the encoding UTF8"),
    "42501": (
        "the database user may not do this",
        "Grant it the schema of the ledger: it needs CREATE on the database once, or a schema that it owns",
    ),
    "42P01": (
        "the ledger is gone: its tables were dropped",
        "Restore the database, or run `provisioner rebuild`",
    ),
    "42P07": (
        "another program has tables of these names there",
        "Give the ledger a schema of its own, as in ?schema=team_a",
    ),
    "53100": ("the disk of the database is full", f"Free some space and run again. {_AGAIN}"),
    "53": ("the database has run out of resources", f"Look at its log, and run again. {_AGAIN}"),
    "58": ("the disk of the database failed", f"Look at its log, and run again on a sound disk. {_AGAIN}"),
    "XX": ("the database is damaged", "Look at its log, and restore it, or run `provisioner rebuild`"),
    "25006": (
        "the database is read-only",
        f"Name the primary, or all hosts: postgresql://HOST1,HOST2/DATABASE. {_AGAIN}",
    ),
}
