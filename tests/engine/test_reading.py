"""What the engine does when its manifest cannot be read to the end."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING

import pytest

from provisioner.core.entry import Outcome, State
from provisioner.engine.engine import Engine
from provisioner.engine.observer import Observer, Observers
from provisioner.engine.stop import Stop
from provisioner.errors import ManifestError, ProvisionerError, Reason
from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import Manifest
from provisioner.manifest.sources import ScratchError
from provisioner.report.statistics import Statistics
from tests.definition_lines import manifest_of
from tests.fakes import Act, Endpoint, FakeLedger, make_policy, open_target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provisioner.manifest.fingerprint import Fingerprint
    from provisioner.manifest.reader import Batch


class Breaking(Manifest):
    """A manifest whose reading fails after its first batch."""

    def __init__(self, error: ProvisionerError, *names: str, path: Path | None = None) -> None:
        if path is None:
            super().__init__(["-"], Rules(), stdin=io.BytesIO(manifest_of(*names)))
        else:
            path.write_bytes(manifest_of(*names))
            super().__init__([str(path)], Rules())
        self._error = error
        self.broken_after = threading.Event()

    def batches(self, size: int = 512, fingerprint: Fingerprint | None = None) -> Iterator[Batch]:
        """The first batch, then the error."""
        yield next(super().batches(size, fingerprint))
        self.broken_after.wait(timeout=5.0)
        raise self._error


class BreakAtFirstCreate(Observer):
    """Lets a manifest break when the first create is about to leave."""

    def __init__(self, manifest: Breaking) -> None:
        self._manifest = manifest

    def call_sent(self, kind: str) -> None:
        """See :class:`Observer`."""
        if kind == "create":
            self._manifest.broken_after.set()


@pytest.mark.parametrize(
    ("error", "reason"), [(ScratchError("disk full"), Reason.LEDGER), (ManifestError("gone"), Reason.USAGE)]
)
async def test_creates_in_flight_outlive_the_manifest(error: ProvisionerError, reason: Reason) -> None:
    """When reading fails in the middle, nothing more is sent, and what is in flight is awaited and recorded."""
    endpoint, ledger, statistics = Endpoint([Act(effect_s=0.0, after_s=0.2)] * 3), FakeLedger(), Statistics("here")
    manifest = Breaking(error, "a", "b", "c")

    target = open_target(endpoint, ledger, observer=Observers(statistics, BreakAtFirstCreate(manifest)))
    await Engine(target, make_policy(), Stop(), workers=4).run(manifest)

    assert statistics.halt is not None
    assert (statistics.halt.reason, statistics.halt.what) == (reason, str(error))
    assert not statistics.whole
    made = {algorithm.name for algorithm in endpoint.algorithms.values()}
    assert made
    assert made == {name for name in "abc" if ledger.state(name) is State.CREATED}
    assert statistics.outcomes[Outcome.CREATED] == len(made)
    assert statistics.outcomes[Outcome.CREATED] + statistics.outcomes[Outcome.PENDING] == 3


async def test_the_gate_knows_about_how_many_creates_are_to_come(tmp_path: Path) -> None:
    """From the first batch on, the pacer knows the length of the job, in proportion to the part that was read."""
    names = [f"definition {number:05}" for number in range(20_000)]
    one = open_target(Endpoint([Act(effect_s=0.0, after_s=0.01)] * 512), FakeLedger())
    manifest = Breaking(ManifestError("gone"), *names, path=tmp_path / "definitions.jsonl")
    manifest.broken_after.set()

    await Engine(one, make_policy(), Stop(), workers=64).run(manifest)

    expected = one.creates.statistics()["expected"]
    assert isinstance(expected, int)
    assert 512 < expected <= 20_000  # one batch of 512 was planned
