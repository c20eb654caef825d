"""The wish to end a run early."""

from __future__ import annotations

import asyncio

import pytest

from provisioner.engine.stop import Stop
from tests.virtual_time import virtual_time


@virtual_time
async def test_nobody_asked() -> None:
    """A fresh stop is not requested and has no reason."""
    stop = Stop()

    assert not stop.requested
    assert stop.reason == ""


@virtual_time
async def test_the_first_reason_stays() -> None:
    """The first reason for a stop is kept; a second request changes nothing."""
    stop = Stop()
    stop.request("signal SIGTERM")
    stop.request("the deadline is over")

    assert stop.requested
    assert stop.reason == "signal SIGTERM"


@virtual_time
async def test_everybody_who_waits_is_woken() -> None:
    """A request wakes everything that waits for it, and later waits end at once."""
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


@virtual_time
async def test_what_hangs_ends_with_the_stop() -> None:
    """What waits inside ``ends`` is cancelled when its grace is over after the request, and without one at once."""
    stop, ended = Stop(), dict[float, float]()

    async def hang(grace_s: float) -> None:
        with stop.ends(grace_s) as scope:
            await asyncio.sleep(3600)
        assert scope.cancelled_caught
        ended[grace_s] = asyncio.get_running_loop().time()

    hanging = [asyncio.create_task(hang(grace_s)) for grace_s in (0.0, 24.0)]
    asyncio.get_running_loop().call_later(5, stop.request, "enough")
    await asyncio.gather(*hanging)

    assert ended == {0.0: 5.0, 24.0: 29.0}


@virtual_time
async def test_what_begins_after_the_stop_has_its_grace_still() -> None:
    """What begins to wait when the stop was requested already has the same grace, from then on."""
    stop = Stop()
    stop.request("enough")
    await asyncio.sleep(10)
    for grace_s in (24.0, 0.0):
        with stop.ends(grace_s):
            await asyncio.sleep(3600)

    assert asyncio.get_running_loop().time() == 34


@virtual_time
async def test_what_ends_by_itself_is_left_alone() -> None:
    """Without a request nothing is cancelled, and a request after the end cancels nothing."""
    stop = Stop()
    with stop.ends() as scope:
        await asyncio.sleep(10)
    stop.request("enough")
    await asyncio.sleep(10)

    assert not scope.cancelled_caught
    assert not stop._graces
    assert asyncio.get_running_loop().time() == 20


@virtual_time
async def test_what_only_waits_ends_with_the_wish() -> None:
    """A wait that a drain ends is cancelled when a drain is requested, or at once if it already is."""
    stop, loop = Stop(), asyncio.get_running_loop()
    loop.call_later(10.0, stop.request, "enough")

    with stop.ends() as early:
        await asyncio.sleep(3600)
    with stop.ends() as late:
        await asyncio.sleep(3600)

    assert (early.cancelled_caught, late.cancelled_caught) == (True, True)
    assert loop.time() == 10.0


@virtual_time
async def test_what_hangs_ends_after_its_grace() -> None:
    """Work has its grace from the wish on, and is cut then; work that ends before is not touched."""
    stop, loop = Stop(), asyncio.get_running_loop()
    loop.call_later(10.0, stop.request, "enough")

    with stop.ends(24.0) as quick:
        await asyncio.sleep(20.0)
    with stop.ends(24.0) as hanging:
        await asyncio.sleep(3600)

    assert (quick.cancelled_caught, hanging.cancelled_caught) == (False, True)
    assert loop.time() == 44.0


@virtual_time
async def test_what_ends_the_run_has_no_grace_of_its_own() -> None:
    """The last steps of a run share one grace, which counts from the wish, also when they begin after it."""
    stop, loop = Stop(), asyncio.get_running_loop()
    loop.call_later(10.0, stop.request, "enough")
    await asyncio.sleep(30.0)

    for _ in range(2):
        with stop.ends_by(24.6) as closing:
            await asyncio.sleep(3600)
        assert closing.cancelled_caught

    assert loop.time() == pytest.approx(34.6)
