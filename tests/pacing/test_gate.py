"""The gate: the order of turns, retries before new calls, and the cap on calls in flight; in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tenacity import AsyncRetrying, retry_if_exception_type

from provisioner.pacing.beats import Beats
from provisioner.pacing.gate import Gate, GateClosedError
from provisioner.pacing.observed import Learned
from provisioner.pacing.pacer import PaceBounds, Pacer
from provisioner.pacing.starts import Starts
from tests.virtual_time import virtual_time


class Throttled(Exception):  # noqa: N818 - a reply, as the engine sees it
    """A 429."""


def now() -> float:
    """The loop's virtual time."""
    return asyncio.get_running_loop().time()


def make_gate(
    rate: float = 10.0, max_in_flight: int = 256, starts: Starts | None = None, beats: Beats | None = None
) -> Gate:
    """A gate that grants ``rate`` turns a second, however calls end."""
    bounds = PaceBounds(initial_rate=rate, max_rate=rate, share=1.0)
    return Gate(Pacer(bounds, now()), max_in_flight=max_in_flight, clock=now, starts=starts, beats=beats)


def counted_timers() -> list[float]:
    """The delay of each timer that is set from now on."""
    loop = asyncio.get_running_loop()
    exact, delays = loop.call_later, list[float]()

    def counting(delay: float, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        delays.append(delay)
        return exact(delay, *args, **kwargs)

    loop.call_later = counting  # type: ignore[method-assign,assignment]
    return delays


async def run_ready_tasks() -> None:
    """Run every task that is ready, without letting time pass."""
    for _ in range(5):
        await asyncio.sleep(0)


async def take_turns(gate: Gate, count: int) -> list[float]:
    """The start times of ``count`` turns in a row."""
    return [await gate.turn() for _ in range(count)]


@virtual_time
async def test_turns_come_at_the_pace() -> None:
    """Turns are one interval apart, and the first is due at once."""
    gate = make_gate(rate=10.0)

    turns = await take_turns(gate, 5)

    assert turns == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


@virtual_time
async def test_a_larger_share_wakes_a_caller_that_waits() -> None:
    """A share that grows applies at once: the caller at the head of the queue does not wait for the old turn."""
    bounds = PaceBounds(initial_rate=1.0, max_rate=0.0, share=0.01)
    gate = Gate(Pacer(bounds, now(), Learned(1.0, 0.0, 500)), max_in_flight=4, clock=now)
    await gate.turn()
    waiting = asyncio.ensure_future(gate.turn())
    await asyncio.sleep(10.0)

    gate.use(1.0)

    assert await waiting == pytest.approx(10.0)


@virtual_time
async def test_turns_are_first_come_first_served() -> None:
    """The caller that asks first starts first."""
    gate = make_gate()
    order: list[int] = []

    async def ask(name: int) -> None:
        await gate.turn()
        order.append(name)

    async with asyncio.TaskGroup() as tasks:
        for name in range(8):
            tasks.create_task(ask(name))

    assert order == list(range(8))


@virtual_time
async def test_a_turn_again_goes_before_the_turns_of_new_calls() -> None:
    """A throttled call that asks for another turn is served before every call that has not started yet."""
    gate = make_gate()
    order: list[str] = []

    async def ask(name: str, *, again: bool = False) -> None:
        await gate.turn(again=again)
        order.append(name)

    async with asyncio.TaskGroup() as tasks:
        for name in ("first", "second", "third"):
            tasks.create_task(ask(name))
        await run_ready_tasks()
        for name in ("again", "and again"):
            tasks.create_task(ask(name, again=True))

    assert order == ["first", "again", "and again", "second", "third"]


@virtual_time
async def test_the_estimate_of_the_next_turn_counts_the_throttled_calls_ahead() -> None:
    """A throttled call waits for the pacer's next turn and for the throttled calls before it, not for new calls."""
    gate = make_gate(rate=10.0)
    await gate.turn()
    waiting = [asyncio.create_task(gate.turn()) for _ in range(5)]
    waiting += [asyncio.create_task(gate.turn(again=True)) for _ in range(2)]
    await run_ready_tasks()

    estimate = gate.next_turn_in_s()
    own = asyncio.create_task(gate.turn(again=True))

    assert estimate == pytest.approx(0.3)
    assert await own == pytest.approx(0.3)
    await asyncio.gather(*waiting)


@virtual_time
async def test_a_turn_again_is_refused_once_the_gate_is_closed() -> None:
    """Closing wakes a throttled call that waits for another turn; nothing is sent for it."""
    gate = make_gate(rate=1.0)
    await gate.turn()
    waiting = asyncio.create_task(gate.turn(again=True))
    await run_ready_tasks()

    gate.close()

    with pytest.raises(GateClosedError):
        await waiting
    with pytest.raises(GateClosedError):
        await gate.turn(again=True)


@virtual_time
async def test_a_cancelled_waiter_does_not_hold_up_the_next() -> None:
    """A caller that is cancelled while it waits costs no turn."""
    gate = make_gate(rate=1.0)
    await gate.turn()
    gone, stays = asyncio.create_task(gate.turn()), asyncio.create_task(gate.turn())
    await run_ready_tasks()

    gone.cancel()

    assert await stays == pytest.approx(1.0)
    assert gone.cancelled()


@virtual_time
async def test_a_turn_granted_to_a_task_that_is_cancelled_in_the_same_tick_is_given_back() -> None:
    """A turn that its caller never received goes to the next in the queue, and no start is counted for it."""
    gate = make_gate(rate=1.0)
    await gate.turn()
    gone, stays = asyncio.create_task(gate.turn()), asyncio.create_task(gate.turn())
    await run_ready_tasks()
    # The same tick of the loop as the gate's timer, and after it.
    asyncio.get_running_loop().call_at(1.0 + 1e-10, gone.cancel)

    assert await stays == pytest.approx(1.0)
    assert gone.cancelled()


@virtual_time
async def test_an_unused_turn_goes_to_the_next() -> None:
    """The turn of a call that was not sent is granted to the next caller at once."""
    gate = make_gate(rate=1.0)
    started_at = await gate.turn()
    waiter = asyncio.create_task(gate.turn())
    await run_ready_tasks()

    gate.unused(started_at)

    assert await waiter == 0.0


@virtual_time
async def test_advice_freezes_those_who_wait_already() -> None:
    """When a reply asks for a pause, the head of the queue waits that long, although its timer was set before."""
    gate = make_gate(rate=10.0)
    started_at = await gate.turn()
    waiter = asyncio.create_task(gate.turn())
    await run_ready_tasks()

    gate.throttled(started_at, 3.0)

    assert await waiter == pytest.approx(3.0)


@virtual_time
async def test_no_drift_at_two_thousand_a_second() -> None:
    """Timers with a grain of one millisecond, up to two late, still give 2,000 turns a second and never more."""
    loop = asyncio.get_running_loop()
    exact = loop.call_later

    def coarse(delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        late = 0.001 + (hash(round(loop.time(), 4)) % 3) / 1000.0
        return exact(delay + late, callback, *args, context=context)

    loop.call_later = coarse  # type: ignore[method-assign,assignment]
    gate = make_gate(rate=2000.0)

    turns = await take_turns(gate, 20_000)

    assert turns[-1] == pytest.approx(10.0, abs=0.02)
    for first in range(0, 19_000, 500):
        assert turns[first + 1000] - turns[first] >= 0.5 - 0.021


@virtual_time
async def test_waiting_is_idle() -> None:
    """However many callers wait and however many calls end, the gate wakes up once for each turn."""
    gate = make_gate(rate=0.5)
    timers = counted_timers()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(100):
            tasks.create_task(gate.turn())
        await run_ready_tasks()
        for _ in range(1000):
            gate.dropped(0.0)

    assert now() == pytest.approx(198.0)
    assert len(timers) <= 110


@virtual_time
async def test_closing_refuses_those_who_wait_and_lets_those_in_flight_end() -> None:
    """A closed gate refuses waiting and new callers at once; the ends of calls in flight are still counted."""
    gate = make_gate(rate=1.0, max_in_flight=1)
    async with gate.slot():
        started_at = await gate.turn()
        waiting = [asyncio.create_task(gate.turn()), asyncio.create_task(gate.turn(again=True))]
        await run_ready_tasks()

        gate.close()
        gate.close()

        results = await asyncio.gather(*waiting, return_exceptions=True)
        gate.accepted(started_at)
    assert [type(result) for result in results] == [GateClosedError, GateClosedError]
    assert now() == 0.0
    with pytest.raises(GateClosedError):
        await gate.turn()
    with pytest.raises(GateClosedError):
        async with gate.slot():
            pass
    assert gate.statistics()["accepted"] == 1


@virtual_time
async def test_turns_of_slow_gates_come_together() -> None:
    """They share wake-ups, whenever each began, and none loses its pace."""
    turns: list[list[float]] = []
    loop, beats, timers = asyncio.get_running_loop(), Beats(), counted_timers()

    async def take(begins: float) -> None:
        began = loop.create_future()
        loop.call_at(begins, began.set_result, None)
        await began
        turns.append(await take_turns(make_gate(rate=5.0, beats=beats), 51))

    async with asyncio.TaskGroup() as tasks:
        for number in range(30):
            tasks.create_task(take(number * 0.0063))

    assert len({round(at, 3) for each in turns for at in each[1:]}) == len(timers) <= 51 * 5
    for each in turns:
        assert each[-1] - each[0] == pytest.approx(10.0, abs=0.041)


@pytest.mark.parametrize(("burst", "late_s"), [(1.2, 0.01), (5.0, 0.04)])
@virtual_time
async def test_where_a_bucket_holds_one_token_a_turn_is_hardly_late(burst: float, late_s: float) -> None:
    """A late call makes the next one too early, unless the bucket has a token to spare for it."""
    bounds = PaceBounds(initial_rate=1.0, max_rate=0.0, share=1.0)
    gate = Gate(Pacer(bounds, now(), Learned(5.1, 0.0, 500, burst)), max_in_flight=4, clock=now)

    turns = await take_turns(gate, 200)

    late = [at - number / 5.1 for number, at in enumerate(turns)]
    assert min(late) > -1e-9
    assert 0.9 * late_s < max(late) < 1.01 * late_s


@virtual_time
async def test_without_a_place_a_turn_stays_due() -> None:
    """Calls that have not recorded their intent keep the places; then the gates that wait take one each, in turn."""
    starts = Starts(2)
    busy, one, other = (make_gate(rate=1000.0, starts=starts) for _ in range(3))
    await take_turns(busy, 2)
    order: list[str] = []

    async def ask(name: str, gate: Gate) -> None:
        await gate.turn()
        order.append(name)

    tasks = [asyncio.create_task(ask("one", one)) for _ in range(3)]
    await run_ready_tasks()
    tasks += [asyncio.create_task(ask("other", other)) for _ in range(2)]
    await asyncio.sleep(1.0)
    waited = [*order]
    for _ in range(2):
        busy.started()
        await asyncio.sleep(1.0)
    for gate in (one, other, one):
        gate.started()
        await asyncio.sleep(1.0)
    await asyncio.gather(*tasks)

    assert waited == []
    assert order == ["one", "other", "one", "other", "one"]


@virtual_time
async def test_a_cancelled_call_leaves_its_place_to_others() -> None:
    """Whether it waits for the place or has just got it, and also if nobody else of its gate waits."""
    starts = Starts(1)
    busy, gone, stays = (make_gate(rate=1000.0, starts=starts) for _ in range(3))
    await busy.turn()
    waiting = [asyncio.create_task(gate.turn()) for gate in (gone, gone, stays)]
    await run_ready_tasks()

    waiting[0].cancel()
    await run_ready_tasks()
    busy.started()
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)

    assert [one.cancelled() for one in waiting] == [True, True, False]


async def flood(gate: Gate, calls: int, latency: float) -> int:
    """Send ``calls`` calls that take ``latency`` each; returns the most that were in flight at once."""
    most = 0

    async def call() -> None:
        nonlocal most
        async with gate.slot():
            started_at = await gate.turn()
            most = max(most, gate.in_flight)
            await asyncio.sleep(latency)
            gate.accepted(started_at)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(calls):
            tasks.create_task(call())
    return most


@virtual_time
async def test_the_cap_follows_pace_times_latency() -> None:
    """The cap is twice the calls in flight that the pace needs at this latency."""
    gate = make_gate(rate=50.0)

    most = await flood(gate, 2000, latency=0.2)

    assert 24 <= most <= 25
    assert gate.statistics()["cap"] == most
    assert now() == pytest.approx(40.2, abs=0.5)


@virtual_time
async def test_the_cap_never_exceeds_what_the_user_allows() -> None:
    """``max_in_flight`` bounds the cap, whatever the latency."""
    gate = make_gate(rate=100.0, max_in_flight=7)

    assert await flood(gate, 200, latency=1.0) == 7


@virtual_time
async def test_time_outs_halve_the_cap_once_for_all_that_were_in_flight() -> None:
    """Calls that time out together halve the cap once; accepted calls raise it again little by little."""
    gate = make_gate(rate=100.0, max_in_flight=64)
    await flood(gate, 1000, latency=1.0)
    before = gate.statistics()["cap"]
    starts = await take_turns(gate, 8)

    for started_at in starts:
        gate.timed_out(started_at)
    halved = gate.statistics()["cap"]
    await flood(gate, 400, latency=1.0)

    assert (before, halved) == (64, 32)
    assert gate.statistics()["cap"] == 64


@virtual_time
async def test_a_429_never_touches_the_cap() -> None:
    """Throttling changes the pace and never the cap."""
    gate = make_gate(rate=100.0)
    await flood(gate, 200, latency=0.5)
    before = gate.statistics()["cap"]

    for started_at in await take_turns(gate, 20):
        gate.throttled(started_at)

    assert gate.statistics()["cap"] == before


@virtual_time
async def test_a_waiter_for_a_slot_may_be_cancelled_at_any_point() -> None:
    """Slots are neither lost nor doubled when waiting callers are cancelled, before or after the grant."""
    gate = make_gate(rate=1000.0, max_in_flight=2)
    holding = asyncio.Event()

    async def hold() -> None:
        async with gate.slot():
            await holding.wait()

    tasks = [asyncio.create_task(hold()) for _ in range(6)]
    await run_ready_tasks()
    tasks[2].cancel()
    tasks[0].cancel()
    await asyncio.sleep(0)
    tasks[3].cancel()
    await run_ready_tasks()

    assert gate.in_flight == 2
    holding.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert gate.in_flight == 0


@virtual_time
async def test_tenacity_retries_at_the_pacers_turns() -> None:
    """With the gate's estimate as its wait, tenacity tries a throttled call again at its next turn."""
    gate = make_gate(rate=10.0)
    replies = iter([Throttled, Throttled, None])
    starts: list[float] = []

    async for attempt in AsyncRetrying(
        wait=lambda _: gate.next_turn_in_s(), retry=retry_if_exception_type(Throttled), reraise=True
    ):
        with attempt:
            started_at = await gate.turn(again=bool(starts))
            starts.append(started_at)
            await asyncio.sleep(0.01)
            reply = next(replies)
            if reply is not None:
                gate.throttled(started_at)
                raise reply
            gate.accepted(started_at)

    assert len(starts) == 3
    statistics = gate.statistics()
    assert (statistics["accepted"], statistics["throttled"]) == (1, 2)


@virtual_time
async def test_the_gate_prints_its_state() -> None:
    """``repr`` shows the pacer's phase, the pace, and how many callers wait."""
    gate = make_gate(rate=10.0)
    await gate.turn()
    waiter = asyncio.create_task(gate.turn())
    await run_ready_tasks()

    assert "phase=climb" in repr(gate)
    assert "rate=10.0" in repr(gate)
    assert "waiting=1" in repr(gate)
    await waiter
