"""A ledger in a file: its lease, opening, reading, and building one that is whole or not there."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from provisioner.errors import LedgerError, UsageError
from provisioner.ledger.location import Condition, printable_location
from provisioner.ledger.sqlite.copying import back_up
from provisioner.ledger.sqlite.database import (
    connect,
    discard,
    errors_at,
    open_beside,
    open_reader,
    open_writer,
    refuse_damaged,
    refuse_moved,
    refuse_orphaned_log,
    sync_directory,
    transaction,
)
from provisioner.ledger.sqlite.filesystem import kind_at
from provisioner.ledger.sqlite.lease import FileLease, is_held
from provisioner.ledger.sqlite.reading import moved_to
from provisioner.ledger.sqlite.store import SqliteLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping

    from provisioner.core.pause import Pause
    from provisioner.ledger import Ledger
    from provisioner.ledger.jobs import Jobs
    from provisioner.ledger.lease import Leases

BUILDING = ".building"
"""Behind the name of a ledger that is not whole yet."""
_BESIDE = ("-wal", "-shm", ".lock", BUILDING)
"""Behind the names of the files beside a ledger."""


class SqliteLocation:
    """See :class:`provisioner.ledger.location.Location`.

    Args:
        text: a path.
        now: the wall clock, seconds since the epoch.
    """

    def __init__(self, text: str, *, now: Callable[[], float]) -> None:
        self._path = Path(text)
        self._real = Path(os.path.realpath(text))
        self._now = now
        self.name = printable_location(text)
        self.address = printable_location(str(self._real))
        self.local_state = Path(f"{text}.local")
        self.files = [
            Path(f"{path}{suffix}") for path in (text, self._real, self.local_state) for suffix in ("", *_BESIDE)
        ]

    async def exists(self) -> bool:
        """See :meth:`provisioner.ledger.location.Location.exists`."""
        with errors_at(self._real):
            return await anyio.Path(self._path).exists()

    async def held(self) -> bool:
        """See :meth:`provisioner.ledger.location.Location.held`."""
        return is_held(self._real)

    async def under_way(self, latest: str) -> set[str]:
        """See :meth:`provisioner.ledger.location.Location.under_way`."""
        return {latest} if is_held(self._real) else set()

    async def condition(self, targets: Collection[str] = ()) -> Condition:
        """See :meth:`provisioner.ledger.location.Location.condition`: of a file, every run needs all."""
        del targets
        return await anyio.to_thread.run_sync(self._condition)

    def _condition(self) -> Condition:
        holder = FileLease(self._path, now=self._now).look()
        with errors_at(self._real):
            refuse_orphaned_log(self._real)
            exists = self._path.exists()
        folder = self._real.parent
        for path in (folder, *[self._real] * exists):
            if not os.access(path, os.W_OK):
                why = "no permission, or a read-only file system" if path.exists() else "there is no such directory"
                hint = "Check the directory and its owner, or name another ledger with --ledger"
                raise LedgerError("the ledger cannot be written", where=str(path), why=why, hint=hint)
        free_bytes = shutil.disk_usage(folder).free
        return Condition(exists=exists, holder=holder, free_bytes=free_bytes, storage=kind_at(self._real))

    async def examine(self) -> str:
        """See :meth:`provisioner.ledger.location.Location.examine`."""
        return await anyio.to_thread.run_sync(self._examine)

    def _examine(self) -> str:
        with errors_at(self._real), contextlib.closing(open_reader(self._real, connect)) as connection:
            refuse_damaged(connection, thoroughly=True)
        return "every page is sound, and every index agrees with its table"

    def lease(self, timeout_s: float | None = None, *, everything: bool = False) -> FileLease:
        """See :meth:`provisioner.ledger.location.Location.lease`."""
        del everything  # a file is held as a whole, always
        return FileLease(self._path, timeout_s, now=self._now)

    @contextlib.asynccontextmanager
    async def open(self, leases: Leases) -> AsyncIterator[Ledger]:
        """See :meth:`provisioner.ledger.location.Location.open`."""
        held = _held(leases)
        held.check()
        held.refuse_vanished()
        ledger = await SqliteLedger.open(self._path, now=self._now)
        try:
            if ledger.found != held.left:
                await ledger.drop_finished()
            held.keep(ledger.ledger_id)
            yield ledger
            # If this fails, the next run looks at the account once more; this one has done its work.
            with contextlib.suppress(LedgerError):
                held.keep(ledger.ledger_id, await ledger.condition())
        finally:
            await ledger.close()

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[SqliteLedger]:
        """See :meth:`provisioner.ledger.location.Location.read`."""
        ledger = await SqliteLedger.open(self._path, readonly=True)
        try:
            yield ledger
        finally:
            await ledger.close()

    @contextlib.asynccontextmanager
    async def build(self, leases: Leases, *, copy_of: str = "") -> AsyncIterator[SqliteBuilding]:
        """See :meth:`provisioner.ledger.location.Location.build`."""
        held = _held(leases)
        held.check()
        with errors_at(self._real):
            _refuse_taken(self._real)
        unfinished = self._real.with_name(self._real.name + BUILDING)
        ledger = await self._begun(unfinished, copy_of)
        building = SqliteBuilding(self._real, unfinished, ledger, held)
        try:
            yield building
        finally:
            with anyio.CancelScope(shield=True):
                await (building.close() if copy_of else building.discard())

    async def _begun(self, unfinished: Path, copy_of: str) -> SqliteLedger:
        """An unfinished ledger: the copy that was begun before, or an empty one."""
        if copy_of:
            ledger = await SqliteLedger.open(unfinished, now=self._now)
            if ledger.ledger_id == copy_of:
                return ledger
            await ledger.close()
        with errors_at(self._real):
            # What was left by somebody who was killed; nobody else can have it open under the same lease.
            discard(unfinished)
        ledger = await SqliteLedger.open(unfinished, now=self._now)
        if copy_of:
            await ledger.take_identity(copy_of)
        return ledger

    @property
    def has_jobs(self) -> bool:
        """See :attr:`provisioner.ledger.location.Location.has_jobs`."""
        return False

    def jobs(self) -> Jobs:
        """See :meth:`provisioner.ledger.location.Location.jobs`."""
        raise UsageError(
            "a job needs a ledger in PostgreSQL: one in a file is for one process at a time",
            where=self.name,
            hint="Name one with --ledger postgresql://…; `provisioner ledger copy FROM TO` moves this one there",
        )

    async def moved_to(self) -> str:
        """See :meth:`provisioner.ledger.location.Location.moved_to`."""
        return await anyio.to_thread.run_sync(self._moved_to)

    def _moved_to(self) -> str:
        with errors_at(self._real), contextlib.closing(open_reader(self._real, connect)) as connection:
            return moved_to(connection)

    async def retire(self, leases: Leases, to: str) -> None:
        """See :meth:`provisioner.ledger.location.Location.retire`."""
        held = _held(leases)
        held.check()
        await anyio.to_thread.run_sync(self._retire, to)

    def _retire(self, to: str) -> None:
        with (
            errors_at(self._real),
            contextlib.closing(open_writer(self._real, connect)) as connection,
            transaction(connection),
        ):
            connection.execute("INSERT INTO meta VALUES ('moved_to', ?)", (to,))

    async def pause(self, pauses: Mapping[str, Pause | None]) -> None:
        """See :meth:`provisioner.ledger.location.Location.pause`."""
        await anyio.to_thread.run_sync(self._pause, pauses)

    def _pause(self, pauses: Mapping[str, Pause | None]) -> None:
        with (
            errors_at(self._real),
            contextlib.closing(open_beside(self._real, connect, alone=not is_held(self._real))) as connection,
            transaction(connection),
        ):
            # Within the transaction: a copy reads the pauses again when it has retired this ledger.
            refuse_moved(connection)
            connection.execute("DELETE FROM pauses WHERE until <= ?", (self._now(),))
            for target, pause in pauses.items():
                if pause is None:
                    connection.execute("DELETE FROM pauses WHERE target = ?", (target,))
                else:
                    row = (target, pause.until, pause.since, pause.reason)
                    connection.execute("INSERT OR REPLACE INTO pauses VALUES (?, ?, ?, ?)", row)

    async def back_up(self, path: Path) -> None:
        """See :meth:`provisioner.ledger.location.Location.back_up`."""
        with errors_at(path):
            await anyio.to_thread.run_sync(back_up, self._real, path)


class SqliteBuilding:
    """See :class:`provisioner.ledger.location.Building`.

    Args:
        path: the name that the ledger is to have.
        unfinished: the one that it has.
        ledger: open for writing.
        lease: of ``path``.
    """

    def __init__(self, path: Path, unfinished: Path, ledger: SqliteLedger, lease: FileLease) -> None:
        self._path = path
        self._unfinished = unfinished
        self._lease = lease
        self.ledger = ledger

    async def finish(self) -> None:
        """See :meth:`provisioner.ledger.location.Building.finish`."""
        # Closing folds the log into the file, which is then all there is to rename.
        await self.ledger.close()
        await anyio.to_thread.run_sync(self._rename)

    def _rename(self) -> None:
        with errors_at(self._path):
            self._lease.check()
            # Again: the first look was minutes ago, and renaming would silently replace what is there.
            _refuse_taken(self._path)
            self._unfinished.rename(self._path)
            sync_directory(self._path)
            self._lease.keep(self.ledger.ledger_id)

    async def close(self) -> None:
        """Leave what was not finished."""
        with contextlib.suppress(LedgerError):
            await self.ledger.close()

    async def discard(self) -> None:
        """Delete what was not finished."""
        await self.close()
        with contextlib.suppress(OSError):
            discard(self._unfinished)


def _held(leases: Leases) -> FileLease:
    if not isinstance(leases, FileLease):
        raise TypeError(f"a ledger in a file needs the lease of its file, not {leases!r}")
    return leases


def _refuse_taken(path: Path) -> None:
    refuse_orphaned_log(path)
    if path.exists():
        raise UsageError(
            "there is a ledger here already",
            where=str(path),
            hint="Move it away first, or name another place",
        )
