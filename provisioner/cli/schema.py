"""``provisioner schema``."""

from __future__ import annotations

import json

import click

from provisioner.cli.output import say
from provisioner.manifest.definition import json_schema


@click.command("schema")
def command() -> None:
    """Editors and other tools check manifests with it, a line at a time (draft 2020-12)."""
    say(json.dumps(json_schema(), indent=2, ensure_ascii=False))
