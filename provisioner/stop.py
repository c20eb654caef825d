"""The wish to end a run early, shared by all its targets."""

from __future__ import annotations

import anyio


class Stop:
    """Asked for once, by a signal or a deadline; everybody who sends or waits looks at it.

    Attributes:
        reason: why, for people; "" while nobody asked.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._event = anyio.Event()

    @property
    def requested(self) -> bool:
        """Whether the run is to drain."""
        return self._event.is_set()

    def request(self, reason: str) -> None:
        """Ask for a drain; the first reason stays."""
        if not self.requested:
            self.reason = reason
            self._event.set()

    async def wait(self) -> None:
        """Wait until a drain is asked for."""
        await self._event.wait()

    async def pause(self, seconds: float) -> None:
        """Sleep, but no longer than until a drain is asked for."""
        with anyio.move_on_after(seconds):
            await self._event.wait()
