"""Other clients, and our transport alone: each sends COUNT creates and ends.

python -m benchmarks.throughput.peers boto3|aioboto3|aiohttp|direct URL COUNT

All send the same definitions, sign with the same keys, check that each reply has an ARN, and keep as many creates in
flight as serves them best. Retries are left on: the server never gives a reason to retry.
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

IN_FLIGHT = 64

THREADS = 16
"""More only contend for the interpreter's lock."""


def with_boto3(url: str, count: int) -> None:
    """Threads that share a client."""
    import boto3
    from botocore.config import Config

    session = boto3.Session(region_name=REGION)
    client = session.client("cleanroomsml", endpoint_url=url, config=Config(max_pool_connections=THREADS))

    def create(number: int) -> None:
        reply = client.create_configured_model_algorithm(**definition(number))
        assert reply["configuredModelAlgorithmArn"]

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(create, range(count)):
            pass


async def with_aioboto3(url: str, count: int) -> None:
    """One task for each create, a semaphore, gather: what most people write."""
    import aioboto3
    from aiobotocore.config import AioConfig

    limit = asyncio.Semaphore(IN_FLIGHT)
    config = AioConfig(max_pool_connections=IN_FLIGHT)
    session = aioboto3.Session(region_name=REGION)
    async with session.client("cleanroomsml", endpoint_url=url, config=config) as client:

        async def create(number: int) -> None:
            async with limit:
                reply = await client.create_configured_model_algorithm(**definition(number))
                assert reply["configuredModelAlgorithmArn"]

        await asyncio.gather(*[create(number) for number in range(count)])


async def workers(count: int, create: Callable[[int], Awaitable[None]]) -> None:
    """``count`` creates by as many workers as are to be in flight."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await create(number)

    await asyncio.gather(*[work() for _ in range(IN_FLIGHT)])


async def with_aiohttp(url: str, count: int) -> None:
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
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT, ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def create(number: int) -> None:
            body = json.dumps(definition(number)).encode()
            date, authorization = signer.sign(body, int(time.time()))
            headers = {"Content-Type": "application/json", "X-Amz-Date": date, "Authorization": authorization}
            async with session.post(path, data=body, headers=headers) as reply:
                assert (await reply.json())["configuredModelAlgorithmArn"]

        await workers(count, create)


async def with_ours(url: str, count: int) -> None:
    """The direct transport alone: no manifest, no ledger."""
    from provisioner.aws import Limits, connect
    from provisioner.config.settings import Target

    target = Target(region=REGION, endpoint_url=url)
    limits = Limits(max_connections=IN_FLIGHT, connect_timeout_s=5.0, read_timeout_s=20.0)
    async with connect(target, limits) as aws:

        async def create(number: int) -> None:
            reply = await aws.creates.create(json.dumps(definition(number)).encode(), lambda: None)
            assert reply.arn

        await workers(count, create)


PEERS: dict[str, Callable[[str, int], Any]] = {
    "boto3": with_boto3,
    "aioboto3": with_aioboto3,
    "aiohttp": with_aiohttp,
    "direct": with_ours,
}


def main() -> None:
    """Run the peer that the command line names."""
    name, url, count = sys.argv[1:]
    running = PEERS[name](url, int(count))
    if running is not None:
        import uvloop

        uvloop.run(running)


if __name__ == "__main__":
    main()
