"""The wish to end a run early."""

from __future__ import annotations

import asyncio

from provisioner.stop import Stop
from tests.virtual_time import virtual_time


@virtual_time
async def test_nobody_asked() -> None:
    """A fresh stop is not requested and has no reason."""
    stop = Stop()

    assert not stop.requested
    assert stop.reason == ""


@virtual_time
async def test_the_first_reason_stays() -> None:
    """Who asks first is told; a second wish changes nothing."""
    stop = Stop()
    stop.request("signal SIGTERM")
    stop.request("the deadline is over")

    assert stop.requested
    assert stop.reason == "signal SIGTERM"


@virtual_time
async def test_everybody_who_waits_is_woken() -> None:
    """A request wakes all who wait for it, and nobody waits who comes later."""
    stop = Stop()
    waiting = [asyncio.create_task(stop.wait()) for _ in range(3)]
    await asyncio.sleep(10)
    stop.request("enough")
    await asyncio.gather(*waiting)
    await stop.wait()

    assert asyncio.get_running_loop().time() == 10


@virtual_time
async def test_a_pause_lasts_as_long_as_it_says() -> None:
    """Without a request a pause is a sleep, and comes back in peace."""
    await Stop().pause(30)

    assert asyncio.get_running_loop().time() == 30


@virtual_time
async def test_a_request_ends_a_pause() -> None:
    """A pause ends when the stop is requested, and takes no time from then on."""
    stop = Stop()
    asyncio.get_running_loop().call_later(5, stop.request, "enough")
    await stop.pause(30)
    await stop.pause(30)

    assert asyncio.get_running_loop().time() == 5
