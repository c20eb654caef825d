"""Checks a manifest offline, for several targets with defaults of their own."""

import asyncio
from pathlib import Path

from provisioner import Settings, validate

SETTINGS = Settings.from_tables(
    {
        "run": {"ledger": "prod.db", "deadline": "55m"},
        "targets": {
            "ads": {"region": "us-east-1", "defaults": {"roleArn": "arn:aws:iam::123456789012:role/ads"}},
            "media": {"region": "eu-west-1"},
        },
    }
)


async def main() -> None:
    """Print every problem with its place, and how many lines are valid for each target."""
    validation = validate("definitions.jsonl", settings=SETTINGS)
    async for problem in validation:
        print(f"{problem.source}:{problem.line}:{problem.column}: {problem.target}: {problem.message}")
    for counts in validation.counts:
        print(f"{counts.target}: {counts.valid} of {counts.lines} lines are valid")


if __name__ == "__main__":
    Path("definitions.jsonl").write_text('{"name": "lookalike 1"}\n{"name": "lookalike 2", "roleArm": "x"}\n')
    asyncio.run(main())
