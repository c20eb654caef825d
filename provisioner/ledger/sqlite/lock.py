"""The run lock: one run at a time works on a ledger.

``flock`` on a file beside the ledger. The kernel frees it when its holder dies, however it dies, and a stopped holder
keeps it. The file is never deleted: a lock on a deleted name excludes nobody.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import anyio
import msgspec

from provisioner.errors import LedgerError, LedgerLockedError
from provisioner.ledger.sqlite.filesystem import refuse_network_file_system

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

CHECK_EVERY_S = 0.02
"""Between two looks at the file: two system calls for each create would cost as much as its signature."""
POLL_S = 0.1
"""Between two tries. A blocking flock could not be cancelled."""


class Holder(msgspec.Struct, frozen=True):
    """Who holds the lock.

    Attributes:
        pid: of its process.
        host: the name of its machine or container.
        started_at: when it took the lock, seconds since the epoch.
    """

    pid: int
    host: str
    started_at: float


class RunLock:
    """Keeps other runs away from the ledger at ``path``, as an async context manager.

    Args:
        path: of the ledger; the lock is ``<path>.lock``, beside the file that ``path`` leads to.
        timeout_s: how long to wait for another holder, 0 not to wait.
        now: the wall clock, seconds since the epoch.
    """

    def __init__(self, path: Path, timeout_s: float = 0.0, *, now: Callable[[], float] = time.time) -> None:
        real = os.path.realpath(path)
        self.path = Path(f"{real}.lock")
        self._timeout_s = timeout_s
        self._now = now
        self._descriptor: int | None = None
        self._checked_at = float("-inf")

    async def __aenter__(self) -> Self:
        """Take the lock.

        Raises:
            LedgerLockedError: another process has it, still after ``timeout_s``.
            LedgerError: it cannot be had here: a network file system, or no permission.
        """
        refuse_network_file_system(self.path)
        deadline = anyio.current_time() + self._timeout_s
        while not self._try():
            left_s = deadline - anyio.current_time()
            if left_s <= 0:
                raise self._locked()
            await anyio.sleep(min(POLL_S, left_s))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def check(self) -> None:
        """Make sure that the lock still excludes others; cheap enough to ask before every commit.

        Raises:
            LedgerError: somebody deleted or replaced the lock file, so that another run may have begun.
        """
        now = time.monotonic()
        if now - self._checked_at < CHECK_EVERY_S and self._descriptor is not None:
            return
        if self._descriptor is None or not self._is_current(self._descriptor):
            raise LedgerError(
                "the lock file was deleted or replaced during the run",
                where=str(self.path),
                hint="Leave it where it is: it is freed by itself. Run again",
            )
        self._checked_at = now

    def _try(self) -> bool:
        """Take the lock if it is free."""
        while True:
            descriptor = self._open()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_current(descriptor):
                    self._write(descriptor)
                    self._descriptor = descriptor
                    return True
            except BlockingIOError:
                return False
            except OSError as error:
                raise self._unusable(error) from error
            finally:
                if self._descriptor is None:
                    os.close(descriptor)

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise self._unusable(error) from error

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def _write(self, descriptor: int) -> None:
        text = msgspec.json.encode(Holder(os.getpid(), socket.gethostname(), self._now()))
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text, 0)

    def _locked(self) -> LedgerLockedError:
        try:
            holder = msgspec.json.decode(self.path.read_bytes(), type=Holder)
        except (OSError, msgspec.DecodeError):
            why = "it has not told its name"
        else:
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(holder.started_at))
            why = f"process {holder.pid} on {holder.host}, since {since}"
        return LedgerLockedError(
            "another run holds the ledger",
            where=str(self.path),
            why=why,
            hint="Wait for it with --lock-timeout, or end it; the lock is then freed by itself",
        )

    def _unusable(self, error: OSError) -> LedgerError:
        return LedgerError(
            "the run lock cannot be taken",
            where=str(self.path),
            why=error.strerror or str(error),
            hint="Check that the directory exists and that you may write there",
        )
