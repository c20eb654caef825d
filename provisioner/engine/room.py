"""Room in the quota: at a full quota, each deletion makes room for one create."""

from __future__ import annotations

import anyio


class Room:
    """Creates go ahead until the quota turns out to be full; then one for each algorithm that is deleted.

    Attributes:
        comes: whether deletions are under way or due, so that waiting for them is worth while.
    """

    def __init__(self) -> None:
        self._full = False
        self._places = 0
        self._due = 0
        self._changed = anyio.Event()

    @property
    def comes(self) -> bool:
        """See the class."""
        return self._due > 0 or self._places > 0

    def expect(self) -> None:
        """One more deletion is due."""
        self._due += 1

    def deleted(self, *, gone: bool) -> None:
        """A deletion that was due has ended; ``gone`` if there is one algorithm less."""
        self._due -= 1
        self._places += gone and self._full
        self._wake()

    def fill(self) -> None:
        """A create was refused: the quota is full."""
        self._full = True

    async def take(self) -> None:
        """Wait until a create may be sent. If no room comes it may be sent as well, to learn whether there is some."""
        while self._full and not self._places and self._due:
            await self._changed.wait()
        if self._places:
            self._places -= 1

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
