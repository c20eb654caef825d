"""How long a call to the database is tried again, on a clock that goes on while the machine sleeps."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

import psycopg

from provisioner.ledger.postgres.connection import Fault, LostError, fault_of, is_transient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from provisioner.ledger.postgres.connection import Session

T = TypeVar("T")
PATIENCE_S = 120.0
"""So long a commit or a question is tried again while the database does not answer: a failover of a managed database
takes one to two minutes."""
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def ticks() -> float:
    """Seconds, those in which the machine slept included where the system counts them."""
    return time.clock_gettime(_CLOCK)


class Patience:
    """How long to go on trying, and how long to wait between two tries.

    Args:
        session: whose errors are judged.
        patience_s: see :data:`PATIENCE_S`.
    """

    def __init__(self, session: Session, patience_s: float) -> None:
        self._session = session
        self._patience_s = patience_s
        self._began_at: float | None = None
        self._pause_s = FIRST_PAUSE_S

    async def until_answered(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What ``attempt`` returns, which is made again while the database does not answer.

        Raises:
            LedgerError: see :meth:`wait`.
        """
        while True:
            try:
                return await attempt()
            except (psycopg.Error, LostError, OSError) as error:
                await self.wait(error)

    async def wait(self, error: Exception) -> None:
        """Wait until it is worth trying again.

        Raises:
            LedgerError: it is not, for this ``error``.
        """
        fault = fault_of(error)
        if not is_transient(fault):
            raise self._session.database.error(error) from error
        if fault is Fault.LOST:
            self._session.drop()
        self._began_at = ticks() if self._began_at is None else self._began_at
        if ticks() - self._began_at >= self._patience_s:
            raise self._session.database.error(error) from error
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
