"""The peak memory of a program, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys

_REPORT = """
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM:")))
"""
# Not getrusage: its maximum goes on over exec, so that a child begins with that of the process that started it.


def peak_mib(program: str, *arguments: str) -> tuple[str, float]:
    """What ``program`` printed, and its peak resident memory in MiB (Linux)."""
    command = [sys.executable, "-c", program + _REPORT, *arguments]
    *printed, kib = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return "\n".join(printed), int(kib) / 1024
