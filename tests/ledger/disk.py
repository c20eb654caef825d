"""A disk under a real SQLite that remembers, fails, and loses power. For tests.

The store's own SQL and commit logic run unchanged: :func:`connector` gives it connections of apsw's SQLite through
the face that it knows from sqlite3, on a VFS of ours.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from provisioner.ledger.sqlite.database import Connect, Connection, Cursor

SECTOR = 512
"""What a disk writes as a whole; SQLite assumes no more."""


class Operation(NamedTuple):
    """Something that was done to a file.

    Attributes:
        kind: ``write``, ``sync``, ``truncate``, ``delete``, ``mark``; or one of the first three and ``failed``.
        file: the last part of its path; of a mark, its text.
        data: what was written.
        offset: where, in bytes; of a truncate, the new size.
    """

    kind: str
    file: str
    data: bytes = b""
    offset: int = 0


class Fault(NamedTuple):
    """The ``number``-th operation (from 1) of a ``kind`` fails.

    Attributes:
        kind: ``write``, ``sync`` or ``truncate``.
        number: which one.
        error: ``EIO``, ``ENOSPC``, or ``short``: half of the data is written, then the disk is full.
        lasting: whether every later one of that kind fails too. A disk may also fail once and then say that all is
            well while it has dropped the data: a sync that is tried again succeeds and saves nothing.
    """

    kind: str
    number: int
    error: str
    lasting: bool

    def hits(self, kind: str, number: int) -> bool:
        """Whether this operation fails."""
        return kind == self.kind and (number == self.number or (self.lasting and number > self.number))

    @property
    def code(self) -> int:
        """What SQLite's own VFS would say."""
        if self.error != "EIO":
            return apsw.SQLITE_FULL
        return {
            "write": apsw.SQLITE_IOERR_WRITE,
            "sync": apsw.SQLITE_IOERR_FSYNC,
            "truncate": apsw.SQLITE_IOERR_TRUNCATE,
        }[self.kind]


class Disk:
    """Remembers every operation, and fails where it is told to.

    Attributes:
        log: what was done, in order.
        fault: what is to fail.
        seen: how many operations of each kind there were.
    """

    _numbers = itertools.count()

    def __init__(self, fault: Fault | None = None) -> None:
        self.log: list[Operation] = []
        self.fault = fault
        self.seen = {"write": 0, "sync": 0, "truncate": 0}
        self.name = f"disk{next(self._numbers)}"
        self._vfs = _Vfs(self)

    def mark(self, text: str) -> None:
        """Remember that ``text`` was true from here on."""
        self.log.append(Operation("mark", text))

    def do(self, operation: Operation, work: Callable[[bytes], None]) -> None:
        """Do ``work`` with the operation's data, or fail."""
        self.seen[operation.kind] += 1
        fault = self.fault
        if fault and fault.hits(operation.kind, self.seen[operation.kind]):
            self.log.append(operation._replace(kind=f"{operation.kind} failed", data=b""))
            if fault.error == "short":
                work(operation.data[: len(operation.data) // 2])
            raise apsw.exception_for(fault.code)
        work(operation.data)
        self.log.append(operation)


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__(disk.name, "unix")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  apsw's own
        return _File(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802, FBT001  apsw's own
        super().xDelete(filename, syncdir)
        self._disk.log.append(Operation("delete", Path(filename).name))


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._disk = disk
        self._file = Path(path or "temporary").name
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  apsw's own
        operation = Operation("write", self._file, bytes(data), offset)
        self._disk.do(operation, lambda data: apsw.VFSFile.xWrite(self, data, offset))

    def xSync(self, flags: int) -> None:  # noqa: N802  apsw's own
        self._disk.do(Operation("sync", self._file), lambda _: apsw.VFSFile.xSync(self, flags))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802  apsw's own
        self._disk.do(
            Operation("truncate", self._file, offset=newsize), lambda _: apsw.VFSFile.xTruncate(self, newsize)
        )


class _Rows:
    """All rows of a statement that has ended, and how many it has changed."""

    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self._rows = iter(rows)
        self.rowcount = rowcount

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)


class _Connection:
    """An apsw connection that looks like one of sqlite3 to the store."""

    def __init__(self, connection: apsw.Connection, *, careless: bool) -> None:
        self._connection = connection
        self._careless = careless

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        if self._careless and sql == "PRAGMA synchronous = FULL":
            sql = "PRAGMA synchronous = NORMAL"
        if self._careless and sql == "PRAGMA synchronous":
            sql = "SELECT 2"
        # As in sqlite3, an error of the commit at the end of a statement is not lost behind its first row.
        with _as_sqlite3():
            rows = self._connection.execute(sql, tuple(parameters)).fetchall()
            return _Rows(rows, self._connection.changes())

    def close(self) -> None:
        # sqlite3 does not tell of an error at close either.
        with contextlib.suppress(apsw.Error):
            self._connection.close()


@contextlib.contextmanager
def _as_sqlite3() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        kind = sqlite3.IntegrityError if isinstance(error, apsw.ConstraintError) else sqlite3.OperationalError
        told = kind(str(error) or errno.errorcode[errno.EIO])
        told.sqlite_errorcode = error.extendedresult  # type: ignore[attr-defined]  # not in its stubs
        told.sqlite_errorname = type(error).__name__
        raise told from error


def connector(disk: Disk, *, careless: bool = False) -> Connect:
    """How the store opens a file on ``disk``.

    Args:
        disk: the one.
        careless: run with ``synchronous = NORMAL`` while saying FULL: the control that must lose facts.
    """

    def connect(path: Path, mode: str) -> Connection:
        flags = apsw.SQLITE_OPEN_READONLY if mode == "ro" else apsw.SQLITE_OPEN_READWRITE
        with _as_sqlite3():
            connection = apsw.Connection(str(path), flags=flags, vfs=disk.name)
        connection.set_busy_timeout(1000)
        return _Connection(connection, careless=careless)

    return connect


def put(directory: Path, files: dict[str, bytes]) -> Path:
    """Make ``directory`` hold ``files`` and nothing else; the ledger's path."""
    for file in directory.iterdir():
        file.unlink()
    for name, data in files.items():
        (directory / name).write_bytes(data)
    return directory / "ledger.db"


class _Fate(NamedTuple):
    """One file: what is safe (None: it does not exist), and what a power loss may take away."""

    safe: bytearray | None
    pending: list[Operation]

    @property
    def is_new(self) -> bool:
        """Whether a power loss may take away the whole file, or bring back the one before it."""
        return self.safe is None or self._begin > 0

    def with_its_name_safe(self) -> _Fate:
        """The same after a sync of the directory: it exists for sure, or is gone for sure."""
        begin = self._begin
        exists = len(self.pending) > begin
        if begin or (exists and self.safe is None):
            return _Fate(bytearray() if exists else None, self.pending[begin:])
        return self

    @property
    def _begin(self) -> int:
        """How many of the operations belong to files of this name that were deleted since."""
        deletions = [number for number, operation in enumerate(self.pending, 1) if operation.kind == "delete"]
        return deletions[-1] if deletions else 0


def after_power_loss(log: Iterable[Operation], start: Mapping[str, bytes], draw: random.Random) -> dict[str, bytes]:
    """The files as a disk may hold them when the power fails right after ``log``.

    What was synced is there. Of what was not, each write is there or not, or only some of its sectors, or only its
    beginning; a file that was never synced may be missing, and one that was deleted may be back.

    Args:
        log: what was done until then.
        start: the files before that.
        draw: chooses.
    """
    fates = {file: _Fate(bytearray(data), []) for file, data in start.items()}
    for operation in log:
        if operation.kind == "mark" or operation.kind.endswith("failed"):
            continue
        fate = fates.setdefault(operation.file, _Fate(None, []))
        if operation.kind == "sync":
            # SQLite's VFS syncs the directory with the first sync of a new file, and so every name in it.
            if fate.is_new:
                fates = {file: other.with_its_name_safe() for file, other in fates.items()}
            fates[operation.file] = _Fate(_synced(fate), [])
        else:
            fate.pending.append(operation)
    likelihood = draw.choice([0.0, 0.5, 0.9, 1.0])
    images = {file: _image(fate, draw, likelihood) for file, fate in fates.items()}
    return {file: bytes(image) for file, image in images.items() if image is not None}


def _synced(fate: _Fate) -> bytearray:
    image = fate.safe
    for operation in fate.pending:
        image = _done(image, operation)
    return image if image is not None else bytearray()


def _image(fate: _Fate, draw: random.Random, likelihood: float) -> bytearray | None:
    image = fate.safe
    for operation in fate.pending:
        if operation.kind == "write":
            for part in _torn(operation, draw, likelihood):
                image = _done(image, part)
        elif draw.random() < likelihood:
            image = _done(image, operation)
    return image


def _torn(operation: Operation, draw: random.Random, likelihood: float) -> Iterator[Operation]:
    how = draw.random()
    if how < 0.6:
        if draw.random() < likelihood:
            yield operation
    elif how < 0.7:
        yield operation._replace(data=operation.data[: draw.randrange(len(operation.data) + 1)])
    else:
        start = 0
        while start < len(operation.data):
            # Sectors are those of the file, not of the write.
            end = min(len(operation.data), start + SECTOR - (operation.offset + start) % SECTOR)
            if draw.random() < likelihood:
                yield operation._replace(data=operation.data[start:end], offset=operation.offset + start)
            start = end


def _done(image: bytearray | None, operation: Operation) -> bytearray | None:
    if operation.kind == "delete":
        return None
    image = bytearray() if image is None else image
    if operation.kind == "truncate":
        del image[operation.offset :]
    else:
        image.extend(bytes(max(0, operation.offset - len(image))))
        image[operation.offset : operation.offset + len(operation.data)] = operation.data
    return image
