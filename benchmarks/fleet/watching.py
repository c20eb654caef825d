"""Starts a client of a fleet, and measures it while it runs."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.throughput.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.fleet.world import World

LOOK_S = 0.05

TICKS = os.sysconf("SC_CLK_TCK")


class Looks(msgspec.Struct):
    """What a process had used at each look: seconds since the epoch, CPU seconds; and its peak memory."""

    began_at: float
    cpu: list[tuple[float, float]]
    peak_mib: float = 0.0

    def cpu_between(self, begin: float, end: float) -> float:
        """CPU seconds between two moments."""
        before = max((cpu for at, cpu in self.cpu if at <= begin), default=0.0)
        return max((cpu for at, cpu in self.cpu if at <= end), default=0.0) - before


class Found(msgspec.Struct, frozen=True):
    """One client on one fleet.

    Attributes:
        worst, median: share of its own limit that a healthy target reached, in the window.
        per_s: creates of all targets, in the window.
        create_ms: CPU for a create, in the window.
        first_s: from the start of the process to the first create, and to that of the last target to have one.
        peak_mib: memory.
    """

    worst: float
    median: float
    per_s: float
    create_ms: float
    first_s: tuple[float, float]
    peak_mib: float


def watch(command: Sequence[str], env: dict[str, str], cwd: Path = ROOT) -> Looks:
    """Run ``command`` to its end."""
    looks = Looks(time.time(), [])
    with subprocess.Popen(command, env=env, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while process.poll() is None:
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
                looks.cpu.append((time.time(), (int(fields[11]) + int(fields[12])) / TICKS))
                status = Path(f"/proc/{process.pid}/status").read_text()
                looks.peak_mib = max(looks.peak_mib, int(status.partition("VmHWM:")[2].split()[0]) / 1024)
            time.sleep(LOOK_S)
    return looks


def found(world: World, looks: Looks, begin_s: float, end_s: float) -> Found:
    """What the endpoints saw between two moments after the start."""
    begin, end = looks.began_at + begin_s, looks.began_at + end_s
    made = world.creates()
    counts = {account: sum(begin <= at < end for at in times) for account, times in made.items()}
    shares = [counts.get(each.account, 0) / (each.limit * (end - begin)) for each in world.healthy]
    total = sum(counts.values())
    firsts = [min(times) - looks.began_at for times in made.values()]
    return Found(
        worst=min(shares),
        median=statistics.median(shares),
        per_s=total / (end - begin),
        create_ms=looks.cpu_between(begin, end) / max(1, total) * 1000,
        first_s=(min(firsts, default=float("nan")), max(firsts, default=float("nan"))),
        peak_mib=looks.peak_mib,
    )
