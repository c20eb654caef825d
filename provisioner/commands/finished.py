"""The daily case: a manifest that a run has finished, unchanged, over a ledger that is unchanged too.

Then every line would be planned as before: unchanged. To know that takes a digest of the manifest's bytes, not a look
at each of its lines. It cannot be wrong: the digest covers everything that a line's plan depends on (the bytes, the
defaults, the ownership tag, the version of the program), and the ledger counts every commit that touches an entry of
the target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread

from provisioner.core.entry import Outcome
from provisioner.ledger import FinishedManifest

if TYPE_CHECKING:
    from provisioner.engine.tally import Tally
    from provisioner.ledger import Ledger
    from provisioner.manifest.reader import Manifest


async def finished_before(ledger: Ledger, manifest: Manifest, tally: Tally) -> bool:
    """Whether there is nothing to do for sure; then ``tally`` says so.

    Raises:
        ManifestError: the manifest cannot be read any more.
    """
    before = await ledger.finished(tally.target)
    if before is None or not manifest.repeatable:
        return False
    if before.changes != await ledger.changes(tally.target):
        return False
    if before.fingerprint != await anyio.to_thread.run_sync(manifest.fingerprint, abandon_on_cancel=True):
        return False
    tally.lines = tally.valid = before.lines
    tally.outcomes[Outcome.UNCHANGED] = before.lines
    tally.whole = True
    return True


async def keep_finished(ledger: Ledger, tally: Tally) -> None:
    """Remember a manifest of which nothing is left, for the next run."""
    if tally.finished and tally.fingerprint:
        changes = await ledger.changes(tally.target)
        await ledger.set_finished(tally.target, FinishedManifest(tally.fingerprint, changes, tally.lines))
