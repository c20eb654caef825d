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


_VARIABLES = "variables"
"""The family under which a ledger keeps the digest of a target's variables, beside what pacers learned."""


async def keep_variables(ledger: Ledger, target: str, manifest: Manifest) -> None:
    """Record by which variables a manifest was read to its end; nothing where templates were never on."""
    if manifest.rules.variables is not None or await ledger.learned(target, _VARIABLES) is not None:
        await ledger.learn(target, _VARIABLES, _digest(manifest))


async def variables_refusal(ledger: Ledger, target: str, manifest: Manifest) -> str:
    """Why nothing is pruned because of the target's variables: another value may give every definition another name.

    Returns:
        "" if the last run read its manifest by the same variables.
    """
    before = await ledger.learned(target, _VARIABLES)
    if before is None or before == _digest(manifest):
        return ""
    return "nothing is pruned in this run, because variables of the target have changed; the next run prunes"


def _digest(manifest: Manifest) -> bytes:
    return sha256(msgspec.json.encode(manifest.rules.variables, order="sorted")).hexdigest().encode()
