"""What targets share at AWS, and what each keeps for itself."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import pytest

from provisioner.aws import Sharing, connect
from provisioner.aws.network import STS_PER_S, Profile
from provisioner.aws.session import ADVISORY_S, MANDATORY_S, renewal_s
from provisioner.config.target import Target
from provisioner.errors import CredentialsError
from tests.aws.conftest import limits_of
from tests.aws.server import BODY, Server, allowed, created, http, send
from tests.aws.sts import Sts
from tests.virtual_time import virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from provisioner.aws import Aws
    from provisioner.aws.network import Network

PAGE = http(body=json.dumps({"configuredModelAlgorithms": []}).encode())


def targets_at(url: str, sts_url: str) -> list[Target]:
    """Three targets, each with a role of its own."""
    return [
        Target(
            name=f"t{n}",
            region="us-east-1",
            endpoint_url=url,
            sts_endpoint_url=sts_url,
            assume_role_arn=f"arn:aws:iam::11112222333{n}:role/provisioner",
        )
        for n in range(3)
    ]


async def opened(targets: list[Target], sharing: Sharing, direct: bool) -> AsyncIterator[Aws]:  # noqa: FBT001  a fixture
    """Each of ``targets``, open until the next."""
    for target in targets:
        async with connect(target, limits_of(), sharing, direct=direct) as aws:
            yield aws


def keys(server: Server) -> list[str]:
    """The access key ids that signed."""
    return [request.headers["authorization"].split("=")[1].split("/")[0] for request in server.requests]


async def test_targets_share_connections_and_each_signs_with_its_own_credentials(*, direct: bool) -> None:
    """Creates and reads of several targets leave over the same connections, and are each target's own."""

    async def answer(line: Any) -> None:
        await (created() if line.request.method == "POST" else send(PAGE))(line)

    async with Server(Sts()) as sts, Server(answer) as server, Sharing() as sharing:
        async for aws in opened(targets_at(server.url, sts.url), sharing, direct):
            assert (await aws.creates.create(BODY, allowed)).arn
            await aws.control.list_algorithms()

        assert keys(server) == ["ASIA1", "ASIA1", "ASIA2", "ASIA2", "ASIA3", "ASIA3"]
        assert server.connections == 1
        assert sts.connections == 1


async def test_calls_that_run_at_once_are_signed_for_those_who_make_them() -> None:
    """One client serves two targets whose reads overlap."""
    arrived = asyncio.Event()

    async def answer(line: Any) -> None:
        if server.connections < 2:
            await arrived.wait()
        arrived.set()
        await send(PAGE)(line)

    async with Server(Sts()) as sts, Server(answer) as server, Sharing() as sharing:
        one, two, _ = targets_at(server.url, sts.url)
        async with connect(one, limits_of(), sharing) as first, connect(two, limits_of(), sharing) as second:
            await asyncio.gather(first.control.list_algorithms(), second.control.list_algorithms())

        assert sorted(keys(server)) == ["ASIA1", "ASIA2"]


async def test_the_first_credentials_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand targets are not a thousand questions to the machine's metadata; also when there is no answer."""
    given = {"AccessKeyId": "ASIACONTAINER", "SecretAccessKey": "s", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    for answer in (send(http(body=json.dumps(given).encode())), send(http(404))):
        async with Server(answer) as container, Server(Sts()) as sts, Sharing() as sharing:
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{container.url}/credentials")
            asked = []
            for target in targets_at("", sts.url):
                with suppress(CredentialsError):
                    async with connect(target, limits_of(), sharing):
                        pass
                asked.append(len(container.requests))

        assert asked[0] == asked[-1] > 0


@virtual_time
async def test_calls_of_sts_are_spread_over_time() -> None:
    """However many roles are to be assumed at once, so many calls start each second and no more."""
    profile, began = Profile(cast("Network", None), None), []

    async def assume() -> None:
        await profile.turn()
        began.append(asyncio.get_running_loop().time())

    await asyncio.gather(*[assume() for _ in range(300)])

    assert began == pytest.approx([number / STS_PER_S for number in range(300)])


def test_credentials_that_were_fetched_together_are_renewed_one_by_one() -> None:
    """The moments of a thousand targets are spread over minutes; none is later than the credentials may be used."""
    moments = sorted(renewal_s(f"t{number}", 3600) for number in range(1000))

    assert moments[0] > MANDATORY_S
    assert moments[-1] <= ADVISORY_S
    assert max(sum(one <= moment < one + 1 for moment in moments) for one in moments) < 20
    assert renewal_s("t1", 4) == 1
