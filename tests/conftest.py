"""For all tests: hypothesis draws the same examples in every run, so that a red suite is red again."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Generator

# On a busy machine examples are drawn slowly; that says nothing about the code.
settings.register_profile(
    "deterministic", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("deterministic")

# A background job of a shell ignores SIGINT, and so would every process that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Some containers set it. Each worker, and each process that a test starts, would compile all modules again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Every fact is flushed to the disk, and hundreds of ledgers are made: with ``tmp_path`` in memory that takes no time.
# What a killed process has written stays there as well; power failures are simulated in tests/ledger.
_MEMORY = Path("/dev/shm")  # noqa: S108  pytest makes a private folder in it
_NEEDED = 4 * 2**30
"""Bytes: a run leaves 150 MB, and pytest keeps those of three runs."""
if (
    os.access(_MEMORY, os.W_OK)
    and not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC
    and shutil.disk_usage(_MEMORY).free > _NEEDED
):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", os.fspath(_MEMORY))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected lives to the end: the garbage collector need not look at all of it, again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_runtest_teardown() -> None:
    """No test gets the log of the one before it in its worker."""
    structlog.reset_defaults()
