"""What the engine does when its manifest cannot be read to the end."""

from __future__ import annotations

import asyncio
import io
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from provisioner.core.entry import Outcome, State
from provisioner.engine.engine import Engine
from provisioner.engine.observer import Observer, Observers
from provisioner.engine.stop import Stop
from provisioner.errors import ManifestError, ProvisionerError, Reason
from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import BATCH_LINES, Manifest
from provisioner.manifest.sources import ScratchError
from provisioner.pacing.gate import Gate
from provisioner.pacing.pacer import PaceBounds, Pacer
from provisioner.report.statistics import Statistics
from tests.definition_lines import manifest_of
from tests.fakes import Act, Endpoint, FakeLedger, make_policy, now, open_target
from tests.virtual_time import virtual_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from provisioner.engine.target import OpenTarget
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


class Threads(Manifest):
    """A manifest that notes in which threads its batches are read."""

    at_hand = 0

    def holds(self, number: int) -> bool:
        """See :class:`Manifest`."""
        return number < self.at_hand

    def batches(self, size: int = BATCH_LINES, fingerprint: Fingerprint | None = None) -> Iterator[Batch]:
        """See :class:`Manifest`."""
        self.threads = list[threading.Thread]()
        for batch in super().batches(size, fingerprint):
            self.threads.append(threading.current_thread())
            yield batch


@virtual_time
async def test_what_is_at_hand_is_not_passed_on_by_a_thread(tmp_path: Path) -> None:
    """Only reading may block; a batch that another target has read already is taken where it is used."""
    path = tmp_path / "definitions.jsonl"
    path.write_bytes(manifest_of(*(f"definition {number:05}" for number in range(3 * BATCH_LINES))))
    manifest = Threads([str(path)], Rules())
    manifest.at_hand = 2

    await Engine(open_target(Endpoint(), FakeLedger()), make_policy(), Stop(), workers=64).run(manifest)

    here = threading.current_thread()
    assert [thread is here for thread in manifest.threads] == [True, True, False]


@virtual_time
async def test_a_target_has_tasks_for_what_it_does(tmp_path: Path) -> None:
    """None waits for changes of tags and deletions where there are none, and at a slow pace one for the next turn.

    Two have calls under way at five a second and 0.3 s each. A thousand targets are as many times that.
    """
    path, ledger, endpoint = tmp_path / "definitions.jsonl", FakeLedger(), Endpoint(latency_s=0.3)
    path.write_bytes(manifest_of(*(f"definition {number:05}" for number in range(40))))
    seen = list[int]()

    def count() -> None:
        seen.append(sum("Workers._run" in repr(task) for task in asyncio.all_tasks()))

    for at in (0.02, 5.0):  # during the List, and later
        asyncio.get_running_loop().call_later(at, count)
    await Engine(_slow(ledger, endpoint), make_policy(), Stop(), workers=64).run(Manifest([str(path)], Rules()))

    assert seen == [0, 3]


class Asked(FakeLedger):
    """A ledger that notes how many names it is asked for at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.counts_asked: list[int] = []

    async def registered(self, target: str, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        """See the interface."""
        self.counts_asked.append(len(names))
        return await super().registered(target, names)


def _slow(ledger: FakeLedger, endpoint: Endpoint) -> OpenTarget:
    """A target that creates five a second."""
    bounds = PaceBounds(initial_rate=5.0, max_rate=5.0, share=1.0)
    creates = Gate(Pacer(bounds, now()), max_in_flight=64, clock=now)
    return replace(open_target(endpoint, ledger), creates=creates)


@virtual_time
async def test_a_slow_target_plans_what_it_creates_soon(tmp_path: Path) -> None:
    """Of a long manifest, so that a thousand targets begin at once and keep little; all of it is created in the end."""
    path = tmp_path / "definitions.jsonl"
    path.write_bytes(manifest_of(*(f"definition {number:05}" for number in range(200))))
    ledger, endpoint, asked_early = Asked(), Endpoint(), []
    asyncio.get_running_loop().call_later(1.0, lambda: asked_early.extend(ledger.counts_asked))

    await Engine(_slow(ledger, endpoint), make_policy(), Stop(), workers=64).run(Manifest([str(path)], Rules()))

    assert asked_early == [40, 40]
    assert sum(ledger.counts_asked) == len(endpoint.algorithms) == 200


@virtual_time
async def test_what_is_registered_is_looked_up_in_large_parts(tmp_path: Path) -> None:
    """A manifest without changes is read at full speed also by a target that creates slowly."""
    path, ledger, endpoint = tmp_path / "definitions.jsonl", Asked(), Endpoint()
    path.write_bytes(manifest_of(*(f"definition {number:05}" for number in range(100))))
    for opened in (open_target(endpoint, ledger), _slow(ledger, endpoint)):
        await Engine(opened, make_policy(), Stop(), workers=64).run(Manifest([str(path)], Rules()))

    assert ledger.counts_asked == [100, 40, 60]
