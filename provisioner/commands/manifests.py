"""The manifest as each target reads it: with the defaults of the configuration and the target's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.aws import objects
from provisioner.errors import ConfigurationError
from provisioner.manifest.parser import Rules, problems_of_defaults
from provisioner.manifest.reader import Manifest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from provisioner.config.settings import Settings, Target


def manifests_for(
    sources: Sequence[str],
    settings: Settings,
    targets: Sequence[Target],
    *,
    stdin: BinaryIO | None = None,
    copied: bool = False,
) -> dict[str, Manifest]:
    """The manifest by target. Each target reads its own, so that a slow one delays no other.

    Args:
        sources: paths, globs, ``s3://bucket/key`` or ``-``.
        settings: the configuration.
        targets: at least one.
        stdin: what ``-`` reads.
        copied: read a copy of every file, so that each reading sees the same bytes.

    Raises:
        ConfigurationError: the defaults are invalid.
        ManifestError: a source does not exist or cannot be read.
        ProvisionerError: S3 cannot be read.
        ScratchError: a copy cannot be written.
    """
    rules = {target.name: _rules_for(settings, target) for target in targets}
    first = Manifest(sources, next(iter(rules.values())), stdin=stdin, objects=objects)
    if copied or len(rules) > 1:
        first = first.spooled(files=copied)
    return {name: first.under(rule) for name, rule in rules.items()}


def once_per_rules(manifests: dict[str, Manifest]) -> dict[str, Manifest]:
    """One target for each set of rules: those with the same rules have the same problems."""
    seen: list[Rules] = []
    chosen = {}
    for name, manifest in manifests.items():
        if manifest.rules not in seen:
            seen.append(manifest.rules)
            chosen[name] = manifest
    return chosen


def _rules_for(settings: Settings, target: Target) -> Rules:
    """The rules for reading the manifest for ``target``.

    Raises:
        ConfigurationError: the defaults are invalid, whatever a line adds to them.
    """
    tag = settings.reconcile.ownership_tag
    _check_defaults("[defaults]", Rules(defaults=settings.defaults, ownership_tag=tag))
    table = f"[targets.{target.name}.defaults]"
    _check_defaults(table, Rules(defaults=target.defaults, ownership_tag=tag))
    rules = Rules(defaults=settings.defaults_for(target), ownership_tag=tag)
    _check_defaults(f"[defaults] and {table} together", rules)  # each may have 40 tags
    return rules


def _check_defaults(table: str, rules: Rules) -> None:
    if problems := problems_of_defaults(rules):
        what = problems[0].text
        if len(problems) > 1:
            what = f"{len(problems)} problems, the first: {what}"
        raise ConfigurationError(what, where=table)
