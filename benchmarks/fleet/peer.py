"""What one writes with aioboto3: a client for each target, whose role it assumes first, and a known pace for each.

python -m benchmarks.fleet.peer MANIFEST CONFIGURATION SECONDS LIMIT...

It is given each target's limit, in the order of the configuration, which it would otherwise have to find out.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tomllib
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aioboto3
import uvloop
from aiobotocore.config import AioConfig

PACE = 0.99
"""Of the limit."""

IN_FLIGHT = 16


async def drive(target: dict[str, Any], limit: float, lines: list[bytes]) -> None:
    """Create everything in one target."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        base = aioboto3.Session(region_name=target["region"])
        async with base.client("sts", endpoint_url=target["sts_endpoint_url"]) as sts:
            reply = await sts.assume_role(RoleArn=target["assume_role_arn"], RoleSessionName="peer")
        keys = reply["Credentials"]
        session = aioboto3.Session(
            keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name=target["region"]
        )
        config = AioConfig(max_pool_connections=IN_FLIGHT)
        url = target["endpoint_url"]
        client = await stack.enter_async_context(session.client("cleanroomsml", endpoint_url=url, config=config))
        places, next_at = asyncio.Semaphore(IN_FLIGHT), loop.time()

        async def create(line: bytes) -> None:
            async with places:
                with suppress(Exception):
                    await client.create_configured_model_algorithm(**json.loads(line))

        async with asyncio.TaskGroup() as group:
            for line in lines:
                if limit:
                    next_at = max(next_at, loop.time() - 1) + 1 / (limit * PACE)
                    await asyncio.sleep(next_at - loop.time())
                group.create_task(create(line))


async def drive_all(targets: list[dict[str, Any]], limits: list[float], lines: list[bytes], seconds: float) -> None:
    """Drive all targets, for so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            for target, limit in zip(targets, limits, strict=True):
                group.create_task(drive(target, limit, lines))


def main() -> None:
    """Drive what the command line names."""
    manifest, config, seconds, *limits = sys.argv[1:]
    lines = Path(manifest).read_bytes().splitlines()
    targets = list(tomllib.loads(Path(config).read_text())["targets"].values())
    uvloop.run(drive_all(targets, [float(limit) for limit in limits], lines, float(seconds)))


if __name__ == "__main__":
    main()
