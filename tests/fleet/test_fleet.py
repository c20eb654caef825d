"""Many targets side by side: what one of them meets is its own."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from provisioner.config.settings import FleetSettings, Settings
from provisioner.config.target import Target
from provisioner.engine.engine import Engine
from provisioner.engine.observer import Stage
from provisioner.engine.stop import Stop
from provisioner.errors import ConfigurationError, LedgerError, Reason
from provisioner.fleet.fleet import Fleet
from provisioner.fleet.places import Claims, Places
from provisioner.ledger.unwritten import NoLeases
from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import Manifest
from provisioner.pacing.gate import Gate
from provisioner.pacing.pacer import PaceBounds, Pacer
from provisioner.pacing.starts import Starts
from provisioner.report.statistics import Statistics
from tests.definition_lines import LEAST, lines_of
from tests.fakes import (
    DENIED,
    DROPPED,
    QUOTA,
    TAG,
    Act,
    Endpoint,
    FakeClock,
    FakeLedger,
    make_policy,
    now,
    open_target,
)
from tests.virtual_time import virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from provisioner.engine.target import OpenTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeFleet(Fleet):
    """Targets over fakes.

    Attributes:
        endpoints: by target; where there is none, the target cannot be opened.
    """

    endpoints: Mapping[str, Endpoint]

    @asynccontextmanager
    async def open(self, target: Target) -> AsyncIterator[OpenTarget]:
        """See :class:`Fleet`."""
        if target.name not in self.endpoints:
            raise ConfigurationError("there is no such AWS profile", where=target.name)
        observer, ledger = self.observers[target.name], self.ledger
        opened = open_target(self.endpoints[target.name], ledger, clock=self.clock, observer=observer)  # type: ignore[arg-type]  # the fakes
        five = PaceBounds(initial_rate=5.0, max_rate=5.0, share=1.0)
        creates = Gate(Pacer(five, now()), max_in_flight=64, clock=now, starts=self.starts)
        yield replace(opened, name=target.name, creates=creates)


class Many:
    """A fleet of targets called ``t0``, ``t1`` and so on; to be made while the loop runs.

    Args:
        endpoints: of the targets that can be opened, by number.
        count: of targets.
        ledger: of the run.
        starts: places for intents on their way to the ledger.
        rules: of ``[fleet]``.
    """

    def __init__(
        self,
        endpoints: Mapping[int, Endpoint],
        count: int,
        ledger: FakeLedger | None = None,
        starts: Starts | None = None,
        **rules: Any,
    ) -> None:
        self.targets = [Target(name=f"t{number}") for number in range(count)]
        self.statistics = {target.name: Statistics(target.name) for target in self.targets}
        self.ledger = ledger or FakeLedger()
        self.stop = Stop()
        self.begun: list[str] = []
        self.active = self.most = 0
        self.fleet = FakeFleet(
            settings=Settings(fleet=FleetSettings(**rules)),
            ledger=self.ledger,
            leases=NoLeases(),
            clock=FakeClock(),
            observers=self.statistics,
            places=Places(self.ledger, Claims({}, {})),
            starts=starts or Starts(),
            stop=self.stop,
            failed=lambda name: self.statistics[name].failed,
            endpoints={f"t{number}": endpoint for number, endpoint in endpoints.items()},
        )

    async def each(self, work: Callable[[OpenTarget], Awaitable[None]]) -> None:
        """Do ``work`` with each, and note which have begun and how many were open at once."""

        async def noted(target: OpenTarget) -> None:
            self.begun.append(target.name)
            self.active += 1
            self.most = max(self.most, self.active)
            try:
                await work(target)
            finally:
                self.active -= 1

        await self.fleet.each(self.targets, noted)

    def stages(self) -> Counter[Stage]:
        """How far the targets came that halted."""
        return Counter(one.halt.stage for one in self.statistics.values() if one.halt)


async def idle(target: OpenTarget) -> None:
    """A target's work that takes a minute and meets nothing."""
    del target
    await anyio.sleep(60)


@virtual_time
async def test_a_window_bounds_how_many_are_open() -> None:
    """However many targets there are, no more than the window are open, and all get their turn, in order."""
    many = Many({number: Endpoint() for number in range(50)}, 50, max_active_targets=8)

    await many.each(idle)

    assert many.most == 8
    assert many.begun == [f"t{number}" for number in range(50)]
    assert 60 * 7 <= now() < 60 * 7 + 5


@virtual_time
async def test_the_first_target_works_while_the_last_ones_wait() -> None:
    """The targets begin one after another, so that opening them never keeps one that is open from its work."""
    many, at = Many({number: Endpoint() for number in range(1000)}, 1000), []

    async def note(target: OpenTarget) -> None:
        del target
        at.append(now())

    await many.each(note)

    assert at[0] == 0
    assert max(Counter(at).values()) <= 4
    assert at[-1] < 10


@virtual_time
async def test_a_target_that_cannot_be_opened_says_so_and_stops_no_other() -> None:
    """It is a state of its own with its cause, apart from targets that began and halted."""
    many = Many({0: Endpoint(), 2: Endpoint()}, 3)

    async def work(target: OpenTarget) -> None:
        if target.name == "t2":
            raise ConfigurationError("found wrong later", where="t2")

    await many.each(work)

    halts = {name: (one.halt.stage, one.halt.what) for name, one in many.statistics.items() if one.halt}
    assert halts == {
        "t1": (Stage.UNOPENED, "t1: there is no such AWS profile"),
        "t2": (Stage.BEGUN, "t2: found wrong later"),
    }


@virtual_time
async def test_when_a_canary_fails_the_rest_does_not_begin() -> None:
    """The rest is reported with the reason, and is left for a run after somebody has looked."""
    many = Many({0: Endpoint(), 2: Endpoint(), 3: Endpoint()}, 4, canary=2)

    await many.each(idle)

    assert many.begun == ["t0"]
    assert many.stages() == {Stage.UNOPENED: 1, Stage.NOT_BEGUN: 2}
    halt = many.statistics["t3"].halt
    assert halt is not None
    assert "1 of 2 canary targets failed, so no other target begins" in halt.what
    assert halt.reason is Reason.UNFINISHED


@virtual_time
async def test_what_is_wrong_with_the_manifest_is_no_failure_of_a_canary() -> None:
    """Invalid lines, and a prune that was refused because of them, keep no other target from beginning."""
    many = Many({number: Endpoint() for number in range(4)}, 4, canary=2, max_failed_targets="0")

    async def refuse(target: OpenTarget) -> None:
        many.statistics[target.name].invalid = 1
        many.statistics[target.name].unpruned = True

    await many.each(refuse)

    assert many.begun == ["t0", "t1", "t2", "t3"]
    assert many.statistics["t0"].reasons() == {Reason.INVALID, Reason.FAILED}


@virtual_time
async def test_after_a_stop_no_target_begins() -> None:
    """A signal does not wait for a thousand targets to be opened and closed again."""
    many = Many({number: Endpoint() for number in range(100)}, 100, max_active_targets=10)

    async def work(target: OpenTarget) -> None:
        await idle(target)
        many.stop.request("signal SIGTERM")

    await many.each(work)

    assert many.begun == [f"t{number}" for number in range(10)]
    assert not many.stages()


@virtual_time
async def test_a_ledger_that_fails_ends_the_run() -> None:
    """It is everybody's, so it is no target's own failure."""
    many = Many({number: Endpoint() for number in range(4)}, 4)

    async def work(target: OpenTarget) -> None:
        raise LedgerError("disk full", where=target.name)

    with pytest.raises((LedgerError, BaseExceptionGroup)):
        await many.each(work)
    assert not many.stages()


TROUBLE = {
    "at its quota": QUOTA,
    "denied": DENIED,
    "without replies": DROPPED,
    "slow": Act(effect_s=0.0, after_s=15.0),
}


async def _lasts(endpoints: Mapping[int, Endpoint], path: Path) -> dict[str, float]:
    """When each target made its last algorithm, of a manifest at ``path``."""
    many = Many(endpoints, len(endpoints) + 1)

    async def register(target: OpenTarget) -> None:
        engine = Engine(target, make_policy(wait=False), many.stop, workers=16)
        await engine.run(Manifest([str(path)], Rules(ownership_tag=TAG)))

    await many.each(register)
    return {
        f"t{number}": max((one.since for one in endpoint.algorithms.values()), default=0.0)
        for number, endpoint in endpoints.items()
    }


@pytest.mark.parametrize("trouble", TROUBLE)
def test_a_target_in_trouble_costs_the_others_nothing(trouble: str, tmp_path: Path) -> None:
    """Beside targets at a quota, denied, unanswered or slow, the others end when they would have ended without."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(lines_of(*({**LEAST, "name": f"n{number}"} for number in range(60))))
    lasts: list[dict[str, float]] = []

    @virtual_time
    async def run(troubled: int) -> None:
        acts = {number: [TROUBLE[trouble]] * 99 if number < troubled else [] for number in range(8)}
        endpoints = {number: Endpoint(acts[number], first=1000 * number) for number in range(8)}
        lasts.append(await _lasts(endpoints, path))

    run(0)
    run(4)

    alone, beside = lasts
    for number in range(4, 8):
        assert beside[f"t{number}"] == pytest.approx(alone[f"t{number}"], rel=0.01)
    assert min(alone.values()) > 10
