"""``provisioner iam-policy``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from provisioner.cli import loop, parameters
from provisioner.cli.options import common, settings_of, with_known_targets
from provisioner.cli.output import say_json, talk
from provisioner.core.permissions import Action
from provisioner.errors import printable_lines
from provisioner.ledger.location import printable_location

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from provisioner.commands.iam_policy import Wanted
    from provisioner.config.settings import Settings
    from provisioner.config.target import Target


@click.command("iam-policy")
@parameters.argument("commands", metavar="COMMAND...", nargs=-1, required=True)
@common("config", "ledger", "target")
def command(commands: tuple[str, ...], config: str | None, ledger: str | None, targets: tuple[str, ...]) -> None:
    """COMMAND is a command as you type it, in quotes where an option of it needs more: 'verify --prune-duplicates'.

    'doctor MANIFEST' stands for doctor with a manifest, and 'apply s3://bucket/key' or 'export --out s3://bucket/key'
    for a manifest or a result in S3; a key may have wildcards. Resources are confined to the accounts and Regions of
    the targets, where the configuration states them. Deletion is confined to algorithms with the ownership tag: of this
    ledger, once it exists, and never to adopted ones unless an option of the command asks for that. What the
    configuration asks for counts like an option. Nothing is called.
    """
    from provisioner.commands.iam_policy import ledger_id, policy, wanted

    settings = with_known_targets(settings_of(config, ledger))
    need = wanted(commands, settings.lifecycle)
    chosen = settings.select(targets)
    identity = loop.run(ledger_id, settings) if Action.DELETE in need.actions else ""
    document = policy(need, settings, chosen, identity)
    say_json(json.dumps(document, indent=2, ensure_ascii=False))
    if remarks := list(_remarks(need, settings, chosen, identity)):
        talk(printable_lines(remarks))


def _remarks(need: Wanted, settings: Settings, targets: Sequence[Target], identity: str) -> Iterator[str]:
    if not (need.actions or need.read or need.written):
        yield "These commands call no AWS operation and need no policy; IAM accepts none without a statement."
        return
    if Action.DELETE in need.actions and not settings.reconcile.ownership_tag:
        yield "Deletion is not confined, because the configuration writes no ownership tag."
    elif Action.DELETE in need.actions and not identity:
        name = printable_location(settings.run.ledger)
        yield f"There is no ledger {name} yet, so deletion is confined to algorithms that any ledger created."
    if need.read or need.written:
        yield "S3 is called with the credentials of the environment, not with those of a target."
    if need.actions and settings.fleet.organizations.asked:
        yield "The statement Organizations is for the caller itself, not for the roles that it assumes."
    for target in targets:
        if target.assume_role_arn:
            role = target.assume_role_arn
            yield f"Target {target.name}: attach the policy to {role}; its caller needs sts:AssumeRole for that role."
