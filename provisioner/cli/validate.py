"""``provisioner validate``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
import msgspec

from provisioner.cli.options import common, settings_of
from provisioner.errors import ExitCode
from provisioner.fleet.apply import rules_for
from provisioner.manifest import Manifest

if TYPE_CHECKING:
    from provisioner.manifest import Problem


@click.command("validate")
@click.argument("manifest", nargs=-1, required=True)
@common("config", "target", "output")
def command(manifest: tuple[str, ...], config: str | None, targets: tuple[str, ...], output: str) -> ExitCode:
    """Nothing is sent, and no credentials are needed. Ends with 65 when there are problems.

    Each problem is one line: file:line:column, the name, and what to do. Notices do not count as problems.
    """
    settings = settings_of(config, None)
    chosen = settings.select(targets)
    read = Manifest(manifest, rules_for(settings, chosen[0]), stdin=sys.stdin.buffer)
    lines = valid = invalid = 0
    told: list[Problem] = []
    for batch in read.batches():
        lines += batch.lines
        valid += len(batch.rows)
        invalid += batch.invalid
        for problem in batch.problems:
            if output == "json":
                told.append(problem)
            else:
                click.echo(str(problem))
    if output == "json":
        found = {"lines": lines, "valid": valid, "invalid": invalid, "problems": told}
        click.echo(msgspec.json.encode(found))
    else:
        click.echo(f"{lines} lines, {valid} valid, {invalid} invalid", err=True)
    return ExitCode.INVALID if invalid else ExitCode.DONE
