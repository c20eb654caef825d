"""The reader thread of the SQLite store."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.ledger.sqlite.reads import LOOK_S, MUCH, TOGETHER, WAIT_S, Reads

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def wakes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[object]]:
    """Notes, from now on, each time that a thread wakes the event loop."""

    def watch() -> list[object]:
        loop, seen = asyncio.get_running_loop(), list[object]()
        wake = loop.call_soon_threadsafe

        def noted(*args: Any) -> asyncio.Handle:
            seen.append(args)
            return wake(*args)

        monkeypatch.setattr(loop, "call_soon_threadsafe", noted)
        return seen

    return watch


async def test_what_is_asked_at_once_is_read_in_one_go(wakes: Callable[[], list[object]]) -> None:
    """Those who ask together wake the thread once, and are woken once; a crowd in a few goes, in its order."""
    reads, seen, order = Reads(), wakes(), list[int]()

    def note(number: int) -> int:
        order.append(number)
        return -number

    found = await asyncio.gather(*[reads.read(partial(note, number)) for number in range(3 * TOGETHER)])

    assert found == [-number for number in range(3 * TOGETHER)]
    assert order == sorted(order)
    assert len(seen) == 3
    await reads.last(lambda: None)


async def test_what_is_asked_while_much_is_asked_waits_for_company(
    monkeypatch: pytest.MonkeyPatch, wakes: Callable[[], list[object]]
) -> None:
    """Of many that ask one thing after another, a few at different times share a go; one alone never waits."""
    now = 0.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    waits = list[float]()
    later = asyncio.get_running_loop().call_later

    def noted(delay: float, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        nonlocal now
        waits.append(delay)
        handle = later(delay, *args, **kwargs)
        now += delay
        return handle

    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", noted)
    reads = Reads()
    for _ in range(3):
        await reads.read(lambda: None)
        now += 1.5 * LOOK_S
    assert not waits

    await asyncio.gather(*[reads.read(lambda: None) for _ in range(MUCH)])
    now += 1.5 * LOOK_S
    seen = wakes()
    first = asyncio.create_task(reads.read(lambda: None))
    await asyncio.sleep(0)
    await asyncio.gather(first, reads.read(lambda: None))
    assert waits == [WAIT_S]
    assert len(seen) == 1

    now += 2 * LOOK_S
    await reads.read(lambda: None)
    assert waits == [WAIT_S]
    await reads.last(lambda: None)


async def test_a_failure_is_the_askers_own() -> None:
    """What one read raises reaches whoever asked for it, and nobody else, also beside one who has gone."""
    reads = Reads()
    gone = asyncio.create_task(reads.read(lambda: 1))
    failing = asyncio.create_task(reads.read(lambda: 1 // 0))
    other = asyncio.create_task(reads.read(lambda: 2))
    await asyncio.sleep(0)
    gone.cancel()

    assert await other == 2
    with pytest.raises(ZeroDivisionError):
        await failing
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert await reads.read(lambda: 3) == 3
    await reads.last(lambda: None)


async def test_the_last_work_comes_after_all_reads() -> None:
    """What was asked for before the end is answered, and then the thread ends."""
    reads, go_on, order = Reads(), threading.Event(), list[str]()
    first = asyncio.create_task(reads.read(go_on.wait))
    await asyncio.sleep(0)
    second = asyncio.create_task(reads.read(lambda: order.append("read")))
    await asyncio.sleep(0)
    ended = reads.last(lambda: order.append("last"))
    go_on.set()
    await ended
    await asyncio.gather(first, second)

    assert order == ["read", "last"]
