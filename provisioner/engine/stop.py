"""The request to end a run early, shared by all its targets."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Iterator

DRAIN_S = 24.0
"""From the request to the end of everything that still waits. Schedulers kill after 30 s as a rule (Kubernetes, ECS).
The documentation promises 25, of which the last second is for commit and summary."""


class Stop:
    """Requested once, by a signal or a deadline, and checked by everything that sends or waits.

    Attributes:
        reason: why, for people; "" until it is requested.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._event = anyio.Event()
        self._requested_at = 0.0
        self._graces: dict[anyio.CancelScope, float] = {}

    @property
    def requested(self) -> bool:
        """Whether the run is to drain."""
        return self._event.is_set()

    def request(self, reason: str) -> None:
        """Request a drain; the first reason is kept. May be called in a callback of the loop, outside any task."""
        if not self.requested:
            self.reason = reason
            self._event.set()
            # Where sniffio is installed, anyio knows its loop inside tasks only.
            self._requested_at = asyncio.get_running_loop().time()
            for scope, grace_s in self._graces.items():
                scope.deadline = self._requested_at + grace_s

    async def wait(self) -> None:
        """Wait until a drain is requested."""
        await self._event.wait()

    @contextmanager
    def ends(self, grace_s: float = 0.0) -> Iterator[anyio.CancelScope]:
        """Cancel what waits inside, ``grace_s`` seconds after the drain is requested, or from now if it already is."""
        with anyio.CancelScope() as scope:
            if self.requested:
                scope.deadline = anyio.current_time() + grace_s
            self._graces[scope] = grace_s
            try:
                yield scope
            finally:
                del self._graces[scope]

    @contextmanager
    def ends_by(self, grace_s: float) -> Iterator[anyio.CancelScope]:
        """As :meth:`ends`, but ``grace_s`` always counts from the request: for what closes the run."""
        left_s = grace_s
        if self.requested:
            left_s = max(0.0, self._requested_at + grace_s - anyio.current_time())
        with self.ends(left_s) as scope:
            yield scope

    async def pause(self, seconds: float) -> None:
        """Sleep, at most until a drain is requested."""
        with anyio.move_on_after(seconds):
            await self._event.wait()
