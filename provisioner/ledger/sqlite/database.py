"""Opens SQLite so that a commit is durable, and maps its errors to messages that say what to do.

Everything is checked at open, before anything is sent: WAL, ``synchronous=FULL``, the kind of file, its schema version,
that it is not damaged and can be written. What fails later becomes one :class:`LedgerError` with its remedy.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import msgspec

from provisioner.errors import LedgerError
from provisioner.ledger.location import moved
from provisioner.ledger.sqlite.filesystem import refuse_split, refuse_unsafe
from provisioner.ledger.sqlite.migrations import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BUSY_TIMEOUT_S = 5.0
"""How long a statement waits for another process's commit. A commit takes milliseconds, and the run lock keeps other
runs away, so only a checkpoint or a backup is ever waited for."""

CHECKED_BYTES = 16 << 20
"""Up to this size a ledger is checked for damage at every open; a larger one where it is touched, or when its last
writer was killed."""

_CACHE_KIB = 4 << 10
"""For the writing connection: about 800 changed pages, three full commits. More is not faster: ARNs are random, so the
pages of their index are hit at random, and the page cache of the system holds the file anyway."""

_CACHED_STATEMENTS = 256
"""Each number of rows is a statement of its own (see :mod:`provisioner.bulk`)."""

_LEDGER_MODE = 0o600

_SCHEMA_COOKIE = slice(40, 44)
"""Of the file's header: zero as long as the file has no table (sqlite.org/fileformat.html, section 1.3)."""


class Cursor(Protocol):
    """The result of a statement.

    Attributes:
        rowcount: how many rows an INSERT has inserted or, by an ON CONFLICT clause, changed.
    """

    @property
    def rowcount(self) -> int: ...  # noqa: D102  see above

    def fetchone(self) -> Any:  # noqa: ANN401  a row, None at the end
        """The next row."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        ...


class Connection(Protocol):
    """What the store needs of a connection in autocommit mode; ``sqlite3.Connection`` is one."""

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        """Run one statement.

        Raises:
            sqlite3.Error: with ``sqlite_errorcode``.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


Connect = Callable[["Path", str], Connection]
"""As :func:`connect`."""


def connect(path: Path, mode: str) -> Connection:
    """A connection in autocommit mode that any one thread at a time may use.

    Args:
        path: of a file that exists.
        mode: ``rw``, ``ro`` for reading only, or ``still`` for reading what nobody can be writing.
    """
    query = "mode=ro&immutable=1" if mode == "still" else f"mode={mode}"
    # An empty authority, for a path may begin with two slashes; and bytes, for it need not be Unicode.
    return sqlite3.connect(
        f"file://{quote(os.fsencode(path))}?{query}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_CACHED_STATEMENTS,
    )


def open_writer(path: Path, connect: Connect) -> Connection:
    """A connection that writes durably, to a ledger that is made if there is none.

    Raises:
        LedgerError: the file is no ledger, is damaged, has a newer schema, or its file system cannot keep it safe.
        sqlite3.Error, OSError: it cannot be opened, read or written.
    """
    refuse_unsafe(path)
    refuse_orphaned_log(path)
    made = _create_file(path)
    try:
        connection = connect(path, "rw")
        with closed_on_error(connection, path, connect):
            prepare_writer(connection, killed=_has_log(path))
            # Only now is it known to be a ledger. SQLite gives log and index the mode that the file had when it was
            # made.
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    path.with_name(path.name + suffix).chmod(_LEDGER_MODE)
    except BaseException:
        if made:
            with contextlib.suppress(OSError):
                discard(path)
        raise
    return connection


def open_beside(path: Path, connect: Connect, *, alone: bool) -> Connection:
    """A connection that writes durably to a ledger that is there, also while a run writes to it.

    Args:
        path: of the file.
        connect: as :func:`connect`.
        alone: whether no run has the ledger open. Then a log is one that was left behind, and closing folds it into the
            file, so that the two have to belong together.

    Raises:
        LedgerError: there is no ledger, it is damaged, or of another schema.
        sqlite3.Error, OSError: it cannot be opened, read or written.
    """
    _refuse_missing(path)
    refuse_unsafe(path)
    connection = connect(path, "rw")
    with closed_on_error(connection, path, connect):
        _refuse_older(connection)
        _set_durable(connection)
        if alone:
            refuse_damaged(connection, thoroughly=_has_log(path))
    return connection


def open_reader(path: Path, connect: Connect) -> Connection:
    """A connection that only reads, beside a writer in this process or another.

    Raises:
        LedgerError: there is no ledger, or one that this version cannot read.
        sqlite3.Error, OSError: it cannot be opened or read.
    """
    _refuse_missing(path)
    refuse_split(path)
    try:
        return _prepared_reader(connect(path, "ro"))
    except sqlite3.OperationalError as error:
        # On a read-only file system the index of the log cannot be made; without a log none is needed.
        if _primary_code(error) != sqlite3.SQLITE_CANTOPEN or _log_of(path).exists():
            raise
        return _prepared_reader(connect(path, "still"))


def _refuse_missing(path: Path) -> None:
    if not path.exists():
        raise LedgerError("there is no ledger here", hint="Name it with --ledger, or make one with `provisioner apply`")


def _prepared_reader(connection: Connection) -> Connection:
    try:
        prepare_reader(connection)
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def closed_on_error(connection: Connection, path: Path, connect: Connect) -> Iterator[None]:
    """Close ``connection`` if an error comes from within, and leave file and log as they are.

    The last connection to close folds the log into the file: a sync, where one may just have failed, and the end of
    both, where the log is of another ledger.
    """
    try:
        yield
    except BaseException:
        with _bystander(path, connect):
            connection.close()
        raise


@contextlib.contextmanager
def _bystander(path: Path, connect: Connect) -> Iterator[None]:
    """Another connection, which can only read, so that the one that closes is not the last."""
    with contextlib.ExitStack() as opened:
        with contextlib.suppress(sqlite3.Error):
            reader = opened.enter_context(contextlib.closing(connect(path, "ro")))
            reader.execute("SELECT count(*) FROM sqlite_master").fetchall()
        yield


def refuse_orphaned_log(path: Path) -> None:
    """SQLite would delete the log beside an empty file, and with it the last facts of a ledger that was moved away.

    Raises:
        LedgerError: there is a log, and no ledger that it could belong to.
    """
    if _has_log(path) and not (path.exists() and path.stat().st_size):
        raise LedgerError(
            "the ledger is gone, but its -wal file is still here",
            where=str(_log_of(path)),
            hint="Put the ledger back, or move the -wal file away too before a new ledger is made",
        )


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def holds_nothing(path: Path) -> bool:
    """Whether there is no ledger: no file, an empty one, or one whose first commits were in a log that is gone.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_SCHEMA_COOKIE.stop)
    except FileNotFoundError:
        return True
    return not header or (header[_SCHEMA_COOKIE] == bytes(4) and not _has_log(path))


def _has_log(path: Path) -> bool:
    """Whether there are commits beside the file: its last writer did not close it, or still has it open."""
    try:
        return _log_of(path).stat().st_size > 0
    except FileNotFoundError:
        return False


def discard(path: Path) -> None:
    """Delete a ledger that nobody has open, its log first: a log must never lie beside another ledger."""
    for suffix in ("-wal", "-shm", ""):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _create_file(path: Path) -> bool:
    """Make an empty file that only its owner may read, and its name durable; False where there is a file."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, _LEDGER_MODE))
    except FileExistsError:
        return False
    sync_directory(path)
    return True


def sync_directory(path: Path) -> None:
    """Make the name ``path`` durable."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def prepare_writer(connection: Connection, *, killed: bool) -> None:
    """Make ``connection`` durable and its file a ledger of the current schema.

    Args:
        connection: reads and writes.
        killed: whether the last writer left a log behind.

    Raises:
        LedgerError: the file is not a ledger, or of a newer schema, or damaged, or its file system cannot do WAL.
        sqlite3.Error: it cannot be read or written.
    """
    # First, so that another program's file is refused before anything is written to it.
    version = _schema_version(connection)
    _set_durable(connection)
    refuse_damaged(connection, thoroughly=killed)
    if version < SCHEMA_VERSION:
        migrate(connection)
    refuse_moved(connection)


def prepare_reader(connection: Connection) -> None:
    """Check that ``connection`` reads a ledger of the current schema.

    Raises:
        LedgerError: as :func:`prepare_writer`, and for an older schema, which only a writer brings forward.
        sqlite3.Error: it cannot be read.
    """
    connection.execute("PRAGMA query_only = 1")
    _refuse_older(connection)


def refuse_moved(connection: Connection) -> None:
    """Make sure that the ledger is still here.

    Raises:
        LedgerError: it has moved.
    """
    row = connection.execute("SELECT value FROM meta WHERE key = 'moved_to'").fetchone()
    if row is not None:
        raise moved("", str(row[0]))


def _refuse_older(connection: Connection) -> None:
    version = _schema_version(connection)
    if version == 0:
        raise LedgerError(
            "the ledger is empty",
            hint="Make it with `provisioner apply`; if it was not empty before, restore its backup",
        )
    if version < SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger has schema {version}, and this version of provisioner reads {SCHEMA_VERSION}",
            hint="Any command that writes to the ledger, such as apply, upgrades it",
        )


@contextlib.contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Commit what is written within, or roll it back if an error comes from within.

    Raises:
        sqlite3.Error: the transaction cannot be begun or committed.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def migrate(connection: Connection) -> None:
    """Bring the schema forward in one commit. Another process may do the same at the same time."""
    with transaction(connection):
        for version in range(_pragma(connection, "user_version"), SCHEMA_VERSION):
            _step(connection, version)


def _step(connection: Connection, version: int) -> None:
    for statement in MIGRATIONS[version]:
        connection.execute(statement)
    if version == 0:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("INSERT INTO meta VALUES ('ledger_id', ?)", (secrets.token_hex(8),))
    connection.execute(f"PRAGMA user_version = {version + 1}")


def _schema_version(connection: Connection) -> int:
    application = _pragma(connection, "application_id")
    version = _pragma(connection, "user_version")
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if application != APPLICATION_ID and not (empty and application == 0 and version == 0):
        raise LedgerError(
            "this is a SQLite file, but not a ledger", hint="Name another file with --ledger; this one is left as it is"
        )
    if version > SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger has schema {version}, and this version of provisioner supports up to {SCHEMA_VERSION}",
            hint="Use the newer provisioner that wrote it",
        )
    return version


def _set_durable(connection: Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("PRAGMA synchronous = FULL")
    # On macOS a plain fsync leaves the data in the drive's cache; elsewhere these two do nothing.
    connection.execute("PRAGMA fullfsync = 1")
    connection.execute("PRAGMA checkpoint_fullfsync = 1")
    # SQLite ignores a failed automatic checkpoint and tries its sync again; the store does its own.
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    # A ledger holds no secrets, and overwriting what is deleted costs writes.
    connection.execute("PRAGMA secure_delete = 0")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    mode, full = connection.execute("PRAGMA journal_mode").fetchone()[0], 2
    if mode != "wal" or _pragma(connection, "synchronous") != full:
        raise LedgerError(
            f"the file system cannot keep a durable ledger (journal mode {mode!r})",
            hint="Put the ledger on a local file system, such as ext4 or xfs",
        )


def refuse_damaged(connection: Connection, *, thoroughly: bool) -> None:
    """Check that pages and indexes hold together.

    A log that was left behind is the moment of danger: beside a ledger that was restored from a backup meanwhile, its
    pages and those of the file are mixed, and only a comparison of each index with its table finds that. So then it is
    done at any size.
    """
    large = _pragma(connection, "page_count") * _pragma(connection, "page_size") > CHECKED_BYTES
    if large and not thoroughly:
        return
    finding = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if finding != "ok":
        raise damaged(finding)


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


_DAMAGED = (
    "the ledger is damaged",
    "Move it away together with its -wal file, then put a backup in its place, or run `provisioner rebuild`",
)
_REMEDIES: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    # No such table, a value that is no JSON: the statements are always the same, so it is the contents that changed.
    sqlite3.SQLITE_ERROR: _DAMAGED,
    sqlite3.SQLITE_FULL: ("the disk is full", "Free some space and run again; nothing that was reported is lost"),
    sqlite3.SQLITE_IOERR: (
        "the disk failed",
        "Look at the system log and the disk quota, and run again on a sound disk; nothing that was reported is lost",
    ),
    sqlite3.SQLITE_READONLY: (
        "the ledger cannot be written",
        "Check that the file, its directory and its file system are writable, and run again",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "the ledger cannot be opened",
        "Check that its directory exists and that you may read and write there",
    ),
    sqlite3.SQLITE_PERM: ("the ledger cannot be opened", "Check who owns the file and its directory"),
    sqlite3.SQLITE_AUTH: ("the ledger cannot be opened", "Check who owns the file and its directory"),
    sqlite3.SQLITE_BUSY: (
        "another process has locked the ledger",
        "Close whatever else uses the file (a backup, a database browser) and run again",
    ),
    sqlite3.SQLITE_NOTADB: ("this is not a ledger", "Name another file with --ledger; this one is left as it is"),
}
_REMEDIES[sqlite3.SQLITE_LOCKED] = _REMEDIES[sqlite3.SQLITE_BUSY]

_CODES = {
    errno.ENOSPC: sqlite3.SQLITE_FULL,
    errno.EDQUOT: sqlite3.SQLITE_FULL,
    errno.EIO: sqlite3.SQLITE_IOERR,
    errno.EROFS: sqlite3.SQLITE_READONLY,
}
"""The SQLite code that corresponds to an error of the operating system."""

_DATA_ERRORS = frozenset(
    {
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_RANGE,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_MISUSE,
    }
)


UNREADABLE = (UnicodeDecodeError, msgspec.DecodeError)
"""What reading raises where every page is sound, and what one holds is not what the store wrote."""


def damaged(why: str) -> LedgerError:
    """The ledger holds what it cannot hold."""
    what, hint = _DAMAGED
    return LedgerError(what, why=why, hint=hint)


def _primary_code(error: BaseException) -> int:
    """SQLite's code without its extension; MISUSE where the error came from the sqlite3 module itself."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)) & 0xFF


def is_storage_error(error: BaseException) -> bool:
    """Whether ``error`` comes from the storage, and not from what was to be stored."""
    if isinstance(error, sqlite3.Error):
        return _primary_code(error) not in _DATA_ERRORS
    return isinstance(error, (OSError, *UNREADABLE))


def storage_error(error: Exception, path: Path) -> LedgerError:
    """What ``error`` at the ledger ``path`` means to a user, and what to do about it."""
    if isinstance(error, LedgerError):
        return error
    # Text that is not UTF-8: an error of the sqlite3 module itself, which has no code.
    unreadable = isinstance(error, UNREADABLE) or "Could not decode to UTF-8" in str(error)
    code = sqlite3.SQLITE_CORRUPT if unreadable else _primary_code(error)
    why = f"{error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})"
    if isinstance(error, OSError):
        code, why = _CODES.get(error.errno or 0, sqlite3.SQLITE_CANTOPEN), error.strerror or str(error)
    what, hint = _REMEDIES.get(code, ("the ledger cannot be used", "Run again, and report it if it happens again"))
    return LedgerError(what, where=str(path), why=why, hint=hint)


@contextlib.contextmanager
def errors_at(path: Path) -> Iterator[None]:
    """Errors of the storage from within are raised as :class:`LedgerError`, which names the ledger at ``path``."""
    try:
        yield
    except LedgerError as error:
        error.where = error.where or str(path)
        raise
    except (sqlite3.Error, OSError, *UNREADABLE) as error:
        raise storage_error(error, path) from error
