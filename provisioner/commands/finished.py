"""Finished manifests: the daily case in which neither the manifest nor the ledger has changed since a run finished it.

The plan of every line would then be "unchanged". A digest of the manifest's bytes shows that without parsing a line. It
is safe: the digest covers everything that the plan of a line depends on (the bytes, the defaults, the ownership tag,
the version of the program, the rules of the life cycle), and the ledger counts every commit that touches an entry of
the target.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import anyio.to_thread
import msgspec

from provisioner.config.settings import LifecycleSettings  # noqa: TC001  msgspec reads this type at run time
from provisioner.ledger import FinishedManifest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.ledger import Ledger
    from provisioner.manifest.reader import Manifest
    from provisioner.report.statistics import Statistics


class RunRules(msgspec.Struct, frozen=True):
    """The rules of a run on which it depends what there is to do.

    Attributes:
        lifecycle: of the settings.
        own_tags: whether tags that others added are removed.
    """

    lifecycle: LifecycleSettings
    own_tags: bool = False


async def finished_before(ledger: Ledger, manifest: Manifest, target: str, rules: RunRules) -> int | None:
    """The number of lines of ``manifest``, if all are certain to be registered as they are; None otherwise.

    Args:
        ledger: of the run.
        manifest: of the target.
        target: its name.
        rules: of the run: a manifest that was finished under others is looked at again.

    Raises:
        ManifestError: the manifest cannot be read any more.
    """
    before = await ledger.finished(target)
    if before is None or not manifest.repeatable:
        return None
    if before.changes != await ledger.changes(target):
        return None
    fingerprint = await anyio.to_thread.run_sync(manifest.fingerprint, abandon_on_cancel=True)
    # Whether a line names its targets is not known before it is read.
    same = {_under(rules, one) for one in (fingerprint, manifest.marked(fingerprint))}
    return before.lines if before.fingerprint in same else None


async def keep_finished(ledger: Ledger, statistics: Statistics, fingerprint: str, rules: RunRules) -> None:
    """Record a manifest that is finished under ``rules``, for the next run."""
    if statistics.finished and fingerprint:
        changes = await ledger.changes(statistics.target)
        finished = FinishedManifest(_under(rules, fingerprint), changes, statistics.lines - statistics.elsewhere)
        await ledger.set_finished(statistics.target, finished)


def _under(rules: RunRules, fingerprint: str) -> str:
    return sha256(fingerprint.encode() + msgspec.json.encode(rules)).hexdigest()


_VARIABLES, _TAGS = "variables", "tags"
"""The families under which a ledger keeps digests of a target's variables and tags, beside what pacers learned."""


async def keep_variables(ledger: Ledger, target: str, manifest: Manifest) -> None:
    """Record by which variables and tags a manifest was read to its end; no variables where templates were never on."""
    for family, value in ((_VARIABLES, manifest.rules.variables), (_TAGS, manifest.audience.tags(target))):
        before, now = await ledger.learned(target, family), _digest(value)
        if before != now and not (before is None and value is None):
            await ledger.learn(target, family, now)


async def variables_refusal(ledger: Ledger, target: str, manifest: Manifest, elsewhere: int) -> str:
    """Why nothing is pruned because of the target's variables or tags.

    Another variable may give every definition another name, and other tags take definitions away from the target.

    Args:
        ledger: of the run.
        target: its name.
        manifest: of the target.
        elsewhere: how many lines are for other targets.

    Returns:
        "" if the last run read its manifest by the same ones.
    """
    relevant: dict[str, Mapping[str, str] | None] = {_VARIABLES: manifest.rules.variables}
    if elsewhere:
        relevant[_TAGS] = manifest.audience.tags(target)
    for family, value in relevant.items():
        if await ledger.learned(target, family) not in {None, _digest(value)}:
            return f"nothing is pruned in this run, because {family} of the target have changed; the next run prunes"
    return ""


def _digest(value: Mapping[str, str] | None) -> bytes:
    return sha256(msgspec.json.encode(value, order="sorted")).hexdigest().encode()
