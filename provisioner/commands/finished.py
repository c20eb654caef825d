"""Finished manifests: the daily case in which neither the manifest nor the ledger has changed since a run finished it.

The plan of every line would then be "unchanged". A digest of the manifest's bytes shows that without parsing a line. It
is safe: the digest covers everything that the plan of a line depends on (the bytes, the defaults, the ownership tag,
the version of the program), and the ledger counts every commit that touches an entry of the target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread

from provisioner.ledger import FinishedManifest

if TYPE_CHECKING:
    from provisioner.ledger import Ledger
    from provisioner.manifest.reader import Manifest
    from provisioner.report.statistics import Statistics


async def finished_before(ledger: Ledger, manifest: Manifest, target: str) -> int | None:
    """The number of lines of ``manifest``, if all are certain to be registered as they are; None otherwise.

    Raises:
        ManifestError: the manifest cannot be read any more.
    """
    before = await ledger.finished(target)
    if before is None or not manifest.repeatable:
        return None
    if before.changes != await ledger.changes(target):
        return None
    if before.fingerprint != await anyio.to_thread.run_sync(manifest.fingerprint, abandon_on_cancel=True):
        return None
    return before.lines


async def keep_finished(ledger: Ledger, statistics: Statistics, fingerprint: str) -> None:
    """Record a manifest that is finished, for the next run."""
    if statistics.finished and fingerprint:
        changes = await ledger.changes(statistics.target)
        await ledger.set_finished(statistics.target, FinishedManifest(fingerprint, changes, statistics.lines))
