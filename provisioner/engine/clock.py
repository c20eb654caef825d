"""The clocks of a run. They are passed to what decides by time, so that tests can pass others."""

from __future__ import annotations

import time
from pathlib import Path

from provisioner.core.entry import Stamp


class Clock:
    """Monotonic time for waiting, wall time for people, and stamps that survive the process.

    Stamps use CLOCK_BOOTTIME, which goes on while the machine is suspended, and the boot id of the kernel. A container
    may have a time namespace, whose boot clock is shifted while the boot id is the machine's (time_namespaces(7)): the
    shift is part of the boot, so that stamps of two such containers are never subtracted. Where boot clock or boot id
    is missing (not Linux) a stamp has no boot, and no time is ever assumed to have passed since.
    """

    def __init__(self) -> None:
        self._boot = _boot_id()

    # The function itself, not a method that calls it: a create reads it five times.
    monotonic = staticmethod(time.monotonic)
    """Seconds on a clock that never jumps, for this process."""

    cpu = staticmethod(time.process_time)
    """Seconds of CPU that this process has used."""

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def stamp(self) -> Stamp:
        """The current moment, in a form that another process can compare."""
        ticks = time.clock_gettime(time.CLOCK_BOOTTIME) if self._boot else 0.0
        return Stamp(wall=time.time(), boot=self._boot, ticks=ticks)


def _boot_id() -> str:
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        shift = _boot_clock_shift()
    except OSError:
        return ""
    return boot if shift == "0 0" else f"{boot}+{shift.replace(' ', '.')}"


def _boot_clock_shift() -> str:
    """Seconds and nanoseconds by which this process's time namespace shifts its boot clock, "0 0" where none does."""
    try:
        offsets = Path("/proc/self/timens_offsets").read_text(encoding="ascii")
    except FileNotFoundError:
        # A kernel before 5.6 has no time namespaces.
        return "0 0"
    lines = {name: " ".join(shift) for name, *shift in map(str.split, offsets.splitlines())}
    return lines.get("boottime", "0 0")
