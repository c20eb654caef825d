"""How many calls of all targets may have taken their turn and wait for their intent to be durable.

A turn is taken when a call may start at once. Where the ledger, the disk or the processor cannot keep up with all
targets, intents would pile up until each is too old to be used when it is durable: every one would be withdrawn, and
nothing would be sent. So the gates share these places. Without a free one a turn is not taken; it stays due, and the
gates that wait take one each, in turn: every target gets slower by the same share, and none stops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PLACES = 512
"""Two full commits of SQLite: one is written while the next is gathered. At 256 intents a second, which is a slow disk,
an intent is durable after two seconds."""


class Starts:
    """Places for calls between their turn and their intent's commit.

    Args:
        places: how many there are, infinite for no limit.
    """

    def __init__(self, places: float = PLACES) -> None:
        self._free = places
        # In order of arrival, each once.
        self._waiting: dict[Callable[[], None], None] = {}

    def take(self, grant: Callable[[], None]) -> bool:
        """Take a place; without a free one, have ``grant`` called when it may take the next."""
        if self._free > 0 and not self._waiting:
            self._free -= 1
            return True
        self._waiting[grant] = None
        return False

    def take_next(self) -> None:
        """Take the place for which a grant was called. It need not: then the next one is."""
        self._free -= 1

    def give_back(self) -> None:
        """A place is free again."""
        self._free += 1
        while self._free > 0 and self._waiting:
            grant = next(iter(self._waiting))
            del self._waiting[grant]
            grant()
