"""How a target's run ends early: a stop concerns all targets, a halt concerns one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from provisioner.engine.observer import Halt
    from provisioner.engine.stop import Stop
    from provisioner.engine.target import OpenTarget


class Ending:
    """Closes the gates of everything that changes something when the run is asked to stop or the target halts.

    Either way nothing new is sent, what is in flight is awaited, and what is left stays planned.

    Attributes:
        halt: why this target sends nothing more, None while it may.
    """

    def __init__(self, target: OpenTarget, stop: Stop) -> None:
        self.halt: Halt | None = None
        self.stop = stop
        self._target = target
        self._began = anyio.Event()

    def halt_target(self, halt: Halt) -> None:
        """Send nothing more to this target; the first reason stays."""
        if self.halt is None:
            self.halt = halt
            self._target.observer.target_halted(halt)
            self._close()

    async def watch(self) -> None:
        """Close the gate when the run is asked to stop."""
        await self.stop.wait()
        self._target.observer.stop_requested(self.stop.reason, self._target.creates.in_flight)
        self._close()

    async def sleep(self, seconds: float) -> None:
        """Sleep, at most until the run ends early."""
        with anyio.move_on_after(seconds):
            await self._began.wait()

    def _close(self) -> None:
        self._began.set()
        for gate in (self._target.creates, self._target.tags, self._target.deletes):
            gate.close()
