"""Notices that a ledger's files were deleted or replaced while they are open."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from provisioner.errors import LedgerError

if TYPE_CHECKING:
    from pathlib import Path


CHECK_EVERY_S = 0.02
"""Between two looks. Each is three system calls that release the GIL, which a busy event loop may keep for 5 ms after:
at every commit they cost a tenth of it, and a file can be deleted right after a look anyway. The last look is at the
close, so that no run ends as if all were well."""


class Watch:
    """Remembers which files the names of a ledger lead to.

    An open file outlives its name: commits to it succeed, and are gone with the process. The log and its index are
    watched too, for the latest commits are in the log alone, and without the index two processes do not see each other.

    Args:
        path: of a ledger that is open for writing and has been written to, so that all its files are there.
    """

    def __init__(self, path: Path) -> None:
        self._files = {name: _identity(name) for name in (str(path), f"{path}-wal", f"{path}-shm")}
        self._checked_at = float("-inf")

    def check(self) -> None:
        """As :meth:`look`, unless the last look was just now.

        Raises:
            LedgerError: as :meth:`look`.
        """
        now = time.monotonic()
        if now - self._checked_at >= CHECK_EVERY_S:
            self.look()
            self._checked_at = now

    def look(self) -> None:
        """Make sure that the names still lead to the files that are open.

        Raises:
            LedgerError: one does not.
        """
        for name, identity in self._files.items():
            if _identity(name) != identity:
                raise LedgerError(
                    "the ledger was deleted or replaced while the run was using it",
                    where=name,
                    hint="Before the next run put it back, or rebuild it from AWS with `provisioner rebuild`",
                )


def _identity(name: str) -> tuple[int, int] | None:
    try:
        found = os.stat(name)  # noqa: PTH116  on the way of every commit: a Path would cost as much as the call
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
