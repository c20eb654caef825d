"""Endpoints as people write them, against an endpoint that checks signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioner.aws import connect
from provisioner.config.target import Target
from provisioner.core.verdict import Verdict, judge
from provisioner.emulator import Behaviour, Emulator
from tests.aws.conftest import limits_of
from tests.aws.server import BODY, allowed

if TYPE_CHECKING:
    from collections.abc import Callable

WRITTEN: dict[str, Callable[[str], str]] = {
    "host with capitals": lambda url: url.replace("127.0.0.1", "LocalHost"),
    "scheme with capitals": lambda url: url.replace("http", "HTTP"),
    "a slash at the end": lambda url: f"{url}/",
    "two slashes at the end": lambda url: f"{url}//",
}


@pytest.mark.usefixtures("embedded_keys")
@pytest.mark.parametrize("way", WRITTEN)
async def test_an_endpoint_may_be_written_in_any_way(way: str, *, direct: bool) -> None:
    """Creates of either transport and all other calls reach it, with a signature that is right."""
    async with Emulator(Behaviour()) as emulator:
        target = Target(region="us-east-1", endpoint_url=WRITTEN[way](emulator.url))
        async with connect(target, limits_of(), direct=direct) as aws:
            reply = await aws.creates.create(BODY, allowed)
            found = await aws.control.get_algorithm(reply.arn)

    assert judge(reply) is Verdict.CREATED
    assert found.arn == reply.arn
