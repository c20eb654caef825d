"""Serializes the creates that the circuit breaker admits one at a time."""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

import anyio

from provisioner.engine.breaker import Admission

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from provisioner.engine.breaker import Breaker

_TOGETHER: AbstractAsyncContextManager[None] = nullcontext()


class Probation:
    """One create at a time for a role, or a target, on probation.

    Args:
        breaker: of the target.
        sleep: sleeps for some seconds, at most until the run ends.
    """

    def __init__(self, breaker: Breaker, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._breaker = breaker
        self._sleep = sleep
        self._locks: dict[str, anyio.Lock] = {}

    def admitted(self, admission: Admission, role: str) -> AbstractAsyncContextManager[None]:
        """The context in which a create of ``role`` with this ``admission`` may be sent."""
        if admission is Admission.ROLE_PROBE:
            return self._locks.setdefault(role, anyio.Lock())
        return self._probe() if admission is Admission.PROBE else _TOGETHER

    @asynccontextmanager
    async def _probe(self) -> AsyncIterator[None]:
        async with self._locks.setdefault("", anyio.Lock()):
            await self._sleep(self._breaker.probe_delay_s())
            yield
