"""A ledger, a disk or a processor that is too slow for so many targets: each of them gets slower, and none stops."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio

from provisioner.core.entry import Event
from provisioner.engine.engine import Engine
from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import Manifest
from provisioner.pacing.starts import Starts
from tests.definition_lines import LEAST, lines_of
from tests.fakes import TAG, Endpoint, FakeLedger, make_policy, now
from tests.fleet.test_fleet import Many
from tests.virtual_time import virtual_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from provisioner.core.entry import Fact
    from provisioner.engine.target import OpenTarget

FACTS_PER_S = 64.0
TARGETS = 20
SECONDS = 40


class SlowLedger(FakeLedger):
    """A ledger that makes so many facts durable in a second, first come, first served."""

    def __init__(self) -> None:
        super().__init__()
        self._free_at = 0.0

    async def record(self, facts: Sequence[Fact]) -> None:
        """See the interface."""
        self._free_at = max(self._free_at, now()) + len(facts) / FACTS_PER_S
        await asyncio.sleep(self._free_at - now())
        self.commits.append((now(), tuple(facts)))


@virtual_time
async def test_each_target_gets_slower_where_the_ledger_cannot_keep_up(tmp_path: Path) -> None:
    """Intents do not wait for their commit until they are too old to be used, so what is committed is also sent."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(lines_of(*({**LEAST, "name": f"n{number}"} for number in range(100))))
    endpoints = {number: Endpoint(first=1000 * number) for number in range(TARGETS)}
    many = Many(endpoints, TARGETS, SlowLedger(), Starts(128))

    async def register(target: OpenTarget) -> None:
        await Engine(target, make_policy(wait=False), many.stop, workers=64).run(
            Manifest([str(path)], Rules(ownership_tag=TAG))
        )

    with anyio.move_on_after(SECONDS):
        await many.each(register)

    made = [len(endpoint.algorithms) for endpoint in endpoints.values()]
    assert sum(made) > 0.9 * SECONDS * FACTS_PER_S / 2
    assert min(made) > 0.8 * max(made)
    assert not [fact for fact in many.ledger.facts if fact.event is Event.RELEASE]
