"""The clocks of a run."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from provisioner.core.entry import Stamp
from provisioner.engine.clock import Clock
from tests.namespaces import unshare


def test_a_stamp_is_of_this_boot() -> None:
    """Two stamps of one machine are comparable: the second is younger by what has passed, and not before the first."""
    first, second = Clock().stamp(), Clock().stamp()

    assert first.boot == second.boot != ""
    assert 0.0 <= first.age_s(second) < 60.0


def test_the_clocks_are_those_of_the_machine() -> None:
    """Wall time and monotonic time lie between two readings of the machine's own."""
    clock = Clock()

    for ours, its in [(clock.wall, time.time), (clock.monotonic, time.monotonic)]:
        before = its()
        assert before <= ours() <= its()


def test_ticks_count_suspended_time() -> None:
    """A stamp's ticks are CLOCK_BOOTTIME, so that a machine that slept does not wait again."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME)

    assert before <= Clock().stamp().ticks <= time.clock_gettime(time.CLOCK_BOOTTIME)


STAMP = """
import msgspec
from provisioner.engine.clock import Clock
print(msgspec.json.encode(Clock().stamp()).decode())
"""


def stamp_in(*namespace: str) -> Stamp:
    """A stamp that a process takes in a time namespace of its own."""
    there = unshare("--time", "--fork", *namespace) if namespace else []
    done = subprocess.run([*there, sys.executable, "-c", STAMP], capture_output=True, check=True)
    return msgspec.json.decode(done.stdout, type=Stamp)


def test_stamps_of_two_time_namespaces_are_not_subtracted() -> None:
    """A container whose boot clock is shifted is as another machine; two with the same shift are one."""
    here, ahead, also_ahead = stamp_in(), stamp_in("--boottime", "86400"), stamp_in("--boottime", "86400")

    assert ahead.ticks - here.ticks > 80_000
    assert here.age_s(ahead) == ahead.age_s(here) == 0.0
    assert ahead.boot == also_ahead.boot
    assert 0.0 < ahead.age_s(also_ahead) < 60.0
    assert stamp_in("--monotonic", "86400").boot == here.boot


def test_without_a_boot_id_nothing_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a boot id from the kernel a stamp has no boot, and no time is assumed to have passed since."""

    def unreadable(*_args: Any, **_kwargs: Any) -> str:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", unreadable)
    stamp = Clock().stamp()

    assert (stamp.boot, stamp.ticks) == ("", 0.0)
    assert stamp.wall == pytest.approx(time.time(), abs=60)
    assert stamp.age_s(stamp) == 0.0


def test_without_a_boot_clock_nothing_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where the system has no clock that counts from the boot."""
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")

    assert Clock().stamp().boot == ""
