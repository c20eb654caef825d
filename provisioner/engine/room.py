"""Room in the quota: at a full quota, each deletion makes room for one create."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Iterator


class Room:
    """Creates go ahead until the quota turns out to be full; then one for each algorithm that is deleted.

    A replacement that is under way will be followed by the deletion of what it replaces, so it is waited for as well.
    """

    def __init__(self) -> None:
        self._full = False
        self._places = 0
        self._due = 0
        self._replacing = 0
        self._changed = anyio.Event()

    def comes(self, *, replaces: bool) -> bool:
        """Whether waiting for room is worth while for a create that was just refused; ``replaces`` if that replaces."""
        return self._due > 0 or self._places > 0 or self._replacing > replaces

    def expect(self) -> None:
        """One more deletion is due, or will be if a replacement that is about to be sent is created."""
        self._due += 1

    def deleted(self, *, gone: bool) -> None:
        """What was expected has ended; ``gone`` if there is one algorithm less."""
        self._due -= 1
        # Also before the quota turns out to be full: a create that was refused may have left before this deletion.
        self._places += gone
        self._wake()

    @contextmanager
    def replacing(self) -> Iterator[None]:
        """A replacement is under way inside, and when it succeeds its deletion is due by the end."""
        self._replacing += 1
        try:
            yield
        finally:
            self._replacing -= 1
            self._wake()

    def fill(self) -> None:
        """A create was refused: the quota is full."""
        self._full = True

    async def take(self) -> None:
        """Wait until a create may be sent. If no room comes it may be sent as well, to learn whether there is some."""
        while self._full and not self._places and (self._due or self._replacing):
            await self._changed.wait()
        if self._full and self._places:
            self._places -= 1

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
