"""The lease on a SQLite ledger: a run lock on a file beside it.

``flock`` on a file beside the ledger. The kernel releases it when its holder dies, however it dies, and a stopped
holder keeps it. A run that ended leaves the file: it says which ledger is here, so that a ledger that has vanished is
not silently replaced by an empty one. Only a start that made the file and then could not open a ledger removes it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Self

import anyio
import msgspec

from provisioner.errors import LedgerError, LedgerLockedError
from provisioner.ledger.lease import OvertakenError, how_to_wait
from provisioner.ledger.sqlite.database import errors_at, holds_nothing
from provisioner.ledger.sqlite.filesystem import refuse_unsafe

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import TracebackType

CHECK_EVERY_S = 0.02
"""Between two looks at the file: two system calls for each create would cost as much as its signature."""
LOOK_S = 0.05
"""How long a lock may only seem to be held, by somebody who looks whether it is: see :func:`_seems_held`."""
POLL_S = 0.1
"""Between two tries. A blocking flock could not be cancelled."""


class Holder(msgspec.Struct, frozen=True):
    """What the lock file says.

    Attributes:
        pid: of the process that took the lock last.
        host: the name of its machine or container.
        started_at: when it took the lock, seconds since the epoch.
        ledger_id: of the ledger that was opened here last; "" as long as none was.
        left: the condition in which that run left it; "" while it is under way, and if it died.
    """

    pid: int
    host: str
    started_at: float
    ledger_id: str = ""
    left: str = ""


class FileLease:
    """Keeps other runs away from the ledger at ``path``, as an async context manager: the leases of all its targets.

    Args:
        path: of the ledger; the lock is ``<path>.lock``, beside the file that ``path`` leads to.
        timeout_s: see :meth:`provisioner.ledger.location.Location.lease`.
        now: the wall clock, seconds since the epoch.

    Attributes:
        left: the condition in which the last holder left the ledger; "" if it does not say.
    """

    def __init__(self, path: Path, timeout_s: float | None = None, *, now: Callable[[], float] = time.time) -> None:
        self._ledger = Path(os.path.realpath(path))
        self.path = Path(f"{self._ledger}.lock")
        self._timeout_s = timeout_s
        self._now = now
        self._descriptor: int | None = None
        self._made = False
        self._holder = Holder(0, "", 0.0)
        self._checked_at = float("-inf")
        self.left = ""

    async def __aenter__(self) -> Self:
        """Take the lock.

        Raises:
            LedgerLockedError: another process has it, still after ``timeout_s``.
            LedgerError: it cannot be had here, or a ledger would not be safe here.
        """
        refuse_unsafe(self._ledger)
        deadline = anyio.current_time() + max(self._timeout_s or 0.0, LOOK_S)
        while not self._try():
            left_s = deadline - anyio.current_time()
            if left_s <= 0:
                raise self._locked()
            await anyio.sleep(min(POLL_S, left_s))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._descriptor is None:
            return
        try:
            # While the lock is held: whoever waits for this file finds that its name is gone, and makes a new one.
            with errors_at(self.path):
                if self._made and not self._holder.ledger_id and self._is_current(self._descriptor):
                    self.path.unlink(missing_ok=True)
        finally:
            os.close(self._descriptor)
            self._descriptor = None

    async def take(self, targets: Collection[str]) -> None:
        """See :meth:`provisioner.ledger.lease.Leases.take`: they are held already."""

    def of(self, target: str) -> FileLease:
        """See :meth:`provisioner.ledger.lease.Leases.of`."""
        del target
        return self

    def look(self) -> str:
        """Who holds the lock, "" for nobody. Neither takes it nor writes to its file.

        Raises:
            LedgerError: the lock could not be taken here, or the ledger that was here is gone.
        """
        refuse_unsafe(self._ledger)
        try:
            if _seems_held(self.path):
                return self._read_holder()
        except OSError as error:
            raise self._unusable(error) from error
        self._holder = _read(self.path)
        self.refuse_vanished()
        return ""

    def check(self) -> None:
        """See :meth:`provisioner.ledger.lease.Lease.check`."""
        now = time.monotonic()
        if now - self._checked_at < CHECK_EVERY_S and self._descriptor is not None:
            return
        if self._descriptor is None:
            raise LedgerError("the run lock is not held", where=str(self.path))
        with errors_at(self.path):
            current = self._is_current(self._descriptor)
            replaced = not current and self.path.exists()
        if replaced:
            raise overtaken(str(self.path))
        if not current:
            raise LedgerError(
                "the lock file was deleted during the run",
                where=str(self.path),
                hint="Leave it where it is: the lock is released when its run ends. Run again",
            )
        self._checked_at = now

    async def confirm(self) -> None:
        """See :meth:`provisioner.ledger.lease.Lease.confirm`."""
        self.check()

    def refuse_vanished(self) -> None:
        """Make sure that no new ledger takes the place of one that was here.

        Raises:
            LedgerError: a ledger was opened here before, and its file is gone or empty now, or lacks its log.
        """
        with errors_at(self._ledger):
            vanished = bool(self._holder.ledger_id) and holds_nothing(self._ledger)
        if vanished:
            rebuild = f"provisioner rebuild --ledger {quote(str(self._ledger))} --ledger-id {self._holder.ledger_id}"
            raise LedgerError(
                "the ledger is gone or empty",
                where=str(self._ledger),
                why=f"{self.path.name} says that ledger {self._holder.ledger_id} was here",
                hint=f"Put it back, or rebuild it from AWS with `{rebuild}`. To begin with a new one, delete the lock "
                "file while no run is under way",
            )

    def keep(self, ledger_id: str, left: str = "") -> None:
        """Write into the lock file that the ledger with this id is here.

        Args:
            ledger_id: of the ledger.
            left: its condition at the end of the run. If the next run finds it in another one, somebody has put another
                copy in its place, and what it says of AWS may be out of date.

        Raises:
            LedgerError: the lock is not held, or its file cannot be written.
        """
        if self._descriptor is None:
            raise LedgerError("the run lock is not held", where=str(self.path))
        self._write(self._descriptor, msgspec.structs.replace(self._holder, ledger_id=ledger_id, left=left))

    def _try(self) -> bool:
        """Take the lock if it is free."""
        while True:
            descriptor = self._open()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_current(descriptor):
                    before = _read(self.path)
                    self._write(descriptor, Holder(os.getpid(), socket.gethostname(), self._now(), before.ledger_id))
                    self._descriptor, self.left = descriptor, before.left
                    return True
            except BlockingIOError:
                return False
            except OSError as error:
                raise self._unusable(error) from error
            finally:
                if self._descriptor is None:
                    os.close(descriptor)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            try:
                descriptor = os.open(self.path, flags | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                return os.open(self.path, flags | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        self._made = True
        return descriptor

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def _write(self, descriptor: int, holder: Holder) -> None:
        text = msgspec.json.encode(holder)
        try:
            # Written before it is cut to size, so that no reader and no crash finds an empty file.
            os.pwrite(descriptor, text, 0)
            os.ftruncate(descriptor, len(text))
        except OSError as error:
            raise self._unusable(error) from error
        self._holder = holder

    def _locked(self) -> LedgerLockedError:
        return LedgerLockedError(
            "another run holds the ledger",
            where=str(self.path),
            why=self._read_holder(),
            hint=f"{how_to_wait(self._timeout_s)}, or end it; the lock is then released by itself",
        )

    def _read_holder(self) -> str:
        holder = _read(self.path)
        if not holder.pid:
            return "the lock file does not say which process it is"
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(holder.started_at))
        return f"process {holder.pid} on {holder.host}, since {since}"

    def _unusable(self, error: OSError) -> LedgerError:
        return LedgerError(
            "the run lock cannot be taken",
            where=str(self.path),
            why=error.strerror or str(error),
            hint="Check that the directory exists and that you may write there",
        )


def overtaken(where: str = "") -> OvertakenError:
    """The error of a run whose lock file is another's by now."""
    return OvertakenError(
        where,
        why="the lock file was deleted or replaced while this run held it",
        hint="Leave the lock file where it is, and run again when the other run has ended",
    )


def is_held(ledger: Path) -> bool:
    """Whether somebody holds the lock of ``ledger``, whose symbolic links are resolved; also if that cannot be said."""
    try:
        return _seems_held(Path(f"{ledger}.lock"))
    except OSError:
        return True


def _seems_held(lock: Path) -> bool:
    """Whether somebody holds the lock on the file ``lock``, which need not exist and is never made.

    The kernel says so only by refusing it, so the lock is taken for an instant, shared. Whoever wants it in that
    instant tries once more, for :data:`LOOK_S`.

    Raises:
        OSError: that cannot be said.
    """
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _read(path: Path) -> Holder:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return Holder(0, "", 0.0)
