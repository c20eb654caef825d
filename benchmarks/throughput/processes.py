"""Starts processes and tells what they cost."""

from __future__ import annotations

import compileall
import contextlib
import os
import statistics
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]


LOOK_S = 0.005
"""Seconds between two looks at a process's memory."""


class Cost(msgspec.Struct, frozen=True):
    """Of one process, with the children that it waited for: seconds, CPU seconds; peak MiB of the largest of them."""

    wall_s: float
    cpu_s: float
    peak_mib: float


NOTHING = Cost(0.0, 0.0, 0.0)


def cost_of(
    command: Sequence[str], env: dict[str, str], cwd: Path = ROOT, stdout: IO[bytes] | int = subprocess.DEVNULL
) -> Cost:
    """Run ``command`` to its end.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    _compile()
    began = time.perf_counter()
    process = subprocess.Popen(command, env=env, cwd=cwd, stdout=stdout)
    peak_mib = 0.0
    # Not ru_maxrss, which begins with what this process had when it forked.
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        peak_mib = max(peak_mib, *map(_peak_mib, _family(process.pid)))
        time.sleep(LOOK_S)
    wall_s = time.perf_counter() - began
    _, status, usage = ended
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, peak_mib)


@cache
def _compile() -> None:
    """Keep the byte code of the modules, as pip does for an installed package: PYTHONDONTWRITEBYTECODE may be set."""
    for package in ("provisioner", "benchmarks"):
        compileall.compile_dir(ROOT / package, quiet=1)


def _family(pid: int) -> Iterator[int]:
    """A process and its descendants."""
    yield pid
    with contextlib.suppress(OSError):
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                yield from _family(int(child))


def _peak_mib(pid: int) -> float:
    """VmHWM; 0 once the process has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


class Rate(msgspec.Struct, frozen=True):
    """What one create costs once the client runs: the start-up is measured apart and taken off."""

    per_s: float
    cpu_ms: float
    peak_mib: float


def rate(small: Cost, large: Cost, creates: int) -> Rate:
    """Of the creates that ``large`` made more than ``small``."""
    wall_s = max(large.wall_s - small.wall_s, 1e-9)
    return Rate(creates / wall_s, (large.cpu_s - small.cpu_s) / creates * 1000, large.peak_mib)


class Summary(msgspec.Struct, frozen=True):
    """Several rounds: medians, and the spread of the rate."""

    per_s: float
    lowest: float
    highest: float
    cpu_ms: float
    peak_mib: float


def summarise(rates: Sequence[Rate]) -> Summary:
    """The rounds in one."""
    speeds = [r.per_s for r in rates]
    return Summary(
        statistics.median(speeds),
        min(speeds),
        max(speeds),
        statistics.median(r.cpu_ms for r in rates),
        max(r.peak_mib for r in rates),
    )


@contextlib.contextmanager
def stub(certificate: Path | None) -> Iterator[str]:
    """The server that answers at once, in a process of its own; its URL."""
    command = [sys.executable, "-m", "benchmarks.throughput.stub", *([str(certificate)] if certificate else [])]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        yield f"{'https' if certificate else 'http'}://localhost:{port}"
        process.stdin.close()
