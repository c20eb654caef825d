"""``provisioner validate``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from provisioner.cli.options import common, settings_of
from provisioner.errors import ExitCode
from provisioner.fleet.run import rules_for
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
        for problem in batch.problems:
            invalid += problem.severity == "problem"
            if output == "json":
                told.append(problem)
            else:
                click.echo(str(problem))
    if output == "json":
        found = {"lines": lines, "valid": valid, "invalid": invalid, "problems": told}
        click.echo(json.dumps(found, default=vars, ensure_ascii=False))
    else:
        click.echo(f"{lines} lines, {valid} valid, {invalid} invalid", err=True)
    return ExitCode.INVALID if invalid else ExitCode.DONE
