"""Other clients, and our transport alone: each sends COUNT creates and ends.

python -m benchmarks.throughput.peers boto3|aioboto3|aiohttp|direct URL COUNT IN_FLIGHT

All send the same definitions, sign with the same keys, and check that each reply has an ARN. As many threads or tasks
as creates are to be in flight take one definition after another. Retries are left on: the server never gives a reason
to retry. What is asynchronous runs on uvloop, as `provisioner apply` does.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from benchmarks.throughput.definitions import definition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

REGION = "us-east-1"


def with_boto3(url: str, count: int, in_flight: int) -> None:
    """Threads that share a client."""
    import boto3
    from botocore.config import Config

    session = boto3.Session(region_name=REGION)
    client = session.client("cleanroomsml", endpoint_url=url, config=Config(max_pool_connections=in_flight))

    def create(number: int) -> None:
        reply = client.create_configured_model_algorithm(**definition(number))
        assert reply["configuredModelAlgorithmArn"]

    with ThreadPoolExecutor(in_flight) as pool:
        for _ in pool.map(create, range(count)):
            pass


async def with_aioboto3(url: str, count: int, in_flight: int) -> None:
    """Tasks that share a client."""
    import aioboto3
    from aiobotocore.config import AioConfig

    config = AioConfig(max_pool_connections=in_flight)
    session = aioboto3.Session(region_name=REGION)
    async with session.client("cleanroomsml", endpoint_url=url, config=config) as client:

        async def create(number: int) -> None:
            reply = await client.create_configured_model_algorithm(**definition(number))
            assert reply["configuredModelAlgorithmArn"]

        await workers(count, in_flight, create)


async def workers(count: int, in_flight: int, create: Callable[[int], Awaitable[None]]) -> None:
    """``count`` creates by as many workers as are to be in flight."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await create(number)

    await asyncio.gather(*[work() for _ in range(in_flight)])


async def with_aiohttp(url: str, count: int, in_flight: int) -> None:
    """A bare aiohttp session and a signer with a cached key."""
    import os
    import ssl

    import aiohttp
    from botocore.credentials import ReadOnlyCredentials

    from provisioner.aws.sigv4 import Signer

    keys = ReadOnlyCredentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], None, None)
    path = f"{url}/configured-model-algorithms"
    signer = Signer(path, REGION, "cleanrooms-ml", "application/json", keys)
    bundle = os.environ.get("AWS_CA_BUNDLE")
    context = ssl.create_default_context(cafile=bundle) if bundle else True
    connector = aiohttp.TCPConnector(limit=in_flight, ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def create(number: int) -> None:
            body = json.dumps(definition(number)).encode()
            date, authorization = signer.sign(body, int(time.time()))
            headers = {"Content-Type": "application/json", "X-Amz-Date": date, "Authorization": authorization}
            async with session.post(path, data=body, headers=headers) as reply:
                assert (await reply.json())["configuredModelAlgorithmArn"]

        await workers(count, in_flight, create)


async def with_ours(url: str, count: int, in_flight: int) -> None:
    """The direct transport alone: no manifest, no ledger."""
    from provisioner.aws import Limits, connect
    from provisioner.config.target import Target

    target = Target(region=REGION, endpoint_url=url)
    limits = Limits(max_connections=in_flight, connect_timeout_s=5.0, read_timeout_s=20.0)
    async with connect(target, limits) as aws:

        async def create(number: int) -> None:
            reply = await aws.creates.create(json.dumps(definition(number)).encode(), lambda: None)
            assert reply.arn

        await workers(count, in_flight, create)


PEERS: dict[str, Callable[[str, int, int], Any]] = {
    "boto3": with_boto3,
    "aioboto3": with_aioboto3,
    "aiohttp": with_aiohttp,
    "direct": with_ours,
}


def main() -> None:
    """Run the peer that the command line names."""
    name, url, count, in_flight = sys.argv[1:]
    running = PEERS[name](url, int(count), int(in_flight))
    if running is not None:
        import uvloop

        uvloop.run(running)


if __name__ == "__main__":
    main()
