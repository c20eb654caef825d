"""Beats: when they come, and that all who wait for one share a timer."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from provisioner.pacing.beats import SHARE, Beats, next_beat
from provisioner.pacing.tuning import TUNING
from tests.virtual_time import virtual_time


@pytest.mark.parametrize(
    ("rate", "beat"), [(0.2, 1.04), (2.0, 1.04), (6.0, 1.04), (10.0, 1.02), (20.0, 1.02), (26.0, None), (1000.0, None)]
)
def test_the_slower_a_target_the_rarer_its_beats(rate: float, beat: float | None) -> None:
    """A turn is put off to the next one; at a pace that cannot wait for one it is not."""
    found = next_beat(1.011, rate)
    tight = next_beat(1.011, rate, tight=True)

    assert found == (beat if beat is None else pytest.approx(beat))
    assert tight == (beat if beat is None else pytest.approx(1.02))


@pytest.mark.parametrize("rate", [0.2, 1.0, 2.0, 5.0, 5.3, 6.3, 10.0, 12.6, 20.0, 25.0])
def test_a_beat_takes_nobody_s_place(rate: float) -> None:
    """A turn that waits for a beat keeps its place even if it is taken half as late again, and no bucket runs dry."""
    waits = [beat - due for due in (number / 1000.0 for number in range(200)) if (beat := next_beat(due, rate))]

    assert len(waits) > 100
    assert 0.0 <= max(waits) <= SHARE / rate
    assert 1.5 * max(waits) <= TUNING.catch_up(rate)


@virtual_time
async def test_those_who_wait_for_a_beat_are_woken_together_in_their_order() -> None:
    """One timer for all of them, and none for one that no longer waits."""
    beats, woken = Beats(), list[tuple[str, float]]()
    loop = asyncio.get_running_loop()

    def wake(name: str) -> None:
        woken.append((name, loop.time()))

    for name, at in (("a", 0.04), ("b", 0.08), ("c", 0.04), ("d", 0.04)):
        wait = beats.call_at(at, loop.time(), partial(wake, name))
    wait.cancel()
    await asyncio.sleep(1.0)

    assert woken == [("a", 0.04), ("c", 0.04), ("b", 0.08)]
