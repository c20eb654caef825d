"""Room in the quota: who may send a create when the quota is full."""

from __future__ import annotations

import anyio

from provisioner.engine.room import Room
from tests.virtual_time import virtual_time


async def waits(room: Room) -> bool:
    """Whether a create has to wait."""
    with anyio.move_on_after(1.0) as scope:
        await room.take()
    return scope.cancelled_caught


@virtual_time
async def test_creates_go_ahead_until_the_quota_is_full() -> None:
    """Deletions that are due hold nobody up before that."""
    room = Room()
    room.expect()

    assert not await waits(room)


@virtual_time
async def test_each_deletion_makes_room_for_one() -> None:
    """At a full quota a create waits for a deletion; one that failed makes no room."""
    room = Room()
    for _ in range(3):
        room.expect()
    room.fill()
    first = await waits(room)
    room.deleted(gone=False)
    second = await waits(room)
    room.deleted(gone=True)

    assert (first, second, await waits(room), await waits(room)) == (True, True, False, True)


@virtual_time
async def test_without_room_to_come_nobody_waits() -> None:
    """A create is sent to learn whether there is room by now; the refusal that follows parks the target."""
    room = Room()
    room.fill()

    assert not await waits(room)
    assert not room.comes(replaces=False)


@virtual_time
async def test_a_replacement_under_way_is_room_to_come_for_others() -> None:
    """Not for itself; and when it came to nothing, those that waited for it go on."""
    room = Room()
    room.fill()
    with room.replacing():
        assert room.comes(replaces=False)
        assert not room.comes(replaces=True)
        assert await waits(room)

    assert not await waits(room)


@virtual_time
async def test_a_deletion_before_the_refusal_counts() -> None:
    """A create that was refused may have left before the deletion: it is worth another try."""
    room = Room()
    room.expect()
    room.deleted(gone=True)

    assert room.comes(replaces=False)
