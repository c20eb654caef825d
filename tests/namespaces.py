"""Namespaces of the kernel, in which a test gives a process another clock, other mounts or the process id 1."""

from __future__ import annotations

import shutil
import subprocess

import pytest


def unshare(*options: str) -> list[str]:
    """What to put before a command, so that it runs in namespaces of its own.

    Where that cannot be done the test is skipped, and the last lines of the run say NOT TESTED: its absence is no
    failure, but nobody can take it for a success either.
    """
    command = ["unshare", *options]
    if shutil.which("unshare") is None:
        pytest.skip(f"NOT TESTED, there is no unshare (of util-linux) here: {' '.join(command)}")
    done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"NOT TESTED, this is not permitted here: {' '.join(command)}: {done.stderr.strip()}")
    return command
