"""The daily case: a manifest that a run has finished, unchanged, over a ledger that is unchanged too.

Every line would then be planned as unchanged. To know that takes a digest of the manifest's bytes, not a look
at each of its lines. It cannot be wrong: the digest covers everything that a line's plan depends on (the bytes, the
defaults, the ownership tag, the version of the program), and the ledger counts every commit that touches an entry of
the target.
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
    """How many lines ``manifest`` has, where it is certain that every one is registered as it is; None otherwise.

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
    """Remember a manifest of which nothing is left, for the next run."""
    if statistics.finished and fingerprint:
        changes = await ledger.changes(statistics.target)
        await ledger.set_finished(statistics.target, FinishedManifest(fingerprint, changes, statistics.lines))
