"""Cancels a run in the middle and runs again: every algorithm is made exactly once."""

import asyncio
import os

from provisioner import Definition, Settings, apply
from provisioner.emulator import Behaviour, Emulator, credentials

DEFINITIONS = [
    Definition(name=f"lookalike {number}", role_arn="arn:aws:iam::123456789012:role/access") for number in range(20)
]


async def main() -> None:
    """Stop after a second; the run awaits the replies to what is in flight before the time-out is raised."""
    os.environ.update(credentials().environment())
    async with Emulator(Behaviour(latency=0.1)) as emulator:
        settings = Settings().with_endpoint(emulator.url, region="us-east-1")
        try:
            async with asyncio.timeout(1.0):
                await apply(DEFINITIONS, settings=settings, ledger="ledger.db")
        except TimeoutError:
            print(f"cancelled, {len(emulator.truth.alive)} algorithms exist")

        summary = await apply(DEFINITIONS, settings=settings, ledger="ledger.db")
        print(f"{summary.outcomes['created']} created, {summary.outcomes['unchanged']} there already")
        print(f"{len(emulator.truth.alive)} algorithms exist")


if __name__ == "__main__":
    asyncio.run(main())
