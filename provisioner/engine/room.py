"""Room in the quota: at a full quota, each deletion makes room for one create."""

from __future__ import annotations

import anyio


class Room:
    """Creates go ahead until the quota turns out to be full; then one for each algorithm that is deleted.

    A replacement makes room as well, once it is created: the deletion of the old algorithm is due from then on.
    """

    def __init__(self) -> None:
        self._full = False
        self._places = 0
        self._due = 0
        self._changed = anyio.Event()

    def comes(self, *, besides: int = 0) -> bool:
        """Whether more deletions than ``besides`` are due, or one has just ended, so that waiting is worth while."""
        return self._due > besides or self._places > 0

    def expect(self) -> None:
        """One more deletion is due, or will be if a replacement that is about to be sent is created."""
        self._due += 1

    def deleted(self, *, gone: bool) -> None:
        """What was expected has ended; ``gone`` if there is one algorithm less."""
        self._due -= 1
        if gone:
            # As long as the quota is not full places are not taken; one create may have been refused before this.
            self._places = self._places + 1 if self._full else 1
        self._wake()

    def fill(self) -> None:
        """A create was refused: the quota is full."""
        self._full = True

    async def take(self) -> None:
        """Wait until a create may be sent. If no room comes it may be sent as well, to learn whether there is some."""
        while self._full and not self._places and self._due:
            await self._changed.wait()
        if self._full and self._places:
            self._places -= 1

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
