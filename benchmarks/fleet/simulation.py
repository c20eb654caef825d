"""Ten thousand targets in virtual time: the real fleet, engine and pacers over accounts that exist only in memory.

python -m benchmarks.fleet.simulation [--targets N...] [--definitions N...] [--window N]

Time is the simulation's: nobody waits for it. CPU is this process's: fleet, engine, pacers and the accounts themselves,
without HTTP and ledger, which `python -m benchmarks.fleet` and `python -m benchmarks.ledger` measure. Every account
allows 5 creates a second and answers after 100 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import command as this_command
from benchmarks.machine import machine
from benchmarks.throughput.definitions import write_manifest
from provisioner.aws.faces import Aws, Page
from provisioner.config.settings import FleetSettings, PaceSettings, Settings
from provisioner.config.target import Target
from provisioner.core.verdict import Reply
from provisioner.engine.engine import Engine
from provisioner.engine.observer import Observer
from provisioner.fleet.fleet import Fleet
from provisioner.fleet.places import Claims, Places
from provisioner.ledger.unwritten import NoLeases
from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import Manifest
from provisioner.manifest.shared import SharedManifest
from provisioner.pacing.gate import Gate
from provisioner.pacing.pacer import PaceBounds, Pacer
from tests.fakes import TAG, Endpoint, FakeClock, FakeLedger, make_policy, now, open_target
from tests.virtual_time import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from provisioner.core.entry import Fact
    from provisioner.engine.target import OpenTarget

LIMIT_PER_S, BURST, LATENCY_S = 5.0, 5.0, 0.1

THROTTLED = Reply(status=429, code="ThrottlingException", message="Rate exceeded", request_id="r")


class Account:
    """A token bucket that answers creates, and an empty List."""

    def __init__(self, number: int, calls: Counter[str]) -> None:
        self._prefix = f"arn:aws:cleanrooms-ml:us-east-1:123456789012:configured-model-algorithm/{number:08x}"
        self._calls = calls
        self._tokens, self._at = BURST, now()
        self._made = 0

    async def create(self, body: bytes, may_send: Callable[[], None]) -> Reply:
        """One create."""
        del body
        may_send()
        self._tokens = min(BURST, self._tokens + (now() - self._at) * LIMIT_PER_S)
        self._at = now()
        self._calls["create"] += 1
        accepted = self._tokens >= 1
        self._tokens -= accepted
        await asyncio.sleep(LATENCY_S)
        if not accepted:
            self._calls["throttled"] += 1
            return THROTTLED
        self._made += 1
        return Reply(status=200, arn=f"{self._prefix}-0000-4000-8000-{self._made:012x}", request_id="r")

    async def list_algorithms(self, next_token: str = "", page_size: int = 100) -> Page:
        """The account is empty."""
        del next_token, page_size
        self._calls["list"] += 1
        await asyncio.sleep(LATENCY_S)
        return Page(items=())


class Forgetful(FakeLedger):
    """A ledger that counts commits and keeps nothing: a real one keeps its entries on disk."""

    async def record(self, facts: Sequence[Fact]) -> None:
        """Count them."""
        del facts
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated(Fleet):
    """A fleet over such accounts; ``calls`` counts what they are asked."""

    calls: Counter[str]

    @asynccontextmanager
    async def open(self, target: Target) -> AsyncIterator[OpenTarget]:
        """See :class:`Fleet`."""
        account = Account(int(target.name[1:]), self.calls)
        fake: Aws = Endpoint().aws()
        aws = Aws(
            creates=account,
            control=account,  # type: ignore[arg-type]  # only List is called
            region=fake.region,
            endpoint=fake.endpoint,
            notices=(),
            refresh_credentials=fake.refresh_credentials,
        )
        pace = PaceSettings()
        bounds = PaceBounds(initial_rate=pace.initial_rate, max_rate=pace.max_rate, share=pace.share)
        creates = Gate(Pacer(bounds, now()), max_in_flight=256, clock=now, starts=self.starts, beats=self.beats)
        observer = self.observers[target.name]
        opened = open_target(Endpoint(), self.ledger, clock=self.clock, observer=observer)  # type: ignore[arg-type]  # fakes
        yield replace(opened, name=target.name, aws=aws, creates=creates)


async def simulate(path: Path, targets: int, window: int) -> tuple[float, Counter[str]]:
    """Register the manifest at ``path`` in every target; returns seconds of virtual time, and the calls."""
    ledger, calls = Forgetful(), Counter[str]()
    names = [Target(name=f"t{number}") for number in range(targets)]
    silent = Observer()
    fleet = Simulated(
        settings=Settings(fleet=FleetSettings(max_active_targets=window)),
        ledger=ledger,
        leases=NoLeases(),
        clock=FakeClock(),
        observers=dict.fromkeys((target.name for target in names), silent),
        places=Places(ledger, Claims({}, {})),
        calls=calls,
    )
    manifest = SharedManifest(Manifest([str(path)], Rules(ownership_tag=TAG)))

    async def register(target: OpenTarget) -> None:
        await Engine(target, make_policy(), fleet.stop, workers=256).run(manifest)

    await fleet.each(names, register)
    return now(), calls


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet.simulation", description=__doc__)
    parser.add_argument("--targets", type=int, nargs="+", default=[1, 1000, 10_000])
    parser.add_argument("--definitions", type=int, nargs="+", default=[100, 100, 10])
    parser.add_argument("--window", type=int, default=1000)
    options = parser.parse_args()
    print(f"{machine()}\n`{this_command()}`\n")
    print("| targets | definitions each | virtual time | creates/s | throttled | List | CPU per create | peak memory |")
    print("|---|---|---|---|---|---|---|---|")
    for targets, definitions in zip(options.targets, options.definitions, strict=True):
        with tempfile.TemporaryDirectory(prefix="provisioner-bench-") as folder:
            path = Path(folder, "m.jsonl")
            write_manifest(path, definitions)
            began = time.process_time()
            seconds, calls = run(simulate(path, targets, options.window))
            cpu_s = time.process_time() - began
        creates = targets * definitions
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"| {targets:,} | {definitions:,} | {seconds:,.0f} s | {creates / seconds:,.0f} | {calls['throttled']:,} | "
            f"{calls['list']:,} | {cpu_s / creates * 1000:.3f} ms | {peak:.0f} MiB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
