"""Plans a replacement and a deletion at the embedded endpoint, looks at the plan, and carries it out."""

import asyncio
import os

from provisioner import Definition, Rules, Settings, apply, plan
from provisioner.emulator import Behaviour, Emulator, credentials

ROLE = "arn:aws:iam::123456789012:role/access"
BEFORE = [Definition(name="lookalike 1", role_arn=ROLE), Definition(name="lookalike 2", role_arn=ROLE)]
AFTER = [Definition(name="lookalike 2", role_arn=ROLE, description="smaller seeds")]


async def change(settings: Settings) -> None:
    """Replace what changed and delete what left, unless that is more than expected."""
    rules = Rules(on_change="replace", prune=True)
    made = await plan(AFTER, settings=settings, **rules)
    for step in made.steps:
        print(step.target, step.name, step.action, step.reason)
    if made.deletes <= len(BEFORE):
        summary = await apply(AFTER, settings=settings, yes=True, **rules)
        print(summary.outcomes["replaced"], "replaced,", summary.pruned, "pruned")


async def main() -> None:
    """Use the embedded endpoint, where names may repeat, so that a replacement is created before the old one goes."""
    os.environ.update(credentials().environment())
    async with Emulator(Behaviour(names="duplicates")) as emulator:
        settings = Settings().with_endpoint(emulator.url, region="us-east-1")
        await apply(BEFORE, settings=settings)
        await change(settings)


if __name__ == "__main__":
    asyncio.run(main())
