"""``provisioner version``."""

from __future__ import annotations

import contextlib

import click

from provisioner import __version__
from provisioner.cli.options import common
from provisioner.cli.output import say, say_json

WIDTH = 18
PACKAGES = (
    *("aioboto3", "aiobotocore", "aiohappyeyeballs", "aiohttp", "anyio", "botocore", "click", "httptools", "msgspec"),
    *("opentelemetry-sdk", "prometheus-client", "psycopg", "rich", "structlog", "tenacity", "uvloop", "zstandard"),
)
"""What this package needs, also on request, and the parts of the SDK."""


@click.command("version")
@common("output")
def command(*, output: str) -> None:
    """Name the versions in a bug report: of the program, of Python, of what it depends on, of the files it writes.

    ledger_schema is the schema of the ledgers that this version writes; it upgrades older ones and refuses newer ones.
    plan_format is that of saved plans.
    """
    import json

    found = _versions()
    if output == "json":
        say_json(json.dumps({**found, "exit_code": 0}))
        return
    packages = found.pop("packages")
    assert isinstance(packages, dict)  # noqa: S101  for the type checker
    lines = [f"{name.replace('_', ' '):{WIDTH}s}{value}" for name, value in {**found, **packages}.items()]
    say("\n".join(lines))


def _versions() -> dict[str, str | int | dict[str, str]]:
    """Every version that can make a difference."""
    import platform
    import sqlite3
    import ssl

    from provisioner.commands.planfile import VERSION
    from provisioner.ledger.sqlite.migrations import SCHEMA_VERSION

    return {
        "provisioner": __version__,
        "ledger_schema": SCHEMA_VERSION,
        "plan_format": VERSION,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "sqlite": sqlite3.sqlite_version,
        "openssl": ssl.OPENSSL_VERSION,
        "packages": _packages(),
    }


def _packages() -> dict[str, str]:
    """Those of :data:`PACKAGES` that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
