"""Registers two definitions at the embedded endpoint, reads their ARNs from the ledger, and verifies them."""

import asyncio
import os

from provisioner import ContainerConfig, Definition, Ledger, Settings, State, apply, verify
from provisioner.emulator import Emulator, credentials

ROLE = "arn:aws:iam::123456789012:role/access"
REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


async def register(settings: Settings) -> None:
    """Make AWS match the definitions; what is registered already is not sent again."""
    definitions = [
        Definition(
            name=f"lookalike {number}",
            role_arn=ROLE,
            training_container_config=ContainerConfig(image_uri=f"{REGISTRY}/train:{number}"),
            tags={"team": "ads"},
        )
        for number in (1, 2)
    ]
    summary = await apply(definitions, settings=settings, ledger="ledger.db")
    print(summary.text())
    if summary.exit_code:
        raise SystemExit(summary.exit_code)


async def read() -> None:
    """Print the ARN of every algorithm that the ledger has."""
    async with Ledger.open("ledger.db") as ledger:
        async for entry in ledger.entries(states={State.CREATED}):
            print(entry.target, entry.name, entry.arn)


async def compare(settings: Settings) -> None:
    """Compare the ledger with AWS."""
    verification = await verify(settings=settings, ledger="ledger.db")
    for finding in verification.findings:
        print(finding.kind, finding.name, finding.arn, finding.message)
    if verification.summary.exit_code:
        raise SystemExit(verification.summary.exit_code)


async def main() -> None:
    """Use the embedded endpoint; with AWS, the settings come from a file and the credentials from the environment."""
    os.environ.update(credentials().environment())
    async with Emulator() as emulator:
        settings = Settings().with_endpoint(emulator.url, region="us-east-1")
        await register(settings)
        await read()
        await compare(settings)


if __name__ == "__main__":
    asyncio.run(main())
