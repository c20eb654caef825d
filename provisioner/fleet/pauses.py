"""Which targets of a run are paused: what the ledger says, looked at now and then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from provisioner.core.pause import LOOK_EVERY_S
from provisioner.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.core.pause import Pause
    from provisioner.engine.clock import Clock
    from provisioner.ledger import Ledger


class Pauses:
    """The pauses that apply now.

    Args:
        ledger: that has them.
        clock: of the run.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._known: Mapping[str, Pause] = {}
        self._changed = anyio.Event()

    async def look(self) -> None:
        """Read them.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        self._known = await self._ledger.pauses()
        self._changed.set()
        self._changed = anyio.Event()

    async def keep_looking(self) -> None:
        """Read them again and again; until the ledger fails, of which whatever writes to it tells."""
        while True:
            await anyio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except LedgerError:
                return

    def of(self, target: str) -> Pause | None:
        """The pause of ``target``; None when it is not paused."""
        pause = self._known.get(target)
        return pause if pause is not None and pause.until > self._clock.wall() else None

    async def wait(self, target: str) -> Pause:
        """Wait until ``target`` is paused."""
        while (pause := self.of(target)) is None:
            await self._changed.wait()
        return pause
