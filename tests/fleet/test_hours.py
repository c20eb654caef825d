"""A run that crosses from one time of day to the next."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from provisioner import aws
from provisioner.config.settings import PaceSettings, Settings
from provisioner.config.target import Target
from provisioner.engine.observer import Observer
from provisioner.fleet.fleet import Fleet
from provisioner.fleet.places import Claims, Places
from provisioner.ledger.unwritten import NoLeases
from provisioner.pacing.observed import Learned
from tests.fakes import EPOCH_S, Endpoint, FakeClock, FakeLedger
from tests.virtual_time import virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


def clock_time(wall: float) -> str:
    """The local time of day."""
    return time.strftime("%H:%M", time.localtime(wall))


@virtual_time
async def test_a_run_changes_its_pace_with_the_time_of_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds after the time of a share it applies, and the run begins with the share of its hour."""
    ledger, endpoint, change = FakeLedger(), Endpoint(), EPOCH_S // 60 * 60 + 120.0
    ledger.paces["here", "create"] = msgspec.json.encode(Learned(10.0, EPOCH_S, 500, last_start=EPOCH_S))
    hours = {clock_time(change - 3600.0): 0.3, clock_time(change): 1.0}

    @asynccontextmanager
    async def connect(*_: object) -> AsyncIterator[aws.Aws]:
        yield endpoint.aws()

    monkeypatch.setattr(aws, "connect", connect)
    fleet = Fleet(
        settings=Settings(pace=PaceSettings(hours=hours)),
        ledger=ledger,
        leases=NoLeases(),
        clock=FakeClock(),
        observers={"here": Observer()},
        places=Places(ledger, Claims({}, {})),
    )

    async with fleet.open(Target(name="here")) as target:
        await asyncio.sleep(change - EPOCH_S - 1.0)
        before = target.creates.statistics()["rate"]
        await asyncio.sleep(3.0)
        after = target.creates.statistics()["rate"]

    assert (before, after) == (3.0, 10.0)
