"""The clocks of a run. Handed to whoever decides by time, so that tests hand in others."""

from __future__ import annotations

import time
from pathlib import Path

from provisioner.core.entry import Stamp


class Clock:
    """Monotonic time for waiting, wall time for people, and stamps that survive the process.

    Stamps use CLOCK_BOOTTIME, which goes on while the machine is suspended, and the boot id of the kernel. Where
    either is missing (not Linux) a stamp has no boot, so that no time is ever taken to have passed since.
    """

    def __init__(self) -> None:
        self._boot = _boot_id()

    # No method that calls it: a create asks five times.
    monotonic = staticmethod(time.monotonic)
    """Seconds on a clock that never jumps, for this process."""

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def stamp(self) -> Stamp:
        """Now, in a form that another process can compare."""
        ticks = time.clock_gettime(time.CLOCK_BOOTTIME) if self._boot else 0.0
        return Stamp(wall=time.time(), boot=self._boot, ticks=ticks)


def _boot_id() -> str:
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return ""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
