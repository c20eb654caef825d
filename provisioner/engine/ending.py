"""How a target's run ends early: a stop concerns all targets, a halt concerns one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

from provisioner.core.pause import resume_hint
from provisioner.engine.observer import Halt
from provisioner.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.core.pause import Pause
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
        self._paused = False
        self._until_paused: set[anyio.CancelScope] = set()

    def halt_target(self, halt: Halt) -> None:
        """Send nothing more to this target; the first reason stays."""
        if self.halt is None:
            self.halt = halt
            self._target.observer.target_halted(halt)
            self._close()

    async def watch(self) -> None:
        """Close the gate when the run is asked to stop."""
        await self.stop.wait()
        self._target.observer.stop_requested(self.stop.reason, self._target.creates.holders)
        self._close()

    async def watch_pause(self) -> None:
        """Halt the target when it is paused, and end what reads or waits for it."""
        self.halt_target(paused(self._target.name, await self._target.paused()))
        self._paused = True
        for scope in self._until_paused:
            scope.cancel()

    @contextmanager
    def until_paused(self) -> Iterator[anyio.CancelScope]:
        """Cancel what goes on inside when the target is paused, or at once if it already is."""
        with anyio.CancelScope() as scope:
            if self._paused:
                scope.cancel()
            self._until_paused.add(scope)
            try:
                yield scope
            finally:
                self._until_paused.remove(scope)

    async def sleep(self, seconds: float) -> None:
        """Sleep, at most until the run ends early."""
        with anyio.move_on_after(seconds):
            await self._began.wait()

    def _close(self) -> None:
        self._began.set()
        for gate in (self._target.creates, self._target.tags, self._target.deletes):
            gate.close()


def paused(target: str, pause: Pause) -> Halt:
    """The halt of a target that is paused: the work is left for a run after the pause."""
    return Halt(Reason.UNFINISHED, f"paused {pause.text}. {resume_hint(target)}", pause)
