"""Finds, makes and brings forward the tables of a ledger, safely when several processes do so at once."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from provisioner.errors import LedgerError
from provisioner.ledger.location import moved
from provisioner.ledger.postgres.connection import Statement
from provisioner.ledger.postgres.migrations import MIGRATIONS, ROWS, SCHEMA_VERSION

if TYPE_CHECKING:
    from provisioner.ledger.postgres.connection import Database, Rows, Session
    from provisioner.ledger.postgres.lease import PostgresLeases

LEDGER_ID = "ledger_id"
"""The key in ``meta`` of the id in ownership tags. Without it the tables hold no ledger."""
BUILDING = "building"
"""The key in ``meta`` that says that the ledger is not whole yet: the id of the ledger that is copied, or ``new``."""
MOVED_TO = "moved_to"
"""The key in ``meta`` that says that the ledger is elsewhere now."""


def _found(schema: str) -> Statement:
    """Whether there is the table ``meta``, and whether there is the schema.

    The catalogs are read: functions such as ``to_regclass`` may answer from a cache of the time before the wait for a
    lock.
    """
    sql = """SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class AS found JOIN pg_catalog.pg_namespace AS space
            ON found.relnamespace = space.oid WHERE found.relname = 'meta' AND space.nspname = %s),
        EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s)"""
    return Statement(sql, (schema, schema))


async def version_of(session: Session) -> int:
    """The version of the schema that is there; 0 for none.

    Raises:
        LedgerError: it is newer than this program.
    """
    ((row,),) = await session.read(_found(session.database.schema))
    if not row[0]:
        return 0
    (rows,) = await session.read(_VERSION)
    return _checked(session, rows)


async def check_readable(session: Session) -> None:
    """Make sure that there is a whole ledger of the current schema.

    Raises:
        LedgerError: there is none, or one of another version.
    """
    version = await version_of(session)
    if not version or not await is_whole(session):
        hint = "Name it with --ledger, or make one with `provisioner apply`"
        raise LedgerError("there is no ledger here", where=session.database.name, hint=hint)
    if version < SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger has schema {version}, and this version of provisioner reads {SCHEMA_VERSION}",
            where=session.database.name,
            hint="Any command that writes to the ledger, such as apply, upgrades it",
        )


def one_at_a_time(database: Database, what: str) -> Statement:
    """Wait for others that change ``what`` of the same ledger, until the end of the transaction.

    A lock of the session would stay in a pool.
    """
    key = f"provisioner {what} {database.schema}"
    return Statement("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (key,))


async def bring_forward(session: Session) -> tuple[object, ...] | None:
    """Make what is missing, one step and its number a commit. Another process may do the same at the same time.

    Returns:
        The run of an earlier version of the program that holds the whole ledger: its name, when it took the lease, and
        the seconds until that expires. The ledger stays as it is then. None if there is no such run.

    Raises:
        LedgerError: the ledger is newer than this program.
    """
    while await version_of(session) < SCHEMA_VERSION:
        schema = session.database.schema
        await session.begin(one_at_a_time(session.database, "ledger"))
        # A statement of its own, for it is to see what the last holder of the lock has committed.
        ((row,),) = await session.go_on(_found(schema))
        statements: list[Statement] = []
        if not row[1]:
            statements.append(Statement(f'CREATE SCHEMA "{schema}"'))
        version = 0
        if not row[0]:
            statements.append(Statement('CREATE TABLE meta (key text COLLATE "C" PRIMARY KEY, value text NOT NULL)'))
        else:
            (rows,) = await session.go_on(_VERSION)
            version = _checked(session, rows)
        if 0 < version <= ONE_LEASE and (held := (await session.go_on(_HELD_BEFORE))[0]):
            await session.roll_back()
            return held[0]
        if version < SCHEMA_VERSION:
            statements += [Statement(sql) for step in MIGRATIONS[version:] for sql in step]
            statements.append(put_meta("schema", str(SCHEMA_VERSION)))
        await session.end(*statements)
    return None


async def is_whole(session: Session) -> bool:
    """Whether the tables hold a ledger that is not being built."""
    (rows,) = await session.read(_KEYS)
    return rows == [(LEDGER_ID,)]


async def identity(session: Session, leases: PostgresLeases) -> str:
    """The id of the ledger, which is given to new tables now.

    What a rebuild left that was killed is discarded.

    Args:
        session: to its database.
        leases: of the run that makes it.

    Raises:
        LedgerError: the ledger has moved.
    """
    if to := await value_of(session, MOVED_TO):
        raise moved(session.database.name, to)
    # If this is a second try, because the reply to the first was lost, the number of commits has to be learned anew.
    if leases.commits or not await is_whole(session):
        # Several workers may begin at once: the first gives the id.
        _, keys = await leases.begin(session, one_at_a_time(session.database, "ledger"), _KEYS)
        left = DISCARDED if (BUILDING,) in keys else []
        made = [] if keys == [(LEDGER_ID,)] else [*left, put_meta(LEDGER_ID, secrets.token_hex(8))]
        await session.end(*made)
    return await ledger_id(session)


async def ledger_id(session: Session) -> str:
    """The id of the ledger that is there."""
    return await value_of(session, LEDGER_ID)


async def value_of(session: Session, key: str) -> str:
    """A value of ``meta``, "" if it is not there."""
    (rows,) = await session.read(select_meta(key))
    return str(rows[0][0]) if rows else ""


def select_meta(key: str) -> Statement:
    """Ask for a value of ``meta``."""
    return Statement("SELECT value FROM meta WHERE key = %s", (key,))


def put_meta(key: str, value: str) -> Statement:
    """Set a value of ``meta``."""
    sql = "INSERT INTO meta VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    return Statement(sql, (key, value))


DISCARDED = [
    Statement(f"TRUNCATE {', '.join(ROWS)}"),
    Statement("DELETE FROM meta WHERE key = %s", (BUILDING,)),
]
_VERSION = Statement("SELECT value FROM meta WHERE key = 'schema'")
_KEYS = Statement("SELECT key FROM meta WHERE key IN (%s, %s)", (LEDGER_ID, BUILDING))
ONE_LEASE = 4
"""The last version of the schema with one lease for the whole ledger."""
_HELD_BEFORE = Statement(
    """SELECT holder, extract(epoch FROM taken_at)::float8,
        extract(epoch FROM expires_at - clock_timestamp())::float8 FROM lease
    WHERE expires_at > clock_timestamp() FOR UPDATE"""
)


def _checked(session: Session, rows: Rows) -> int:
    version = int(rows[0][0]) if rows else 0
    if version > SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger has schema {version}, and this version of provisioner supports up to {SCHEMA_VERSION}",
            where=session.database.name,
            hint="Use the newer provisioner that wrote it",
        )
    return version
