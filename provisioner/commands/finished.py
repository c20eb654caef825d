"""The daily case: a manifest that a run has finished, unchanged, over a ledger that is unchanged too.

Then every line would be planned as before: unchanged. To know that takes a digest of the manifest's bytes, not a look
at each of its lines. It cannot be wrong: the digest covers everything that a line's plan depends on (the bytes, the
defaults, the ownership tag, the version of the program), and the ledger counts every commit that touches an entry of
the target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread
import msgspec

from provisioner.core.entry import Outcome

if TYPE_CHECKING:
    from provisioner.engine.tally import Tally
    from provisioner.ledger import Ledger
    from provisioner.manifest.reader import Manifest

KEY = "finished"
"""Under which the ledger keeps it, beside what the pacers learned."""


class Finished(msgspec.Struct, frozen=True):
    """A manifest that a run finished.

    Attributes:
        fingerprint: of the manifest.
        changes: the ledger's count of changes of the target, at the end of that run.
        lines: all of them valid, and registered.
    """

    fingerprint: str
    changes: int
    lines: int


async def finished_before(ledger: Ledger, manifest: Manifest, tally: Tally) -> bool:
    """Whether there is nothing to do for sure; then ``tally`` says so.

    Raises:
        ManifestError: the manifest cannot be read any more.
    """
    kept = await ledger.learned(tally.target, KEY)
    if kept is None or not manifest.repeatable:
        return False
    before = msgspec.json.decode(kept, type=Finished)
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
        finished = Finished(tally.fingerprint, changes, tally.lines)
        await ledger.learn(tally.target, KEY, msgspec.json.encode(finished))
