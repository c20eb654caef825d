"""A machine whose clock is wrong, against an endpoint that checks signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioner.aws import CallError, connect
from provisioner.aws.clock import ServerClock
from provisioner.config.target import Target
from provisioner.core.verdict import SKEW_CODES, Verdict, judge
from provisioner.emulator import Behaviour, Emulator
from tests.aws.conftest import limits_of
from tests.aws.server import BODY, Server, allowed, refuse

if TYPE_CHECKING:
    from tests.aws.conftest import Open

NOON = "Mon, 23 Nov 2026 12:00:00 GMT"


@pytest.mark.usefixtures("embedded_keys")
@pytest.mark.parametrize("offset_s", [900, -900])
async def test_reads_are_signed_by_the_servers_clock(offset_s: int, *, direct: bool) -> None:
    """A List, Get and Delete that are the first calls, or follow a create, go through although the clock is wrong."""
    async with Emulator(Behaviour(clock_offset=offset_s)) as emulator:
        target = Target(region="us-east-1", endpoint_url=emulator.url)
        async with connect(target, limits_of(), direct=direct) as aws:
            assert (await aws.control.list_algorithms()).items == ()
            created = await aws.creates.create(BODY, allowed)
            found = await aws.control.get_algorithm(created.arn)
            assert (await aws.control.delete_algorithm(created.arn, allowed)).status == 200
            assert (await aws.control.list_algorithms(page_size=1)).items == ()

        assert found.name == "a"


@pytest.mark.usefixtures("embedded_keys")
async def test_a_create_is_signed_by_the_servers_clock_after_one_refusal(*, direct: bool) -> None:
    """Through either transport, the create after a refusal for the clock goes through."""
    async with Emulator(Behaviour(clock_offset=900)) as emulator:
        target = Target(region="us-east-1", endpoint_url=emulator.url)
        async with connect(target, limits_of(), direct=direct) as aws:
            replies = [await aws.creates.create(BODY, allowed) for _ in range(2)]

    assert replies[0].code in SKEW_CODES
    assert judge(replies[1]) is Verdict.CREATED


async def test_a_refused_signature_names_the_clock(open_at: Open) -> None:
    """Where the server does not say what time it is, the message says to look at the clock."""
    refusal = refuse(403, "InvalidSignatureException", message="Signature expired: 1 is now earlier than 2")
    async with Server(refusal) as server, open_at(server.url) as aws:
        with pytest.raises(CallError) as raised:
            await aws.control.list_algorithms()

        assert "clock" in str(raised.value)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("date", "behind_s", "offset_s"),
    [(NOON, 3600, 3600), (NOON, -3600, -3600), (NOON, 59, 0), ("", 3600, 0), ("noon", 3600, 0)],
)
def test_a_clock_is_corrected_when_it_is_off_by_more_than_a_minute(date: str, behind_s: float, offset_s: float) -> None:
    """A readable date that differs by more than a minute is followed; nothing else is."""
    noon = 1795435200.0
    clock = ServerClock()

    clock.learn(date, noon - behind_s)

    assert clock.offset_s == offset_s
